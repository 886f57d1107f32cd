"""What readers share: finding folders, matching annotations with files, and saying what is wrong with either."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
KEYPOINTS = 21


@dataclasses.dataclass
class Problems:
    """Entries that cannot be used: the first is an error, or with `skip_bad` each is a line."""

    skip_bad: bool
    lines: list[str] = dataclasses.field(default_factory=list)

    def report(self, message: str) -> None:
        """Raises ValueError, unless entries may be skipped."""
        if not self.skip_bad:
            raise ValueError(f"{message}; or leave such entries out with skip_bad")
        self.lines.append(message)


@dataclasses.dataclass(frozen=True)
class Survey:
    """What of a set lies in a folder.

    Attributes:
      present, missing: parts, relative to the set's root.
      pictures: for each split, how many files of the main kind there are.
    """

    present: tuple[str, ...]
    missing: tuple[str, ...]
    pictures: dict[str, int]


def checked_folder(folder: str | os.PathLike) -> pathlib.Path:
    """The folder as a path.

    Raises:
      ValueError: there is no such folder, or nothing is in it.
    """
    path = pathlib.Path(folder)
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder; give the folder that a data set was unpacked into")
    if next(path.iterdir(), None) is None:
        raise ValueError(f"{path}: the folder is empty; unpack the data set's archives into it")
    return path


def found_root(folder: pathlib.Path, markers: Sequence[str], below: Sequence[str] = ()) -> pathlib.Path | None:
    """The folder itself, or one of those below it, that holds any of the markers (glob patterns); None if none does."""
    for candidate in (folder, *(folder / name for name in below)):
        if candidate.is_dir() and any(next(candidate.glob(marker), None) is not None for marker in markers):
            return candidate
    return None


def required_root(
    folder: str | os.PathLike, title: str, markers: Sequence[str], below: Sequence[str] = ()
) -> pathlib.Path:
    """`found_root`.

    Raises:
      ValueError: none of the markers is there, the folder is missing or empty.
    """
    path = checked_folder(folder)
    root = found_root(path, markers, below)
    if root is None:
        raise ValueError(
            f"{path}: expected {title}, that is a folder with {' or '.join(markers)}; {unpacking_advice(path)}"
        )
    return root


def required_part(root: pathlib.Path, relative: str, title: str) -> pathlib.Path:
    """A folder or file of the set.

    Raises:
      ValueError: it is missing, or an empty folder; says so where an archive lies beside.
    """
    path = root / relative
    if not path.exists() or (path.is_dir() and next(path.iterdir(), None) is None):
        state = "is empty" if path.is_dir() else "is missing"
        raise ValueError(f"{path}: {state}, but {title} needs it; {unpacking_advice(root)}")
    return path


def archives_near(folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Archives in a folder, in the folders of it, and beside it."""
    found = []
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    for place in (folder, folder.resolve().parent, *below):
        files = (path for path in place.iterdir() if path.name.lower().endswith(ARCHIVE_SUFFIXES))
        found += sorted(path for path in files if path.is_file())
    return tuple(found)


def unpacking_advice(folder: pathlib.Path) -> str:
    """What to do about something missing."""
    archives = archives_near(folder)
    if not archives:
        return "unpack the set's archives again, or see docs/data_sets.md for its layout"
    names = ", ".join(path.name for path in archives[:4])
    return f"an archive lies there still ({names}): unpack it fully"


def survey_of(root: pathlib.Path, parts: Iterable[str], pictures: dict[str, tuple[str, str]]) -> Survey:
    """Which parts are there, and how many files each split's picture folder (folder, suffix) holds."""
    parts = list(parts)
    there = [part for part in parts if _is_filled(root / part)]
    counts = {split: len(names_in(root / folder, suffix)) for split, (folder, suffix) in pictures.items()}
    missing = tuple(part for part in parts if part not in there)
    return Survey(tuple(there), missing, {split: count for split, count in counts.items() if count})


def names_in(folder: pathlib.Path, suffix: str | tuple[str, ...] = "") -> set[str]:
    """Names of the files in a folder (empty if there is none). One system call a thousand files, not one each."""
    if not folder.is_dir():
        return set()
    return {entry.name for entry in os.scandir(folder) if entry.name.endswith(suffix)}


def matched(
    names: Sequence[str],
    folder: pathlib.Path,
    annotations: str,
    problems: Problems,
    present: Collection[str] | None = None,
    unannotated: bool = True,
) -> list[bool]:
    """For each annotated file name whether the file is there; what is not, either way, is a problem.

    Args:
      names: files that are annotated.
      folder: where they are.
      annotations: what annotates them, for messages.
      problems: collects.
      present: names of the files there; read from the folder if not given.
      unannotated: whether a file without an annotation is a problem.

    Raises:
      ValueError: the first problem, if entries may not be skipped.
    """
    present = names_in(folder) if present is None else present
    result = [name in present for name in names]
    for name, there in zip(names, result, strict=True):
        if not there:
            problems.report(f"{folder / name}: the picture is missing, but {annotations} annotates it; unpack again")
    if unannotated:
        for name in sorted(set(present) - set(names)):
            problems.report(f"{folder / name}: the picture has no annotation in {annotations}; remove it")
    return result


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file.

    Raises:
      ValueError: it is not JSON, or cut short.
    """
    try:
        with path.open("rb") as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not readable JSON ({reason}); it may be cut short: unpack it again") from None


def numbers(
    value: object, shape: tuple[int | str, ...], where: str, what: str, finite: bool = True
) -> Float[np.ndarray, "..."]:
    """An array of float64 numbers, finite unless said otherwise; names in `shape` stand for any size.

    Raises:
      ValueError: another shape (a wrong number of joints among them), or something that is no number.
    """
    expected = "[" + ", ".join(str(size) for size in shape) + "]"
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {what} must be numbers {expected}, got rows that differ") from None
    fits = array.ndim == len(shape) and all(
        isinstance(size, str) or size == got for size, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{where}: {what} must have shape {expected}, got {list(array.shape)}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{where}: {what} must be finite numbers")
    return array


def choice(name: str, value: str, options: Collection[str]) -> str:
    """An option's value.

    Raises:
      ValueError: it is none of those there are.
    """
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}")
    return value


def camera(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """K."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def projected(
    joints: Float[np.ndarray, "hands joints 3"], K: Float[np.ndarray, "hands 3 3"]
) -> Float[np.ndarray, "hands joints 2"]:
    """Pixels of points before the camera; NaN for NaN."""
    images = joints @ np.swapaxes(K, -1, -2)
    return images[..., :2] / images[..., 2:]


def no_keypoints(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints, keypoints and visibility of hands without annotations."""
    return (
        np.full((count, KEYPOINTS, 3), np.nan),
        np.full((count, KEYPOINTS, 2), np.nan),
        np.zeros((count, KEYPOINTS), bool),
    )


def _is_filled(path: pathlib.Path) -> bool:
    return path.is_file() or (path.is_dir() and next(path.iterdir(), None) is not None)
