"""Keypoints joined with what a fit needs beside them: the image, its camera, the side."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from handpose_jax.data.cameras import Camera, resolved_camera
from handpose_jax.data.images import image_named, image_size
from handpose_jax.data.keypoint_set import (
    HandKeypoints,
    HandProblemError,
    ImageSizeOf,
    KeypointSet,
    project_hand,
    unusable_hand,
)


@dataclasses.dataclass(frozen=True)
class LocatedHand:
    """One hand ready to be fitted, or the reason why not (`hand.problem`).

    Attributes:
      hand: keypoints and side.
      image: path of its image, None where there is none.
      image_size: (height, width), None where unknown.
      camera: None only for 3D keypoints without one, for several views, and for hands with a problem.
    """

    hand: HandKeypoints
    image: pathlib.Path | None
    image_size: tuple[int, int] | None
    camera: Camera | None


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Where images lie: one file, or a folder in which they are found by the names that keypoint files give."""

    file: pathlib.Path | None
    folder: pathlib.Path | None

    def find(self, name: str | None) -> pathlib.Path | None:
        if self.file is not None:
            return self.file
        if self.folder is None or name is None:
            return None
        return image_named(self.folder, name)

    def size_finder(self) -> ImageSizeOf:
        """For readers that need the size of an image; a file that is no image is a problem of its hands only."""

        def size_of(name: str | None) -> tuple[int, int] | None:
            path = self.find(name)
            try:
                return None if path is None else image_size(path)
            except ValueError as error:
                raise HandProblemError(str(error)) from None

        return size_of


def hands_of_image(keypoints: KeypointSet, image: pathlib.Path, where: str) -> KeypointSet:
    """Only the hands of one image: those that name it, or all, where the file speaks of a single image.

    Raises:
      ValueError: the file speaks of several images and names not this one.
    """
    names = {hand.image for hand in keypoints.hands}
    matching = tuple(hand for hand in keypoints.hands if hand.image and _same_image(hand.image, image))
    if not matching and len(names) > 1:
        raise ValueError(
            f"{where}: no keypoints for {image.name}; it names {_few(sorted(str(name) for name in names))}"
        )
    return dataclasses.replace(keypoints, hands=matching or keypoints.hands)


def locate_hands(
    keypoints: KeypointSet,
    images: ImageSource,
    where: str,
    flag_camera: Camera | None = None,
    field_of_view: float | None = None,
    side: str | None = None,
    project: bool = False,
) -> list[LocatedHand]:
    """Every hand with its image and camera; what is wrong with one hand becomes its problem, not an error.

    Args:
      keypoints: as read.
      images: where to look for them.
      where: name of the input, for messages.
      flag_camera: for all hands, before any other.
      field_of_view: degrees; used where neither a flag, the file nor EXIF give a camera.
      side: for all hands, in place of the file's.
      project: turn 3D keypoints into 2D ones.
    """
    return [
        _located(hand, images, f"{where} hand {index}", flag_camera, field_of_view, side, project)
        for index, hand in enumerate(keypoints.hands)
    ]


def image_names(hands: Sequence[LocatedHand]) -> list[str | None]:
    """Name of each hand's image: that of the file found, else as the keypoint file says."""
    return [hand.image.name if hand.image is not None else hand.hand.image for hand in hands]


def truth_of_hands(
    hands: Sequence[LocatedHand],
    names: Sequence[str | None] | None,
    joints: Float[np.ndarray, "truths 21 3"],
    where: str,
) -> Float[np.ndarray, "hands 21 3"]:
    """True joints in the order of the hands: by the images' names where both have them, else one for one.

    Raises:
      ValueError: neither is possible.
    """
    hand_names = image_names(hands)
    if len(joints) == len(hands):
        return joints
    if names is None or any(name is None for name in [*names, *hand_names]) or len(set(names)) != len(names):
        raise ValueError(f"{where}: {len(joints)} true hands for {len(hands)} hands; expected one for each, in order")
    rows = {_base(str(name)): row for row, name in enumerate(names)}
    missing = [str(name) for name in hand_names if _base(str(name)) not in rows]
    if missing:
        raise ValueError(f"{where}: no truth for {_few(missing)}")
    return joints[[rows[_base(str(name))] for name in hand_names]]


def _located(
    hand: HandKeypoints,
    images: ImageSource,
    where: str,
    flag_camera: Camera | None,
    field_of_view: float | None,
    side: str | None,
    project: bool,
) -> LocatedHand:
    where += f" ({hand.image})" if hand.image else ""
    is_3d, path, size = hand.keypoints_3d is not None, images.find(hand.image), hand.image_size
    try:
        if path is not None:
            found_size = image_size(path)
            if size is not None and size != found_size:
                raise HandProblemError(
                    f"{where}: {path.name} is {found_size[1]}x{found_size[0]} px, but the keypoints are for "
                    f"{size[1]}x{size[0]} px"
                )
            size = found_size
        if hand.problem is not None:
            return LocatedHand(hand, path, size, None)
        if hand.views is not None and flag_camera is not None:
            raise HandProblemError(f"{where}: a camera for all was given, but its several views have their own K")
        # 3D keypoints need no camera, so none is guessed for them, unless they are to be projected; views bring theirs.
        needs_camera = hand.views is None and (not is_3d or project)
        camera = resolved_camera(
            flag_camera,
            hand.camera,
            path if needs_camera else None,
            size if needs_camera else None,
            field_of_view,
            where,
        )
        if camera is None and needs_camera:
            named = f"; its image {hand.image} was not found" if hand.image else ""
            raise HandProblemError(
                f"{where}: no camera: give K in the file or --K=fx,fy,cx,cy, or the image, whose EXIF data or size "
                f"with --fov tell one{named}"
            )
    except (ValueError, OSError) as problem:
        return LocatedHand(unusable_hand(problem, is_3d=is_3d and not project, image=hand.image), path, size, None)
    if side is not None:
        hand = dataclasses.replace(hand, side=side)
    if project and camera is not None:
        hand = project_hand(hand, camera.matrix)
    return LocatedHand(hand, path, size, camera)


def _same_image(name: str, path: pathlib.Path) -> bool:
    return _base(name) == path.name or pathlib.PurePosixPath(_base(name)).stem == path.stem


def _base(name: str) -> str:
    return pathlib.PurePosixPath(name.replace("\\", "/")).name


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
