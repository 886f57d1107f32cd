"""This project's `.npz` batches: N hands in arrays."""

import pathlib
import zipfile
import zlib

import numpy as np

from handpose_jax.data.keypoint_formats.numpy_views import read_numpy_views
from handpose_jax.data.keypoint_set import (
    KEYPOINT_COUNT,
    HandKeypoints,
    HandProblemError,
    KeypointSet,
    checked_keypoints,
    checked_keypoints_3d,
    checked_side,
    unusable_hand,
)


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz`, read without unpickling anything.

    Raises:
      ValueError: the file is not an `.npz`, or holds an array of Python objects.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array; use numpy.savez")
        with archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a readable .npz of number arrays ({_first_line(error)})") from None


def read_numpy_batch(path: pathlib.Path, field: str | None = None) -> KeypointSet:
    """Hands of an `.npz`: `keypoints` [N, 21, 2 or 3] or `keypoints_3d` [N, 21, 3 or 4], `K`, optional `side`.

    Keypoints [N, V, 21, 2 or 3] are those of V cameras: `numpy_views.read_numpy_views` says what goes with them.
    `K` is [N, 3, 3] or one [3, 3] for all; `side` is N strings. With both kinds of keypoints `field` must choose.
    Another array may be named by `field`: names that end in "_m" or "_3d" are metres, others pixels.

    Raises:
      ValueError: an array is missing or has the wrong shape.
    """
    arrays = load_arrays(path)
    name = field or _only_keypoint_array(path, arrays)
    if name not in arrays:
        raise ValueError(f"{path}: no array {name!r}; it holds {', '.join(sorted(arrays)) or 'nothing'}")
    is_3d = name.endswith(("_m", "_3d"))
    widths = (3, 4) if is_3d else (2, 3)
    keypoints = arrays[name]
    if keypoints.ndim == 4 and not is_3d and keypoints.dtype.kind in "fiu":
        sides = _sides(path, arrays.get("side"), keypoints.shape[0])
        return read_numpy_views(path, name, keypoints, arrays, sides)
    if keypoints.ndim != 3 or keypoints.shape[1] != KEYPOINT_COUNT or keypoints.shape[2] not in widths:
        raise ValueError(
            f"{path}: {name} must have shape [N, 21, {widths[0]} or {widths[1]}], got {list(keypoints.shape)}"
        )
    if keypoints.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {name} must be numbers, got dtype {keypoints.dtype}")
    count = keypoints.shape[0]
    if count == 0:
        raise ValueError(f"{path}: {name} holds no hand")
    cameras = _cameras(path, arrays.get("K"), count)
    sides = _sides(path, arrays.get("side"), count)

    hands = []
    for row in range(count):
        where = f"{path} hand {row}"
        try:
            check = checked_keypoints_3d if is_3d else checked_keypoints
            values = check(keypoints[row], where)
            hands.append(
                HandKeypoints(
                    side=checked_side(sides[row], where),
                    keypoints=None if is_3d else values,
                    keypoints_3d=values if is_3d else None,
                    camera=cameras[row],
                )
            )
        except HandProblemError as problem:
            hands.append(unusable_hand(problem, is_3d=is_3d))
    return KeypointSet(format="numpy", hands=tuple(hands))


def _only_keypoint_array(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> str:
    present = [name for name in ("keypoints", "keypoints_3d") if name in arrays]
    if len(present) == 1:
        return present[0]
    if present:
        raise ValueError(f"{path}: holds both keypoints and keypoints_3d; choose one with --field")
    found = ", ".join(sorted(arrays)) or "nothing"
    raise ValueError(f"{path}: needs an array keypoints [N, 21, 2 or 3] or keypoints_3d [N, 21, 3 or 4]; holds {found}")


def _cameras(path: pathlib.Path, cameras: np.ndarray | None, count: int) -> list[np.ndarray | None]:
    if cameras is None:
        return [None] * count
    if cameras.dtype.kind not in "fiu" or cameras.shape not in ((3, 3), (count, 3, 3)):
        raise ValueError(f"{path}: K must be numbers of shape [{count}, 3, 3] or [3, 3], got {list(cameras.shape)}")
    return list(np.broadcast_to(cameras.astype(np.float64), (count, 3, 3)))


def _sides(path: pathlib.Path, sides: np.ndarray | None, count: int) -> list[object]:
    if sides is None:
        return [None] * count
    if sides.shape not in ((), (count,)) or sides.dtype.kind not in "US":
        raise ValueError(
            f"{path}: side must be {count} strings ('left' or 'right'), got {sides.dtype} of shape {list(sides.shape)}"
        )
    return [side.decode() if isinstance(side, bytes) else str(side) for side in np.broadcast_to(sides, (count,))]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
