"""Bytes and pixels of a row, whether they lie in a file of their own or in a record."""

import pathlib

import numpy as np

from handpose_jax.data.examples import PixelFiles
from handpose_jax.data.pixels import DECODERS, read_pixels
from handpose_jax.data.records import RECORD_MARK, read_record


def pixels_of_row(files: PixelFiles, row: int) -> np.ndarray:
    """`handpose_jax.data.pixels.read_pixels`, of records too.

    Raises:
      ValueError: they cannot be read or decoded; names the file and says what to do.
    """
    path = files.paths[row]
    if RECORD_MARK not in path:
        return read_pixels(files, row)
    content = read_record(path)
    try:
        return DECODERS[files.encoding](content)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable {files.encoding} ({error}); prepare the records again") from None


def checked_content(files: PixelFiles, row: int) -> bytes:
    """The bytes, after decoding them once.

    Raises:
      ValueError: as `pixels_of_row`.
    """
    pixels_of_row(files, row)
    path = files.paths[row]
    return read_record(path) if RECORD_MARK in path else pathlib.Path(path).read_bytes()
