"""Hands that several cameras saw, in an `.npz`: keypoints [N, V, 21, 2 or 3], K, world_to_camera, view_valid."""

import pathlib

import numpy as np

from handpose_jax.data.keypoint_set import (
    KEYPOINT_COUNT,
    HandKeypoints,
    HandProblemError,
    HandViews,
    KeypointSet,
    checked_keypoints,
    checked_side,
)


def read_numpy_views(
    path: pathlib.Path, name: str, keypoints: np.ndarray, arrays: dict[str, np.ndarray], sides: list[object]
) -> KeypointSet:
    """Hands of arrays with an axis of views.

    Args:
      path: of the file, for messages.
      name: of the keypoints' array.
      keypoints: [N, V, 21, 2 or 3].
      arrays: of the file: `K` [N, V, 3, 3], [V, 3, 3] of a fixed rig or one [3, 3]; `world_to_camera` [N, V, 4, 4] or
        [V, 4, 4]; optional `view_valid` [N, V] or [V].
      sides: what the file says of each hand.

    Raises:
      ValueError: an array is missing or has the wrong shape.
    """
    if keypoints.shape[2] != KEYPOINT_COUNT or keypoints.shape[3] not in (2, 3) or 0 in keypoints.shape:
        raise ValueError(f"{path}: {name} of several views must have shape [N, V, 21, 2 or 3], got {keypoints.shape}")
    counts = keypoints.shape[:2]
    missing = [field for field in ("K", "world_to_camera") if field not in arrays]
    if missing:
        raise ValueError(f"{path}: {name} of several views needs {' and '.join(missing)} for every view")
    K = _of_every_view(path, "K", arrays["K"], counts, (3, 3))
    transforms = _of_every_view(path, "world_to_camera", arrays["world_to_camera"], counts, (4, 4))
    valid = arrays.get("view_valid", np.ones(counts, bool))
    if valid.dtype.kind not in "bu" and not np.isin(valid, [0, 1]).all():
        raise ValueError(f"{path}: view_valid must be true or false, got dtype {valid.dtype}")
    valid = _of_every_view(path, "view_valid", valid, counts, ()).astype(bool)
    hands = []
    for row in range(counts[0]):
        where = f"{path} hand {row}"
        problem, views = None, np.full((counts[1], KEYPOINT_COUNT, 3), np.nan)
        side = "auto"
        try:
            side = checked_side(sides[row], where)
            for view in np.flatnonzero(valid[row]):
                views[view] = checked_keypoints(keypoints[row, view], f"{where} view {view}")
        except HandProblemError as error:
            problem, views = str(error), np.full_like(views, np.nan)
        hands.append(
            HandKeypoints(side=side, views=HandViews(views, K[row], transforms[row], valid[row]), problem=problem)
        )
    return KeypointSet(format="numpy", hands=tuple(hands))


def _of_every_view(
    path: pathlib.Path, name: str, array: np.ndarray, counts: tuple[int, int], shape: tuple[int, ...]
) -> np.ndarray:
    """The array of every hand and view, where the file gives one of every view, or of all."""
    expected = [(*counts, *shape), (counts[1], *shape), *([shape] if name == "K" else [])]
    if array.dtype.kind not in "fiub" or array.shape not in expected:
        shapes = " or ".join(str(list(one)) for one in expected)
        raise ValueError(f"{path}: {name} must be numbers of shape {shapes}, got {list(array.shape)}")
    array = array if array.dtype.kind == "b" else array.astype(np.float64)
    return np.broadcast_to(array, (*counts, *shape))
