"""What a fit leaves behind as numbers: `fits.npz` for programs, `fits.json` for people and other languages."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handpose_jax.data.located_hands import LocatedHand, image_names
from mano_jax.keypoints import KEYPOINT_NAMES

ARRAY_NAMES = (
    "vertices",
    "joints",
    "pose",
    "shape",
    "rotation",
    "translation",
    "side",
    "valid",
    "residual_px",
    "joint_covariance_m2",
    "joint_std_m",
)
"""Fields of `fits.npz`, each with N rows."""

MOST_HANDS_IN_JSON = 1000
"""Larger batches get a summary only in `fits.json`; their numbers are in `fits.npz`."""

CONVENTIONS = {
    "units": "metres and radians; residual_px and K in pixels",
    "pixels": "u right, v down; the centre of pixel (row i, column j) is (j + 0.5, i + 0.5)",
    "frame": "camera frame, OpenCV axes: x right, y down, z forward",
    "parameters": "MANO's: pose = 15 x 3 axis-angle from the flat hand, rotation = axis-angle of the wrist joint about "
    "its own position, translation added last; of the left model where side is left",
    "joint_order": list(KEYPOINT_NAMES),
    "residual_px": "root mean square distance of the fitted from the given keypoints with confidence > 0",
    "joint_std_m": "standard deviation of each joint by the fit's own normal equations",
}


VIEWS_FRAME = "the world from which world_to_camera leads into the cameras"
"""What CONVENTIONS say of the frame, for hands that several cameras saw."""


def scattered(fits: Any, rows: Sequence[int], count: int, sides: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of `fits.npz` for all `count` hands of which only `rows` were fitted; the others are NaN and not valid.

    Args:
      fits: a `HandFits` of `len(rows)` hands.
      rows: row of each in the result.
      count: rows of the result.
      sides: asked for; states the side of hands that were not fitted ("right" where it was open).
    """
    result = {}
    for name in ARRAY_NAMES:
        values = np.asarray(getattr(fits, name))
        if name == "side":
            full = np.array([side if side == "left" else "right" for side in sides], dtype="<U5")
        elif values.dtype == bool:
            full = np.zeros((count, *values.shape[1:]), bool)
        else:
            full = np.full((count, *values.shape[1:]), np.nan, values.dtype)
        full[list(rows)] = values
        result[name] = full
    return result


def report(
    arrays: Mapping[str, np.ndarray],
    hands: Sequence[LocatedHand],
    problems: Mapping[int, str],
    model: str,
    source: Mapping[str, Any],
    hand_length_mm: float | None,
) -> dict[str, Any]:
    """Content of `fits.json`: conventions, a summary, and each hand, unless they are more than MOST_HANDS_IN_JSON.

    Args:
      arrays: those of `fits.npz`.
      hands: as they were fitted.
      problems: row -> why it could not be fitted.
      model: name of the hand model.
      source: what to say of the input.
      hand_length_mm: if it was given.
    """
    valid = arrays["valid"]
    residuals = arrays["residual_px"][valid]
    finite = residuals[np.isfinite(residuals)]
    cameras = Counter(hand.camera.description for hand in hands if hand.camera is not None)
    known = [scale_known(hand, hand_length_mm) for hand in hands]
    summary = {
        "hands": len(hands),
        "fitted": int(valid.sum()),
        "sides": {side: int(np.sum(arrays["side"][valid] == side)) for side in ("left", "right")},
        "median_residual_px": number(np.median(finite)) if len(finite) else None,
        "camera": dict(cameras),
        "absolute_scale": "known" if all(known) else "unknown" if not any(known) else "unknown for some hands",
        "hand_length_mm": hand_length_mm,
        "model": model,
    }
    content = {"input": dict(source), "summary": summary, **CONVENTIONS}
    if any(hand.hand.views is not None for hand in hands):
        content["frame"] = VIEWS_FRAME
    if len(hands) > MOST_HANDS_IN_JSON:
        content["hands"] = f"left out: more than {MOST_HANDS_IN_JSON}; see fits.npz"
        return content
    names = image_names(hands)
    content["hands"] = [
        _hand(arrays, row, names[row], hand, problems.get(row), known[row]) for row, hand in enumerate(hands)
    ]
    return content


def sequence_report(result: Any, frames_per_second: float) -> dict[str, Any]:
    """What `fits.json` says of a sequence: a `SequenceFits`, and the rate of its frames."""
    return {
        "frames": len(result.bridged),
        "bridged": int(result.bridged.sum()),
        "frames_per_second": frames_per_second,
        "jitter_before_mm": rounded(1e3 * result.jitter_before_m),
        "jitter_after_mm": rounded(1e3 * result.jitter_after_m),
        "jitter": "mean length of the joints' second differences, millimetres a frame squared; before: frame by frame",
        "motion_sigma": rounded(result.motion_sigma),
    }


def rounded(value: float) -> float | None:
    """Three significant digits; None where it is not finite."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


def scale_known(hand: LocatedHand, hand_length_mm: float | None) -> bool:
    """Whether lengths are measured: no guessed focal length beneath them.

    With a guessed focal length, a known hand length makes sizes right, but not the distance from the camera.
    """
    return hand.camera is None or hand.camera.absolute_scale_known


def number(value: Any) -> float | None:
    """A JSON number; None where it is not finite, which JSON cannot say."""
    value = float(value)
    return float(f"{value:.7g}") if math.isfinite(value) else None


def numbers(array: np.ndarray) -> Any:
    """Nested lists of JSON numbers."""
    return [numbers(part) for part in array] if np.ndim(array) else number(array)


def _hand(
    arrays: Mapping[str, np.ndarray],
    row: int,
    name: str | None,
    hand: LocatedHand,
    problem: str | None,
    known: bool,
) -> dict[str, Any]:
    valid = bool(arrays["valid"][row])
    content: dict[str, Any] = {"index": row, "image": name, "valid": valid}
    if not valid:
        return {**content, "problem": problem}
    content["side"] = str(arrays["side"][row])
    content["side_source"] = "tried both" if hand.hand.side == "auto" else "given"
    camera = hand.camera
    content["camera"] = None if camera is None else {"K": numbers(camera.matrix), "source": camera.description}
    if hand.hand.views is not None:
        content["views"] = int(hand.hand.views.valid.sum())
    content["absolute_scale"] = "known" if known else "unknown"
    for field in ("residual_px", "rotation", "translation", "pose", "shape", "joints", "joint_std_m"):
        content[field] = numbers(arrays[field][row])
    return content
