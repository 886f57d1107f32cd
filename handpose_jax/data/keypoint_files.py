"""Reading keypoints, and the true joints they are compared with, from files of several formats."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from handpose_jax.data.frames import frame_without_hand
from handpose_jax.data.keypoint_formats.coco_wholebody import is_coco_wholebody, read_coco_wholebody
from handpose_jax.data.keypoint_formats.handpose_json import is_handpose_json, read_handpose_json
from handpose_jax.data.keypoint_formats.mediapipe import is_mediapipe, read_mediapipe
from handpose_jax.data.keypoint_formats.numpy_batch import load_arrays, read_numpy_batch
from handpose_jax.data.keypoint_formats.openpose import NAME_SUFFIX, is_openpose, read_openpose
from handpose_jax.data.keypoint_set import HandKeypoints, ImageSizeOf, KeypointSet, NoHandError

FORMATS = ("auto", "handpose", "mediapipe", "openpose", "coco_wholebody")
_ARRAY_SUFFIXES = (".npz", ".npy")


def read_keypoints(
    path: str | pathlib.Path,
    format: str = "auto",
    field: str | None = None,
    image_size_of: ImageSizeOf = lambda name: None,
    mediapipe_labels: str = "auto",
    keep_empty: bool = False,
) -> KeypointSet:
    """Hands of a file, or of every `.json` of a folder, ordered by name (one without a hand is noted, not an error).

    Args:
      path: `.npz`, `.json` or a folder.
      format: of a JSON file; "auto" recognises it by its content.
      field: name of the keypoints in this project's own formats.
      image_size_of: (height, width) of a named image, for formats that give fractions of it.
      mediapipe_labels: see `keypoint_formats.mediapipe.read_mediapipe`.
      keep_empty: a file of a folder in which no hand was found keeps its place, as a hand without keypoints: frames.

    Raises:
      FileNotFoundError, OSError: the file is missing or unreadable.
      ValueError: it is of no known format, or holds no hand.
    """
    path = pathlib.Path(path)
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise ValueError(f"{path}: no .json file in this folder")
        sets, empty, gaps = [], [], []
        for file in files:
            try:
                sets.append(read_keypoints(file, format, field, image_size_of, mediapipe_labels))
            except NoHandError:
                empty.append(file.name)
                gaps.append((len(sets), frame_without_hand(file.stem.removesuffix(NAME_SUFFIX))))
        joined = _joined(path, sets, tuple(empty))
        return _with_gaps(joined, sets, gaps) if keep_empty else joined
    if path.suffix.lower() in _ARRAY_SUFFIXES:
        return read_numpy_batch(path, field)
    content = load_json(path)
    format = recognised_format(path, content) if format == "auto" else format
    if field is not None and format != "handpose":
        raise ValueError(f"{path}: a field can be named in this project's own files only, this one is {format}")
    match format:
        case "handpose":
            return read_handpose_json(path, content, field)
        case "mediapipe":
            return read_mediapipe(path, content, image_size_of, mediapipe_labels)
        case "openpose":
            return read_openpose(path, content)
        case _:
            return read_coco_wholebody(path, content)


def read_truth(path: str | pathlib.Path) -> tuple[tuple[str | None, ...] | None, Float[np.ndarray, "hands 21 3"]]:
    """Image names (None for `.npz`) and true joints, camera frame, metres; a joint without truth is NaN.

    `.npz`: `joints` [N, 21, 3]. JSON: `joints_camera_m` of every entry of `photos`.

    Raises:
      OSError: the file is missing or unreadable.
      ValueError: neither is there, or the shape is wrong.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() in _ARRAY_SUFFIXES:
        arrays = load_arrays(path)
        if "joints" not in arrays:
            raise ValueError(f"{path}: truth needs an array joints [N, 21, 3]; it holds {', '.join(sorted(arrays))}")
        names, joints = None, arrays["joints"]
    else:
        content = load_json(path)
        photos = content.get("photos") if isinstance(content, dict) else None
        if not isinstance(photos, list) or not all(isinstance(p, dict) and "joints_camera_m" in p for p in photos):
            raise ValueError(f"{path}: truth needs a list 'photos' whose entries have joints_camera_m")
        names = tuple(None if photo.get("file") is None else str(photo["file"]) for photo in photos)
        try:
            joints = np.asarray([photo["joints_camera_m"] for photo in photos], np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{path}: joints_camera_m must be 21 rows of 3 numbers in every photo") from None
    if joints.ndim != 3 or joints.shape[1:] != (21, 3) or joints.dtype.kind not in "fiu":
        raise ValueError(f"{path}: true joints must be numbers of shape [N, 21, 3], got {list(joints.shape)}")
    return names, joints.astype(np.float64)


def load_json(path: pathlib.Path) -> Any:
    """Parsed JSON; a ValueError that names the file where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"{path}: neither .npz nor JSON (it is not text)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: JSON nested too deeply") from None


def recognised_format(path: pathlib.Path, content: Any) -> str:
    """The format of parsed JSON, by its content.

    Raises:
      ValueError: it is none of those known.
    """
    # COCO's results and MediaPipe's dumps are both lists, told apart by the names of their fields.
    for name, test in (
        ("openpose", is_openpose),
        ("coco_wholebody", is_coco_wholebody),
        ("handpose", is_handpose_json),
        ("mediapipe", is_mediapipe),
    ):
        if test(content):
            return name
    raise ValueError(
        f"{path}: not a keypoint file of a known format (this project's, MediaPipe, OpenPose, COCO-WholeBody); "
        "see docs/fit.md for their layouts"
    )


def _with_gaps(joined: KeypointSet, sets: list[KeypointSet], gaps: list[tuple[int, HandKeypoints]]) -> KeypointSet:
    """Hands of all sets in order, each gap after as many sets as were read before it."""
    hands: list[HandKeypoints] = []
    for index in range(len(sets) + 1):
        hands += [gap for before, gap in gaps if before == index]
        hands += sets[index].hands if index < len(sets) else ()
    return dataclasses.replace(joined, hands=tuple(hands), files_without_hand=())


def _joined(path: pathlib.Path, sets: list[KeypointSet], empty: tuple[str, ...]) -> KeypointSet:
    if not sets:
        raise NoHandError(f"{path}: no hand in any of its {len(empty)} .json files")
    if len({part.is_3d for part in sets}) > 1:
        raise ValueError(f"{path}: some files hold 2D keypoints and others 3D ones; name the field with --field")
    formats = sorted({part.format for part in sets})
    return KeypointSet("+".join(formats), tuple(hand for part in sets for hand in part.hands), empty)
