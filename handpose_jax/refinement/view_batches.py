"""Several views of N hands as arrays: checks, mirror images, residuals. NumPy."""

import numpy as np
from jaxtyping import Bool, Float

from handpose_jax.data.cameras import projected_points
from handpose_jax.refinement.views import CameraViews

_ROTATION_TOLERANCE = 1e-3


def check_view_shapes(
    keypoints: np.ndarray, K: np.ndarray | None, world_to_camera: np.ndarray | None, view_valid: np.ndarray | None
) -> None:
    """
    Raises:
      ValueError: arrays that do not belong to `keypoints` [hands, views, 21, 3], or are missing.
    """
    if keypoints.ndim != 4 or keypoints.shape[2:] != (21, 3):
        raise ValueError(f"keypoints must have shape [hands, views, 21, 3], got {keypoints.shape}")
    if world_to_camera is None:
        raise ValueError("keypoints of several views need world_to_camera [hands, views, 4, 4]: give it")
    counts = keypoints.shape[:2]
    for name, array, shape in (
        ("K", K, (*counts, 3, 3)),
        ("world_to_camera", world_to_camera, (*counts, 4, 4)),
        ("view_valid", view_valid, counts),
    ):
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} must have shape {list(shape)}, got {list(array.shape)}")


def view_problems(
    K: Float[np.ndarray, "hands views 3 3"],
    world_to_camera: Float[np.ndarray, "hands views 4 4"],
    valid: Bool[np.ndarray, "hands views"],
) -> dict[int, str]:
    """Hands with a valid view whose camera cannot be one, and why."""
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(K).all((2, 3)) & (K[..., 0, 0] > 0) & (K[..., 1, 1] > 0)
        turn = np.asarray(world_to_camera[..., :3, :3], np.float64)
        rigid = np.abs(np.einsum("nvab,nvcb->nvac", turn, turn) - np.eye(3)).max((2, 3)) < _ROTATION_TOLERANCE
        rigid &= (np.cross(turn[..., 0, :], turn[..., 1, :]) * turn[..., 2, :]).sum(-1) > 0.0
        rigid &= np.isfinite(world_to_camera).all((2, 3))
        rigid &= np.abs(world_to_camera[..., 3, :] - [0.0, 0.0, 0.0, 1.0]).max(-1) < _ROTATION_TOLERANCE
    problems = {}
    for row, view in np.argwhere(valid & ~usable):
        problems.setdefault(int(row), f"K of view {view} is not a finite camera matrix with positive focal lengths")
    for row, view in np.argwhere(valid & ~rigid):
        text = f"world_to_camera of view {view} is not a rotation and a translation in metres, last row 0 0 0 1"
        problems.setdefault(int(row), text)
    return problems


def camera_views(
    keypoints: Float[np.ndarray, "hands *views 21 3"],
    K: Float[np.ndarray, "hands *views 3 3"],
    world_to_camera: Float[np.ndarray, "hands views 4 4"] | None,
    valid: Bool[np.ndarray, "hands views"] | None,
    *,
    mirrored: bool,
) -> CameraViews:
    """Views of every hand, float32; `mirrored`: of their images in the world's plane x = 0, each in a mirror image.

    Without transforms the one view's camera is the world.
    """
    points, cameras = keypoints.astype(np.float32), K.astype(np.float32)
    if points.ndim == 3:
        points, cameras = points[:, None], cameras[:, None]
    hands, views = points.shape[:2]
    eye = np.broadcast_to(np.eye(4, dtype=np.float32), (hands, views, 4, 4))
    transforms = np.array(eye if world_to_camera is None else world_to_camera, np.float32)
    if mirrored:
        signs = np.array([-1.0, 1.0, 1.0, 1.0], np.float32)
        transforms = transforms * signs[:, None] * signs
        points, cameras = points.copy(), cameras.copy()
        points[..., 0] *= -1.0
        cameras[..., 0, 2] *= -1.0
    present = np.ones((hands, views), bool) if valid is None else np.asarray(valid, bool)
    return CameraViews(points, cameras, transforms, present)  # type: ignore[arg-type]


def squared_distances_px(
    joints: Float[np.ndarray, "hands 21 3"],
    keypoints: Float[np.ndarray, "hands views 21 3"],
    K: Float[np.ndarray, "hands views 3 3"],
    world_to_camera: Float[np.ndarray, "hands views 4 4"],
) -> Float[np.ndarray, "hands views 21"]:
    """Between projected joints, given in the world, and keypoints; square pixels."""
    hands, views = keypoints.shape[:2]
    in_view = np.einsum("nvab,nkb->nvka", world_to_camera[..., :3, :3], joints) + world_to_camera[..., None, :3, 3]
    pixels = projected_points(in_view.reshape(-1, 21, 3), K.reshape(-1, 3, 3)).reshape(hands, views, 21, 2)
    return np.sum((pixels - keypoints[..., :2]) ** 2, axis=-1)
