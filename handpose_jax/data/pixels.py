"""Bytes of image files to arrays: one decoder for each way in which a data set writes colours, labels, masks, depth.

Depth maps differ in byte order and unit from set to set, and nothing in a file says which it is: a depth read by the
wrong decoder looks like noise. So each set has a decoder by name, and `PixelFiles.encoding` carries that name.
"""

import io
import pathlib
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from handpose_jax.data.examples import HandExamples, PixelFiles

INVALID_MILLIMETRES = 32001
"""What time-of-flight cameras write where they saw nothing; 0 means the same in every set."""
MSRA_HEADER = struct.Struct("<6i")
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error)


def decode_rgb(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Colours of any picture. EXIF is not asked: the annotations belong to the pixels as stored."""
    return np.asarray(_opened(content).convert("RGB"))


def decode_rgb_hdf5(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Colours of NYU depth v2 as its HDF5 files hold them: member `rgb`, channels first."""
    try:
        import h5py
    except ImportError:
        raise ValueError("HDF5 files are read by h5py, which is not installed: pip install h5py") from None
    with h5py.File(io.BytesIO(content), "r") as file:
        if "rgb" not in file:
            raise ValueError(f"expected a member rgb [3, height, width], got {sorted(file)[:5]}")
        planes = np.asarray(file["rgb"])
    if planes.ndim != 3 or planes.shape[0] != 3 or planes.dtype != np.uint8:
        raise ValueError(f"expected rgb as uint8 [3, height, width], got {planes.dtype} {list(planes.shape)}")
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def decode_labels(content: bytes) -> UInt8[np.ndarray, "height width"]:
    """Whole numbers of an 8-bit label image with one channel."""
    image = _opened(content)
    if image.mode not in ("L", "P"):
        raise ValueError(f"expected a label image with one 8-bit channel, got mode {image.mode}")
    return np.asarray(image)


def decode_mask_picture(content: bytes) -> UInt8[np.ndarray, "height width"]:
    """0 or 255 of a mask that was saved as a picture: JPEG's noise is cut off at 128."""
    return np.where(np.asarray(_opened(content).convert("L")) >= 128, np.uint8(255), np.uint8(0))


def decode_depth_rhd(content: bytes) -> Float[np.ndarray, "height width"]:
    """RHD: upper byte red, lower byte green, 65535 is five metres. 32001 is a distance like any other here."""
    value = _channels(content)
    return _metres((value[..., 0] * 256 + value[..., 1]) * (5.0 / 65535.0))


def decode_depth_stb(content: bytes) -> Float[np.ndarray, "height width"]:
    """STB: lower byte red, upper byte green (the other way round than in RHD), millimetres."""
    value = _channels(content)
    return _from_millimetres(value[..., 0] + value[..., 1] * 256)


def decode_depth_nyu(content: bytes) -> Float[np.ndarray, "height width"]:
    """NYU hand: upper byte green, lower byte blue, millimetres."""
    value = _channels(content)
    return _from_millimetres(value[..., 1] * 256 + value[..., 2])


def decode_depth_millimetres(content: bytes) -> Float[np.ndarray, "height width"]:
    """One 16-bit channel of millimetres: ICVL, Dexter+Object."""
    image = _opened(content)
    if image.mode not in ("I;16", "I;16L", "I;16B", "I"):
        raise ValueError(f"expected depth as one 16-bit channel, got mode {image.mode}")
    return _from_millimetres(np.asarray(image).astype(np.int64))


def decode_depth_msra(content: bytes) -> Float[np.ndarray, "height width"]:
    """MSRA15: width, height, left, top, right, bottom (int32), then the float32 millimetres of that patch only."""
    if len(content) < MSRA_HEADER.size:
        raise ValueError(f"expected a header of {MSRA_HEADER.size} bytes, got {len(content)} bytes in all")
    width, height, left, top, right, bottom = MSRA_HEADER.unpack_from(content)
    if not (0 <= left <= right <= width <= 4096 and 0 <= top <= bottom <= height <= 4096):
        raise ValueError(
            f"expected a patch within the picture, got columns {left} to {right} of {width} and rows {top} to {bottom} "
            f"of {height}"
        )
    expected = MSRA_HEADER.size + 4 * (right - left) * (bottom - top)
    if len(content) != expected:
        raise ValueError(f"expected {expected} bytes for a patch of {right - left}x{bottom - top}, got {len(content)}")
    frame = np.zeros((height, width), np.float64)
    patch = np.frombuffer(content, "<f4", offset=MSRA_HEADER.size)
    frame[top:bottom, left:right] = patch.reshape(bottom - top, right - left)
    return _from_millimetres(frame)


DECODERS: Mapping[str, Callable[[bytes], np.ndarray]] = {
    "rgb": decode_rgb,
    "rgb_hdf5": decode_rgb_hdf5,
    "labels": decode_labels,
    "mask_picture": decode_mask_picture,
    "depth_rhd": decode_depth_rhd,
    "depth_stb": decode_depth_stb,
    "depth_nyu": decode_depth_nyu,
    "depth_millimetres": decode_depth_millimetres,
    "depth_msra": decode_depth_msra,
}
"""What `PixelFiles.encoding` may say. Each takes the bytes of a file; ValueError or OSError: they are damaged."""

KINDS: Mapping[str, str] = {
    name: "depth" if name.startswith("depth") else "rgb" if name.startswith("rgb") else "labels" for name in DECODERS
}
"""What comes out, one of `examples.PIXELS`: uint8 [height, width, 3], uint8 [height, width], or float32 metres (NaN
where there is none) [height, width]."""


def read_pixels(files: PixelFiles | None, row: int) -> UInt8[np.ndarray, "..."] | Float[np.ndarray, "height width"]:
    """The pixels of one row, as `KINDS[files.encoding]` says.

    Raises:
      ValueError: the file is missing, damaged, cut short, of another encoding or of another size; it is named. Or
        `files` is None: the set has none of this kind.
    """
    if files is None:
        raise ValueError("the data set has no such pictures (HandExamples.images, depth and masks may be None)")
    path = files.paths[row]
    if files.encoding not in DECODERS:
        raise ValueError(f"{path}: pixel encoding must be one of {', '.join(DECODERS)}, got {files.encoding!r}")
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); unpack its archive again") from None
    try:
        pixels = DECODERS[files.encoding](content)
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: not a readable {files.encoding} file ({reason}); it may be cut short: unpack its archive again"
        ) from None
    if files.size is not None and pixels.shape[:2] != tuple(files.size):
        height, width = pixels.shape[:2]
        raise ValueError(f"{path}: expected {files.size[1]}x{files.size[0]} pixels, got {width}x{height}")
    return pixels


def read_mask(examples: HandExamples, row: int) -> Bool[np.ndarray, "height width"]:
    """Which pixels are this row's hand.

    Raises:
      ValueError: the set has no masks, or as `read_pixels`.
    """
    return hand_pixels(read_pixels(examples.masks, row), examples.mask_labels, row)


def hand_pixels(
    pixels: UInt8[np.ndarray, "height width"], mask_labels: Int[np.ndarray, "hands 2"] | None, row: int
) -> Bool[np.ndarray, "height width"]:
    """Which of a mask's decoded pixels are the hand of a row (`HandExamples.mask_labels`)."""
    if mask_labels is None:
        return pixels > 127
    first, last = mask_labels[row]
    return (pixels >= first) & (pixels <= last)


def _opened(content: bytes):
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None
    except Image.UnidentifiedImageError:
        raise ValueError("unknown format") from None
    return image


def _channels(content: bytes) -> Int[np.ndarray, "height width 3"]:
    image = _opened(content)
    if image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"expected depth in the bytes of three channels, got mode {image.mode}")
    return np.asarray(image)[..., :3].astype(np.int64)


def _from_millimetres(value: np.ndarray) -> Float[np.ndarray, "height width"]:
    return _metres(np.where(value == INVALID_MILLIMETRES, 0, value) * 0.001)


def _metres(value: np.ndarray) -> Float[np.ndarray, "height width"]:
    return np.where(value == 0, np.nan, value).astype(np.float32)
