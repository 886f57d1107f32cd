"""Pictures without hands to put behind hands: any folder of images, or NYU depth v2 as unpacked or as TFDS prepared it.

NYU depth v2 (Silberman et al., ECCV 2012) as TensorFlow Datasets has it (`nyu_depth_v2`): HDF5 files with members `rgb`
[3, 480, 640] and `depth`; only the colours are used.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from handpose_jax.data.examples import PixelFiles
from handpose_jax.data.images import IMAGE_SUFFIXES
from handpose_jax.data.pixels import read_pixels
from handpose_jax.data.sets.layout import checked_folder, unpacking_advice

HDF5_SUFFIXES = (".h5", ".hdf5")
RECORD_INFORMATION = "dataset_info.json"


@dataclasses.dataclass(frozen=True)
class Backgrounds(Sequence):
    """Pictures, read when they are asked for: `backgrounds[3]` is uint8 [height, width, 3], sizes differ.

    Attributes:
      files: the pictures' files, "rgb" or "rgb_hdf5"; None where they lie in records.
      records: random access to TFDS's records; None where they are files.
    """

    files: PixelFiles | None = None
    records: Any = None

    def __len__(self) -> int:
        return len(self.records) if self.files is None else len(self.files)

    def __getitem__(self, row: Any) -> UInt8[np.ndarray, "height width 3"]:
        if not 0 <= row < len(self):
            raise IndexError(f"backgrounds are numbered 0 to {len(self) - 1}, got {row}")
        return np.asarray(self.records[row]["image"]) if self.files is None else read_pixels(self.files, row)


def open_backgrounds(folder: str | os.PathLike, split: str = "train") -> Backgrounds:
    """The pictures of a folder and all folders below it, in order of their paths.

    Args:
      folder: of image files; or of NYU depth v2's HDF5 files; or the version's folder that TFDS made with
        `file_format="array_record"` (<data_dir>/nyu_depth_v2/0.0.1).
      split: of the records.

    Raises:
      ValueError: no such folder, or nothing of these in it; records of another file format or without `image`.
    """
    path = checked_folder(folder)
    if (path / RECORD_INFORMATION).is_file():
        return Backgrounds(records=_records(path, split))
    names = sorted(str(file) for file in path.rglob("*") if file.is_file())
    for suffixes, encoding in ((IMAGE_SUFFIXES, "rgb"), (HDF5_SUFFIXES, "rgb_hdf5")):
        chosen = tuple(name for name in names if name.lower().endswith(suffixes))
        if chosen:
            return Backgrounds(files=PixelFiles(chosen, encoding))
    raise ValueError(
        f"{path}: no pictures ({', '.join(IMAGE_SUFFIXES + HDF5_SUFFIXES)}) and no TFDS records in it; "
        f"{unpacking_advice(path)}"
    )


def stacked_squares(
    backgrounds: Backgrounds, rows: Sequence[int], size: int
) -> UInt8[np.ndarray, "pictures size size 3"]:
    """The middle square of some pictures, all resized to one edge: what the synthetic source takes as backgrounds."""
    from PIL import Image

    squares = []
    for row in rows:
        picture = Image.fromarray(backgrounds[row])
        edge = min(picture.size)
        left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
        square = picture.resize((size, size), Image.Resampling.BOX, (left, top, left + edge, top + edge))
        squares.append(np.asarray(square))
    return np.stack(squares)


def _records(path: pathlib.Path, split: str):
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ValueError(f"{path}: TFDS records are read by tensorflow-datasets: pip install it") from None
    builder: Any = tfds.builder_from_directory(str(path))
    if "image" not in builder.info.features:
        raise ValueError(f"{path}: expected records with a feature `image`, as nyu_depth_v2 has")
    if split not in builder.info.splits:
        raise ValueError(f"{path}: no split {split!r} in it, only {', '.join(builder.info.splits)}")
    try:
        return builder.as_data_source(split=split)
    except NotImplementedError:
        raise ValueError(
            f"{path}: these records have no random access; prepare them again with file_format='array_record'"
        ) from None
