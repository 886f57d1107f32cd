"""COCO-WholeBody annotations and results: `lefthand_kpts` and `righthand_kpts` of every person.

Source: jin-s13/COCO-WholeBody, data_format.md.
"""

import pathlib
from typing import Any

import numpy as np

from handpose_jax.data.keypoint_formats.openpose import triples
from handpose_jax.data.keypoint_set import (
    HandKeypoints,
    HandProblemError,
    KeypointSet,
    NoHandError,
    checked_keypoints,
    unusable_hand,
)


def is_coco_wholebody(content: Any) -> bool:
    """Whether parsed JSON has this format's layout."""
    annotations = content.get("annotations") if isinstance(content, dict) else content
    return isinstance(annotations, list) and any(
        isinstance(entry, dict) and ("lefthand_kpts" in entry or "righthand_kpts" in entry) for entry in annotations
    )


def read_coco_wholebody(path: pathlib.Path, content: Any) -> KeypointSet:
    """Hands of an annotation file (`images` and `annotations`) or of a results file (a list of annotations).

    63 numbers a hand (x, y, v), canonical order. v is 0 (not labelled), 1, 2, or a float in between; confidence is v
    cut to [0, 1]. A hand whose `lefthand_valid` / `righthand_valid` is false, or without a keypoint, is left out.
    COCO's keypoints count pixels from 0 at the centre of the first, so half a pixel is added. A results file names
    images by number alone: image 139 is `000000000139.jpg`, as in COCO.

    Raises:
      ValueError: the layout is not this, or it holds no valid hand.
    """
    if not is_coco_wholebody(content):
        raise ValueError(f"{path}: not a COCO-WholeBody file: expected annotations with lefthand_kpts, righthand_kpts")
    annotations = content["annotations"] if isinstance(content, dict) else content
    images = content.get("images") if isinstance(content, dict) else None
    table = {entry["id"]: entry for entry in images or [] if isinstance(entry, dict) and "id" in entry}
    hands = []
    for index, person in enumerate(annotations):
        if not isinstance(person, dict):
            raise ValueError(f"{path}: annotation {index} must be an object, got {type(person).__name__}")
        name, size = _image(person.get("image_id"), table)
        for side in ("left", "right"):
            numbers = person.get(f"{side}hand_kpts")
            where = f"{path} annotation {index} {side} hand"
            if not numbers or not person.get(f"{side}hand_valid", True):
                continue
            try:
                raw = triples(numbers, where)
                raw = np.concatenate([raw[:, :2] + 0.5, np.clip(raw[:, 2:], 0.0, 1.0)], axis=1)
                keypoints = checked_keypoints(raw, where)
            except HandProblemError as problem:
                hands.append(unusable_hand(problem, image=name))
                continue
            if np.any(keypoints[:, 2] > 0):
                hands.append(HandKeypoints(image=name, side=side, keypoints=keypoints, image_size=size))
    if not hands:
        raise NoHandError(f"{path}: no valid hand in {len(annotations)} annotations")
    return KeypointSet("coco_wholebody", tuple(hands))


def _image(image_id: Any, table: dict[Any, dict]) -> tuple[str | None, tuple[int, int] | None]:
    entry = table.get(image_id) if isinstance(image_id, int | str) else None
    if entry is not None:
        size = (int(entry["height"]), int(entry["width"])) if entry.get("height") and entry.get("width") else None
        return entry.get("file_name"), size
    if isinstance(image_id, int):
        return f"{image_id:012d}.jpg", None
    return (str(image_id) if image_id is not None else None), None
