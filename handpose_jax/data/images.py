"""Reading photographs as they are shown: RGB, turned by their EXIF orientation."""

import pathlib

import numpy as np
from jaxtyping import UInt8

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_SIDEWAYS = (5, 6, 7, 8)
_EXIF_ORIENTATION = 0x0112


def load_image(path: str | pathlib.Path) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels of an image file, turned upright.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not an image, is cut short, or is absurdly large.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({_reason(error)})") from None


def image_size(path: str | pathlib.Path) -> tuple[int, int]:
    """(height, width) of an image file as shown; reads the header only.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not an image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            return (width, height) if image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS else (height, width)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({_reason(error)})") from None


def image_named(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """The image in a folder that a keypoint file names: by its name, its last part, or its stem with any suffix.

    None where there is none. A file that another suffix names wrongly (`hand.png` for `hand.jpg`) is found by its stem.
    """
    for candidate in (folder / name, folder / pathlib.PurePosixPath(name.replace("\\", "/")).name):
        if candidate.is_file():
            return candidate
    stem = pathlib.PurePosixPath(name.replace("\\", "/")).name
    for base in dict.fromkeys((stem, pathlib.PurePosixPath(stem).stem)):
        for suffix in IMAGE_SUFFIXES:
            for candidate in (folder / f"{base}{suffix}", folder / f"{base}{suffix.upper()}"):
                if candidate.is_file():
                    return candidate
    return None


def _reason(error: Exception) -> str:
    return "unknown format" if type(error).__name__ == "UnidentifiedImageError" else str(error).splitlines()[0]
