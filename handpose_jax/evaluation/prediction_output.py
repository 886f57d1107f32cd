"""What a prediction leaves behind: `predictions.npz`, `predictions.json`, evidence panels and refinement strips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from handpose_jax.data.located_hands import image_names
from handpose_jax.dhpe.normalisation import ESTIMATE
from handpose_jax.dhpe.prediction import CropPredictions, PlacedHands
from handpose_jax.dhpe.prediction_input import HandToPredict
from handpose_jax.evaluation.fit_report import ARRAY_NAMES, CONVENTIONS, MOST_HANDS_IN_JSON, number, numbers

EXTRA_NAMES = (
    *("joints_direct", "scale", "root_depth", "joints_2d_px", "confidence", "h", "K", "crop_centre", "crop_side"),
)
"""Fields of `predictions.npz` beyond those of `fits.npz`, and `image`, the name of each hand's image."""

PREDICTION_CONVENTIONS = {
    **CONVENTIONS,
    "scale": "vertices = scale * forward(model of the side, pose, shape, rotation, 0).vertices + translation; 1 where "
    "the depth is an estimate",
    "residual_px": "root mean square distance of the hand's projected joints from joints_2d_px",
    "joints_2d_px": "the 2D joints (j2D) that the hand was refined towards, in the full image",
    "confidence": "of each keypoint: the top of its score map, within [0, 1]",
    "joints_direct": "inverse of the paper's norm (Eq. 8) alone, of the joints the network was trained on, metres",
    "joint_std_m": "of the fit in perspective; NaN without it: a network alone does not say",
}


def prediction_arrays(
    placed: PlacedHands,
    predictions: CropPredictions,
    hands: Sequence[HandToPredict],
    rows: Sequence[int],
    crops: Sequence[Any],
    cameras: np.ndarray,
    sides: Sequence[str],
) -> dict[str, np.ndarray]:
    """Arrays of `predictions.npz`: the fields of `fits.npz` and EXTRA_NAMES, NaN for hands that are not in `rows`.

    Args:
      placed, predictions: of `len(rows)` hands.
      hands: all.
      rows: of these, the predicted ones.
      crops, cameras: of the predicted ones.
      sides: of all, "left" or "right".
    """
    values = {name: np.asarray(getattr(placed, name), np.float32) for name in PlacedHands._fields}
    values |= {
        "h": np.asarray(predictions.h, np.float32),
        "confidence": np.asarray(predictions.confidence, np.float32),
        "K": np.asarray(cameras, np.float64),
        "crop_centre": np.stack([np.asarray(crop.centre, np.float64) for crop in crops]),
        "crop_side": np.array([float(crop.side) for crop in crops]),
        "joint_std_m": np.sqrt(np.trace(placed.joint_covariance_m2, axis1=-2, axis2=-1) / 3.0).astype(np.float32),
    }
    result = {}
    for name in (*ARRAY_NAMES, *EXTRA_NAMES):
        if name == "side":
            result[name] = np.array(list(sides), dtype="<U5")
        elif name == "valid":
            result[name] = np.zeros(len(hands), bool)
            result[name][list(rows)] = True
        else:
            result[name] = np.full((len(hands), *values[name].shape[1:]), np.nan, values[name].dtype)
            result[name][list(rows)] = values[name]
    names = image_names([hand.located for hand in hands])
    return result | {"image": np.array([str(name or "") for name in names])}


def prediction_report(
    arrays: Mapping[str, np.ndarray],
    hands: Sequence[HandToPredict],
    problems: Mapping[int, str],
    about: Mapping[str, Any],
    depth_sources: Sequence[str],
    refinement: Mapping[int, Mapping[str, Any]],
) -> dict[str, Any]:
    """Content of `predictions.json`.

    Args:
      arrays: of `predictions.npz`.
      hands: all.
      problems: row -> why it could not be predicted.
      about: weights, model, refinement: what all hands share.
      depth_sources: of each hand.
      refinement: row -> losses and IoU at the shown iterations.
    """
    valid = arrays["valid"]
    summary = {
        **about,
        "hands": len(hands),
        "predicted": int(valid.sum()),
        "sides": {side: int(np.sum(arrays["side"][valid] == side)) for side in ("left", "right")},
        "camera": dict(Counter(hand.located.camera.description for hand in hands if hand.located.camera is not None)),
        "depth": dict(Counter(source for source, good in zip(depth_sources, valid, strict=True) if good)),
    }
    content: dict[str, Any] = {"summary": summary, **PREDICTION_CONVENTIONS}
    if len(hands) > MOST_HANDS_IN_JSON:
        content["hands"] = f"left out: more than {MOST_HANDS_IN_JSON}; see predictions.npz"
        return content
    names = image_names([hand.located for hand in hands])
    content["hands"] = []
    for row, hand in enumerate(hands):
        entry: dict[str, Any] = {"index": row, "image": names[row], "valid": bool(valid[row])}
        camera = hand.located.camera
        if not valid[row] or camera is None:
            content["hands"].append({**entry, "problem": problems.get(row)})
            continue
        entry |= {
            "side": str(arrays["side"][row]),
            "side_source": "chosen by confidence" if hand.located.hand.side == "auto" else "given",
            "box": None if hand.box is None else numbers(np.array(hand.box)),
            "crop": {"centre": numbers(arrays["crop_centre"][row]), "side": number(arrays["crop_side"][row])},
            "camera": {"K": numbers(camera.matrix), "source": camera.description},
            "depth": {"root_m": number(arrays["root_depth"][row]), "source": _depth_words(depth_sources[row], hand)},
            "refinement": dict(refinement.get(row, {})),
        }
        for field in ("residual_px", "scale", "rotation", "translation", "pose", "shape", "joints", "joints_2d_px"):
            entry[field] = numbers(arrays[field][row])
        content["hands"].append(entry)
    return content


def _depth_words(source: str, hand: HandToPredict) -> str:
    camera = hand.located.camera
    guessed = camera is not None and not camera.absolute_scale_known
    words = "estimate: the model's own size at the predicted shape" if source == ESTIMATE else source
    return words + ("; in proportion to a guessed focal length" if guessed else "")


def write_evidence(
    save: Callable[[str, Any], None],
    name: str,
    crop: np.ndarray,
    predictions: CropPredictions,
    row: int,
    meshes: np.ndarray,
    faces: np.ndarray,
    mirrored: bool,
) -> None:
    """`evidence/NAME.png` and, if h was refined, `refinement/NAME.png` and `.gif`.

    Args:
      save: takes a file's name and a Pillow image, or bytes.
      name: of the hand.
      crop: in [0, 1].
      predictions: of all hands.
      row: of this one among them.
      meshes: NDC, at the shown iterations.
      faces: of the right hand.
      mirrored: whether the crop is.
    """
    from handpose_jax.evaluation.drawing import gif_bytes, side_by_side
    from handpose_jax.evaluation.evidence import evidence_panel, refinement_strip

    title = f"{name}, seen mirrored" if mirrored else name
    save(f"evidence/{name}.png", evidence_panel(crop, predictions.heat_maps[row], predictions.masks[row], title))
    steps = predictions.steps
    if len(steps) > 1:
        strip = refinement_strip(crop, meshes, faces, steps, predictions.losses[row], predictions.iou[row])
        save(f"refinement/{name}.png", side_by_side(strip))
        save(f"refinement/{name}.gif", gif_bytes(strip, frames_per_second=1.5))
