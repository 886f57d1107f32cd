"""Keypoints of many hands as the readers hand them over, and the checks that every format shares.

Every format read here lists the 21 keypoints in canonical order (`mano_jax.keypoints.KEYPOINT_NAMES`): OpenPose,
MediaPipe and COCO-WholeBody hands agree in it, so no reader permutes. A format in another order takes its table from
`mano_jax.keypoints`, where all orders live.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

KEYPOINT_COUNT = 21
SIDES = ("left", "right", "auto")
"""What is known of a hand's side; "auto": nothing, both are to be tried."""

ImageSizeOf = Callable[[str | None], tuple[int, int] | None]
"""(height, width) of the image of a name, pixels, or None where there is no such image; raises ValueError for a file
that is no image. For formats that give keypoints in fractions of the image."""


class HandProblemError(ValueError):
    """One hand of a file cannot be used; the others can. Turned into a row of NaN by the reader."""


class NoHandError(ValueError):
    """A well-formed file in which no hand was detected: no mistake where it is one frame of a folder."""


@dataclasses.dataclass(frozen=True)
class HandViews:
    """What V cameras saw of one hand; arrays of a view that is not valid mean nothing.

    Attributes:
      keypoints: u px, v px, confidence.
      K: camera matrices, unchecked.
      world_to_camera: transforms into each camera's frame, metres, unchecked.
      valid: which views there are.
    """

    keypoints: Float[np.ndarray, "views 21 3"]
    K: Float[np.ndarray, "views 3 3"]
    world_to_camera: Float[np.ndarray, "views 4 4"]
    valid: Bool[np.ndarray, "views"]


@dataclasses.dataclass(frozen=True)
class HandKeypoints:
    """One hand of a keypoint file.

    Attributes:
      image: name of its image as the file gives it, None where it gives none.
      side: "left", "right" or "auto".
      keypoints: u px, v px, confidence; pixel (row i, column j) has its centre at (j + 0.5, i + 0.5). None for 3D.
      keypoints_3d: x, y, z in the camera frame (OpenCV axes, metres), confidence. None for 2D.
      camera: K as the file gives it, unchecked; None where it gives none.
      image_size: (height, width), pixels; None where the file gives none.
      views: what several cameras saw, in place of `keypoints` and `camera`; None for one.
      problem: why this hand cannot be used (its keypoints are NaN then); None for a good one.
    """

    image: str | None = None
    side: str = "auto"
    keypoints: Float[np.ndarray, "21 3"] | None = None
    keypoints_3d: Float[np.ndarray, "21 4"] | None = None
    camera: Float[np.ndarray, "3 3"] | None = None
    image_size: tuple[int, int] | None = None
    views: HandViews | None = None
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class KeypointSet:
    """The hands of one or several files, in their order, the format they were read from, and the files without any."""

    format: str
    hands: tuple[HandKeypoints, ...]
    files_without_hand: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.hands)

    @property
    def is_3d(self) -> bool:
        return any(hand.keypoints_3d is not None for hand in self.hands)


def checked_side(value: object, where: str) -> str:
    """ "left", "right" or "auto" of what a file says, in any case; None and "" mean "auto".

    Raises:
      HandProblemError: it says something else.
    """
    text = "auto" if value is None else str(value).strip().lower() or "auto"
    if text not in SIDES:
        raise HandProblemError(f"{where}: side must be 'left', 'right' or absent, got {value!r}")
    return text


def checked_keypoints(values: object, where: str) -> Float[np.ndarray, "21 3"]:
    """21 image keypoints (u px, v px, confidence) from rows of two or three numbers; confidence is 1 where absent.

    Raises:
      HandProblemError: the array is not [21, 2] or [21, 3], or the numbers cannot be pixels.
    """
    array = _checked_array(values, where, "[21, 2 or 3] (u px, v px, confidence)", (2, 3))
    seen = array[np.isfinite(array).all(axis=1) & (array[:, 2] > 0)]
    if len(seen) > 1 and np.abs(seen[:, :2]).max() <= 2.0:
        raise HandProblemError(
            f"{where}: all keypoints lie within 2 px of the image's corner, so they are not pixels; fractions of the "
            "image must be multiplied by its size, and points in metres belong in `keypoints_3d`"
        )
    return array


def checked_keypoints_3d(values: object, where: str) -> Float[np.ndarray, "21 4"]:
    """21 points (x, y, z in metres, confidence) from rows of three or four numbers; confidence is 1 where absent.

    Raises:
      HandProblemError: the array is not [21, 3] or [21, 4], or the numbers cannot be metres in a camera's frame.
    """
    array = _checked_array(values, where, "[21, 3 or 4] (x, y, z metres, confidence)", (3, 4))
    seen = array[np.isfinite(array).all(axis=1) & (array[:, 3] > 0)]
    if len(seen) > 1 and np.ptp(seen[:, :3], axis=0).max() > 1.0:
        raise HandProblemError(
            f"{where}: the points spread over {np.ptp(seen[:, :3], axis=0).max():.4g}, expected a hand in metres; "
            "divide millimetres by 1000"
        )
    return array


def project_hand(hand: HandKeypoints, camera: Float[np.ndarray, "3 3"]) -> HandKeypoints:
    """The 2D hand that a 3D one projects to; a point at depth <= 0 becomes unseen (NaN, confidence 0)."""
    if hand.keypoints_3d is None:
        return hand
    points, confidence = hand.keypoints_3d[:, :3], hand.keypoints_3d[:, 3]
    in_front = points[:, 2] > 0
    depth = np.where(in_front, points[:, 2], 1.0)
    pixels = (points / depth[:, None]) @ np.asarray(camera, np.float64).T
    keypoints = np.concatenate([pixels[:, :2], confidence[:, None]], axis=1)
    keypoints[~in_front] = (np.nan, np.nan, 0.0)
    return dataclasses.replace(hand, keypoints=keypoints, keypoints_3d=None)


def unusable_hand(problem: Exception | str, *, is_3d: bool = False, image: str | None = None) -> HandKeypoints:
    """A row of NaN that keeps its place and says why."""
    if is_3d:
        return HandKeypoints(image=image, keypoints_3d=np.full((KEYPOINT_COUNT, 4), np.nan), problem=str(problem))
    return HandKeypoints(image=image, keypoints=np.full((KEYPOINT_COUNT, 3), np.nan), problem=str(problem))


def _checked_array(values: object, where: str, expected: str, widths: Sequence[int]) -> np.ndarray:
    try:
        # None in JSON (a keypoint that was not seen) becomes NaN.
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise HandProblemError(
            f"{where}: keypoints must be numbers of shape {expected}, got rows that differ"
        ) from None
    if array.ndim != 2 or array.shape[0] != KEYPOINT_COUNT or array.shape[1] not in widths:
        raise HandProblemError(f"{where}: keypoints must have shape {expected}, got {list(array.shape)}")
    if array.shape[1] == widths[0]:
        array = np.concatenate([array, np.ones((KEYPOINT_COUNT, 1))], axis=1)
    return array
