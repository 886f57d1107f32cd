"""MediaPipe hands. MediaPipe writes no file itself; the shapes accepted are those its results take when dumped as JSON.

Sources: MediaPipe's API pages of `HandLandmarkerResult` (Tasks) and `solutions.hands` (legacy).
"""

import pathlib
from typing import Any

import numpy as np

from handpose_jax.data.keypoint_set import (
    KEYPOINT_COUNT,
    HandKeypoints,
    HandProblemError,
    ImageSizeOf,
    KeypointSet,
    NoHandError,
    checked_keypoints,
    unusable_hand,
)

LABEL_MEANINGS = ("auto", "mirrored", "subject")
_LANDMARKS = ("hand_landmarks", "handLandmarks", "landmarks", "multi_hand_landmarks", "multiHandLandmarks")
_LEGACY_HANDEDNESS = ("multi_handedness", "multiHandedness")
_HANDEDNESS = (*_LEGACY_HANDEDNESS, "handedness", "handednesses")
_IMAGE_NAMES = ("image", "file", "file_name", "filename", "image_path")


def is_mediapipe(content: Any) -> bool:
    """Whether parsed JSON has one of this format's layouts."""
    try:
        return any(_landmarks_name(result) for _, result in _results(content))
    except (TypeError, AttributeError):
        return False


def read_mediapipe(path: pathlib.Path, content: Any, image_size_of: ImageSizeOf, labels: str = "auto") -> KeypointSet:
    """Hands of one result, a list of results, `{"results": [...]}`, or an object from image name to result.

    A result holds hands under `hand_landmarks` / `landmarks` (Tasks) or `multi_hand_landmarks` (legacy), camelCase too:
    each is 21 objects with x and y, or 21 rows [x, y, ...], or {"landmark": [...]}. They are fractions of the image's
    width and height, so its size is needed: from `image_width` and `image_height` (or `image_size`, [height, width]) of
    the result, else from the image that the result names (`image`, `file`), else of the one named as the JSON file is.
    World landmarks have no place in a camera and are not read.

    Args:
      path: of the file, for messages and the image's name.
      content: the parsed JSON.
      image_size_of: finds the size of a named image.
      labels: what "Left" and "Right" mean. Legacy `multi_handedness` is right for mirrored (selfie) images: "Right" in
        an unmirrored photograph is a left hand; so were Tasks up to about version 0.10.14, and later ones name the
        subject's own hand. "mirrored" swaps them, "subject" takes them as they are. "auto" swaps legacy labels
        and takes no side from Tasks labels, whose version no file states: then both sides are tried.

    Raises:
      ValueError: the layout is not this, it holds no hand, or `labels` is unknown.
    """
    if labels not in LABEL_MEANINGS:
        raise ValueError(f"the meaning of MediaPipe labels must be one of {', '.join(LABEL_MEANINGS)}, got {labels!r}")
    if not is_mediapipe(content):
        raise ValueError(f"{path}: not a MediaPipe file: expected hand_landmarks (or landmarks, multi_hand_landmarks)")
    hands = []
    for name, result in _results(content):
        key = _landmarks_name(result)
        if key is None:
            continue
        image = next((str(result[k]) for k in _IMAGE_NAMES if isinstance(result.get(k), str)), name or path.stem)
        found = result[key]
        if len(found) == KEYPOINT_COUNT and all(isinstance(point, dict) and "x" in point for point in found):
            found = [found]  # one hand, not wrapped in a list of hands
        sides = _sides(result, len(found), labels)
        for index, landmarks in enumerate(found):
            where = f"{path} ({image}) hand {index}"
            try:
                size = _stated_size(result) or image_size_of(image)
                if size is None:
                    raise HandProblemError(
                        f"{where}: MediaPipe landmarks are fractions of the image, and its size is unknown; give the "
                        "image, or image_width and image_height in the file"
                    )
                hands.append(_hand(landmarks, where, image, sides[index], size))
            except HandProblemError as problem:
                hands.append(unusable_hand(problem, image=image))
    if not hands:
        raise NoHandError(f"{path}: MediaPipe found no hand")
    return KeypointSet("mediapipe", tuple(hands))


def _hand(landmarks: Any, where: str, image: str, side: str, size: tuple[int, int]) -> HandKeypoints:
    if isinstance(landmarks, dict):
        landmarks = landmarks.get("landmark", landmarks.get("landmarks"))
    try:
        fractions = np.asarray(
            [(p["x"], p["y"]) if isinstance(p, dict) else (p[0], p[1]) for p in landmarks], np.float64
        )
    except (TypeError, ValueError, KeyError, IndexError):
        raise HandProblemError(f"{where}: expected 21 landmarks with x and y") from None
    if fractions.ndim != 2:
        raise HandProblemError(f"{where}: expected 21 landmarks with x and y, got none")
    # Landmarks may lie a little outside the image, never by several widths: those are pixels already.
    if np.abs(fractions[np.isfinite(fractions)]).max(initial=0.0) > 10.0:
        raise HandProblemError(f"{where}: MediaPipe landmarks must be fractions of the image, these look like pixels")
    height, width = size
    keypoints = checked_keypoints(fractions * (width, height), where)
    return HandKeypoints(image=image, side=side, keypoints=keypoints, image_size=size)


def _results(content: Any) -> list[tuple[str | None, dict]]:
    """(image name or None, result) of each result, whichever way they are wrapped."""
    if isinstance(content, list):
        return [(None, result) for result in content if isinstance(result, dict)]
    if not isinstance(content, dict):
        return []
    if _landmarks_name(content):
        return [(None, content)]
    if isinstance(content.get("results"), list):
        return [(None, result) for result in content["results"] if isinstance(result, dict)]
    return [(str(name), result) for name, result in content.items() if isinstance(result, dict)]


def _landmarks_name(result: dict) -> str | None:
    return next((name for name in _LANDMARKS if isinstance(result.get(name), list)), None)


def _stated_size(result: dict) -> tuple[int, int] | None:
    height, width = result.get("image_height"), result.get("image_width")
    if height is None and width is None and isinstance(result.get("image_size"), list):
        height, width = (result["image_size"] + [None, None])[:2]
    if isinstance(height, int | float) and isinstance(width, int | float) and height > 0 and width > 0:
        return int(height), int(width)
    return None


def _sides(result: dict, count: int, labels: str) -> list[str]:
    name = next((key for key in _HANDEDNESS if isinstance(result.get(key), list)), None)
    if name is None or len(result[name]) != count:
        return ["auto"] * count
    if labels == "auto" and name not in _LEGACY_HANDEDNESS:
        return ["auto"] * count
    meaning = {"left": "left", "right": "right"} if labels == "subject" else {"left": "right", "right": "left"}
    return [meaning.get(_label(entry).strip().lower(), "auto") for entry in result[name]]


def _label(entry: Any) -> str:
    """The label in "Left", [{"category_name": "Left"}], {"label": ...} or {"classification": [{"label": ...}]}."""
    if isinstance(entry, list) and entry:
        return _label(entry[0])
    if isinstance(entry, dict):
        for key in ("category_name", "categoryName", "label", "display_name", "displayName"):
            if isinstance(entry.get(key), str):
                return entry[key]
        return _label(entry.get("classification", ""))
    return entry if isinstance(entry, str) else ""
