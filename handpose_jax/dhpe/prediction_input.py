"""Which hands of which photographs to predict: image files or folders, and annotations that name boxes."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from handpose_jax.data.cameras import Camera, resolved_camera
from handpose_jax.data.images import IMAGE_SUFFIXES, image_size
from handpose_jax.data.keypoint_files import load_json, read_keypoints, read_truth
from handpose_jax.data.keypoint_formats.handpose_json import camera_or_problem, size_or_problem
from handpose_jax.data.keypoint_set import HandKeypoints, HandProblemError, checked_side, unusable_hand
from handpose_jax.data.located_hands import ImageSource, LocatedHand, locate_hands, truth_of_hands

Box = tuple[float, float, float, float]
"""Left, top, width, height of the tight box around a hand, pixels."""


@dataclasses.dataclass(frozen=True)
class HandToPredict:
    """One hand of a photograph, or why it cannot be used (`located.hand.problem`).

    Attributes:
      located: image, camera and side ("auto" where unknown).
      box: None: the whole image shows one hand.
      true_root_depth: of the middle MCP, metres, where annotations tell.
    """

    located: LocatedHand
    box: Box | None
    true_root_depth: float | None = None


def image_files(paths: Sequence[str]) -> list[pathlib.Path]:
    """Files as given, and those of folders in the order of their names.

    Raises:
      OSError: there is no such file or folder.
      ValueError: a folder holds no image.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise ValueError(f"{path}: no image in this folder (expected {', '.join(IMAGE_SUFFIXES)})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(2, "no such image or folder", str(path))
    return found


def hands_of_images(
    paths: Sequence[pathlib.Path], box: Box | None, camera: Camera | None, field_of_view: float | None
) -> list[HandToPredict]:
    """One hand an image. What is wrong with one image becomes its hand's problem."""
    hands = []
    for path in paths:
        try:
            size = image_size(path)
            found = resolved_camera(camera, None, path, size, field_of_view, str(path))
            hands.append(HandToPredict(LocatedHand(HandKeypoints(image=path.name), path, size, found), box))
        except (ValueError, OSError) as problem:
            hand = unusable_hand(problem, image=path.name)
            hands.append(HandToPredict(LocatedHand(hand, path, None, None), box))
    return hands


def hands_of_annotations(
    path: pathlib.Path,
    images: Sequence[pathlib.Path],
    folder: pathlib.Path,
    field: str | None,
    camera: Camera | None,
    field_of_view: float | None,
) -> list[HandToPredict]:
    """Hands of an annotation file: boxes as it gives them, or around keypoints (2D, or 3D through K).

    Args:
      path: JSON with a list "photos" of {"file", "side", "K", and "box" [left, top, width, height] or keypoints}; or
        another format of `read_keypoints`.
      images: if any, only hands of these.
      folder: where images lie otherwise.
      field: names the keypoints; without it a "box" counts first.
      camera, field_of_view: as `locate_hands`.

    Raises:
      OSError, ValueError: the file is unusable, or names none of the images.
    """
    content: Any = load_json(path) if path.suffix.lower() == ".json" else None
    photos = content.get("photos") if isinstance(content, dict) else None
    named = {image.name: image for image in images}
    source = ImageSource(None, folder)
    if field is None and isinstance(photos, list) and photos and all(_has_box(photo) for photo in photos):
        hands = [_boxed(path, row, photo, content, source, camera, field_of_view) for row, photo in enumerate(photos)]
    else:
        keypoints = read_keypoints(path, "auto", field, source.size_finder())
        located = locate_hands(keypoints, source, str(path), camera, field_of_view, project=keypoints.is_3d)
        hands = [_around_keypoints(hand) for hand in located]
    if isinstance(photos, list) and all(isinstance(p, dict) and "joints_camera_m" in p for p in photos):
        names, joints = read_truth(path)
        depths = truth_of_hands([hand.located for hand in hands], names, joints, str(path))[:, 9, 2]
        hands = [
            dataclasses.replace(hand, true_root_depth=float(depth)) for hand, depth in zip(hands, depths, strict=True)
        ]
    if named:
        hands = [hand for hand in hands if hand.located.image is not None and hand.located.image.name in named]
        if not hands:
            raise ValueError(f"{path}: names none of the {len(named)} images given, such as {min(named)}")
    return hands


def _has_box(photo: Any) -> bool:
    return isinstance(photo, dict) and photo.get("box") is not None


def _boxed(
    path: pathlib.Path,
    row: int,
    photo: dict[str, Any],
    shared: dict[str, Any],
    images: ImageSource,
    camera: Camera | None,
    field_of_view: float | None,
) -> HandToPredict:
    where, name = f"{path} photo {row}", photo.get("file")
    image = images.find(None if name is None else str(name))
    try:
        if image is None:
            raise HandProblemError(f"{where}: its image {name} was not found in {images.folder}")
        hand = HandKeypoints(
            image=str(name),
            side=checked_side(photo.get("side", shared.get("side")), where),
            camera=camera_or_problem(photo.get("K", shared.get("K")), where),
            image_size=size_or_problem(photo.get("image_size", shared.get("image_size")), where),
        )
        size = image_size(image)
        found = resolved_camera(camera, hand.camera, image, size, field_of_view, where)
        return HandToPredict(LocatedHand(hand, image, size, found), checked_box(photo["box"], where))
    except (ValueError, OSError) as problem:
        return HandToPredict(LocatedHand(unusable_hand(problem, image=str(name)), image, None, None), None)


def _around_keypoints(located: LocatedHand) -> HandToPredict:
    """The tight box around what was seen."""
    hand = located.hand
    problem = hand.problem
    if problem is None and located.image is None:
        problem = f"its image {hand.image} was not found" if hand.image else "it names no image"
    if problem is None and hand.keypoints is not None:
        seen = hand.keypoints[np.isfinite(hand.keypoints).all(axis=1) & (hand.keypoints[:, 2] > 0), :2]
        if len(seen) >= 2:
            (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
            return HandToPredict(located, (float(left), float(top), float(right - left), float(bottom - top)))
        problem = f"a box needs at least two keypoints that were seen, got {len(seen)}"
    bad = unusable_hand(problem or "it has no keypoints in the image", image=hand.image)
    return HandToPredict(dataclasses.replace(located, hand=bad), None)


def checked_box(values: Any, where: str) -> Box:
    """Four numbers.

    Raises:
      ValueError: they are not.
    """
    try:
        array: Float[np.ndarray, 4] = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape != (4,) or not np.isfinite(array).all():
        raise ValueError(f"{where}: a box is four numbers x,y,w,h (left, top, width, height; pixels), got {values}")
    left, top, width, height = array.tolist()
    return left, top, width, height
