"""OpenPose's `--write_json` files: one a frame, both hands of every person.

Source: OpenPose documentation, "Output", JSON output format.
"""

import pathlib
from typing import Any

import numpy as np

from handpose_jax.data.keypoint_set import (
    HandKeypoints,
    HandProblemError,
    KeypointSet,
    NoHandError,
    checked_keypoints,
    unusable_hand,
)

NAME_SUFFIX = "_keypoints"
"""OpenPose names the file of `photo.jpg` `photo_keypoints.json`."""
# Before version 1.2 the names had no "_2d".
_FIELDS = {
    "left": ("hand_left_keypoints_2d", "hand_left_keypoints"),
    "right": ("hand_right_keypoints_2d", "hand_right_keypoints"),
}


def is_openpose(content: Any) -> bool:
    """Whether parsed JSON has this format's layout."""
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def read_openpose(path: pathlib.Path, content: Any) -> KeypointSet:
    """Hands of all people of one frame: left then right of the first, of the second, and so on.

    63 numbers a hand (u px, v px, confidence), canonical order. A hand that OpenPose did not find (no numbers, or all
    confidences 0) is left out. Coordinates must be pixels, that is `--keypoint_scale 0`, the default.

    Raises:
      ValueError: the layout is not this, or no person has a hand (OpenPose was run without `--hand`).
    """
    if not is_openpose(content):
        raise ValueError(f"{path}: not an OpenPose file: expected an object with a list 'people'")
    image = path.stem.removesuffix(NAME_SUFFIX)
    hands = []
    for index, person in enumerate(content["people"]):
        if not isinstance(person, dict):
            raise ValueError(f"{path}: person {index} must be an object, got {type(person).__name__}")
        for side, names in _FIELDS.items():
            numbers = next((person[name] for name in names if name in person), None)
            where = f"{path} person {index} {side} hand"
            if not numbers:
                continue
            try:
                keypoints = checked_keypoints(triples(numbers, where), where)
            except HandProblemError as problem:
                hands.append(unusable_hand(problem, image=image))
                continue
            if np.any(keypoints[:, 2] > 0):
                hands.append(HandKeypoints(image=image, side=side, keypoints=keypoints))
    if not hands:
        raise NoHandError(f"{path}: no hand in it ({len(content['people'])} people; was OpenPose run with --hand?)")
    return KeypointSet("openpose", tuple(hands))


def triples(numbers: Any, where: str) -> np.ndarray:
    """63 numbers as [21, 3]."""
    try:
        flat = np.asarray(numbers, np.float64)
    except (TypeError, ValueError):
        raise HandProblemError(f"{where}: expected 63 numbers, got something else") from None
    if flat.shape != (63,):
        raise HandProblemError(f"{where}: expected 63 numbers (21 x u, v, confidence), got shape {list(flat.shape)}")
    return flat.reshape(21, 3)
