"""This project's JSON: an object a photograph, with its keypoints, camera and side."""

import pathlib
from typing import Any

import numpy as np

from handpose_jax.data.keypoint_set import (
    HandKeypoints,
    HandProblemError,
    KeypointSet,
    checked_keypoints,
    checked_keypoints_3d,
    checked_side,
    unusable_hand,
)

DEFAULT_FIELDS = ("keypoints_px", "keypoints", "keypoints_detected_px", "keypoints_3d")
"""Names looked for, in this order, where `field` is not given."""


def is_handpose_json(content: Any) -> bool:
    """Whether parsed JSON has this format's layout."""
    if not isinstance(content, dict):
        return False
    if isinstance(content.get("photos"), list):
        return True
    return any(isinstance(content.get(name), list) for name in DEFAULT_FIELDS)


def read_handpose_json(path: pathlib.Path, content: Any, field: str | None = None) -> KeypointSet:
    """Hands of `{"photos": [{"file", "side", "K", <keypoints>}, ...], "image_size"}`, or of one such photo alone.

    Keypoints are 21 rows, [u px, v px] or [u px, v px, confidence]; 3D ones [x, y, z] or [x, y, z, confidence], metres.
    Which of the two a field holds is told by its name: one that ends in "_m" or "_3d" is 3D. `file`, `side` and `K` may
    be absent; `image_size` is the side of a square image or (height, width), at the top or in the photo.

    Raises:
      ValueError: the layout is not this, or no photo has the field.
    """
    if isinstance(content, dict) and isinstance(content.get("photos"), list):
        photos, shared = content["photos"], content
    else:
        photos, shared = [content], {}
    if not photos:
        raise ValueError(f"{path}: 'photos' is empty")
    if not all(isinstance(photo, dict) for photo in photos):
        raise ValueError(f"{path}: every entry of 'photos' must be an object with keypoints")
    field = field or _default_field(path, photos)
    if not any(field in photo for photo in photos):
        names = sorted({name for photo in photos for name in photo})
        raise ValueError(f"{path}: no photo has a field {field!r}; fields there: {', '.join(names)}")
    is_3d = field.endswith(("_m", "_3d"))
    return KeypointSet("handpose", tuple(_hand(path, i, photo, shared, field, is_3d) for i, photo in enumerate(photos)))


def camera_or_problem(value: Any, where: str) -> np.ndarray | None:
    """K as float64; its shape and values are judged by `handpose_jax.data.cameras.checked_camera`."""
    if value is None:
        return None
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise HandProblemError(f"{where}: K must be a 3x3 matrix of numbers, got {str(value)[:60]}") from None


def size_or_problem(value: Any, where: str) -> tuple[int, int] | None:
    """(height, width) of an `image_size`: one number for a square image, or the two."""
    if value is None:
        return None
    numbers = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(numbers) != 2 or not all(isinstance(n, int | float) and 0 < n < 1e6 for n in numbers):
        raise HandProblemError(
            f"{where}: image_size must be the side of a square image or [height, width], got {value}"
        )
    return int(numbers[0]), int(numbers[1])


def _hand(path: pathlib.Path, index: int, photo: dict, shared: dict, field: str, is_3d: bool) -> HandKeypoints:
    name = photo.get("file")
    image = None if name is None else str(name)
    where = f"{path} photo {index}" + (f" ({image})" if image else "")
    try:
        if field not in photo:
            raise HandProblemError(f"{where}: no field {field!r}")
        check = checked_keypoints_3d if is_3d else checked_keypoints
        values = check(photo[field], where)
        return HandKeypoints(
            image=image,
            side=checked_side(photo.get("side", shared.get("side")), where),
            keypoints=None if is_3d else values,
            keypoints_3d=values if is_3d else None,
            camera=camera_or_problem(photo.get("K", shared.get("K")), where),
            image_size=size_or_problem(photo.get("image_size", shared.get("image_size")), where),
        )
    except HandProblemError as problem:
        return unusable_hand(problem, is_3d=is_3d, image=image)


def _default_field(path: pathlib.Path, photos: list[dict]) -> str:
    for name in DEFAULT_FIELDS:
        if any(name in photo for photo in photos):
            return name
    names = sorted({name for photo in photos for name in photo})
    raise ValueError(
        f"{path}: none of the fields {', '.join(DEFAULT_FIELDS)}; name another with --field: {', '.join(names)}"
    )
