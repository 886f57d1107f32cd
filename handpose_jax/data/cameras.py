"""Camera matrices at the edge: from a flag, a file, EXIF data or a guessed field of view, in this order."""

import dataclasses
import math
import pathlib

import numpy as np
from jaxtyping import Float

DEFAULT_FIELD_OF_VIEW = 60.0
"""Degrees across the image's longer side: that of a phone's main camera within about ten degrees."""
# CIPA DCG-001: the 35 mm equivalent compares diagonals, and the film's is that of 36 x 24 mm.
_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
_EXIF_FOCAL_LENGTH, _EXIF_FOCAL_LENGTH_IN_35MM = 0x920A, 0xA405
_EXIF_PIXEL_X, _EXIF_PIXEL_Y = 0xA002, 0xA003
_EXIF_PLANE_X, _EXIF_PLANE_Y, _EXIF_PLANE_UNIT = 0xA20E, 0xA20F, 0xA210
_EXIF_ORIENTATION, _EXIF_FOLDER = 0x0112, 0x8769
_MILLIMETRES_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera matrix and what is known of it.

    Attributes:
      matrix: K, float64; pixel (row i, column j) has its centre at (j + 0.5, i + 0.5).
      source: "flag", "file", "exif" or "fov".
      description: the source in words, for reports.
    """

    matrix: Float[np.ndarray, "3 3"]
    source: str
    description: str

    @property
    def absolute_scale_known(self) -> bool:
        """False where the focal length is a guess: depth is then in proportion to it, and no length is measured."""
        return self.source != "fov"


def checked_camera(matrix: object, where: str = "K") -> Float[np.ndarray, "3 3"]:
    """A camera matrix as float64.

    Raises:
      ValueError: it is not 3x3, not finite, has a focal length <= 0, skew, or a last row other than 0 0 1.
    """
    try:
        array = np.asarray(matrix, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: K must be a 3x3 matrix of numbers, got {str(matrix)[:60]}") from None
    if array.shape != (3, 3):
        raise ValueError(f"{where}: K must be 3x3, got shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: K must be finite, got {array.tolist()}")
    if array[0, 0] <= 0 or array[1, 1] <= 0:
        raise ValueError(f"{where}: K's focal lengths must be > 0, got fx = {array[0, 0]:g}, fy = {array[1, 1]:g}")
    if not np.allclose(array[2], (0.0, 0.0, 1.0), atol=1e-9):
        raise ValueError(f"{where}: K's last row must be 0 0 1, got {array[2].tolist()}")
    if abs(array[0, 1]) > 1e-6 * array[0, 0] or array[1, 0] != 0:
        raise ValueError(
            f"{where}: K must have no skew, got {array[0, 1]:g} and {array[1, 0]:g} beside the focal lengths"
        )
    return array


def camera_matrix(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """K of focal lengths and principal point, pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def projected_points(
    points: Float[np.ndarray, "hands points 3"], K: Float[np.ndarray, "hands 3 3"]
) -> Float[np.ndarray, "hands points 2"]:
    """Pixels of points in the camera frame, float64; NaN for those that are not in front of the camera."""
    pixels = np.einsum("nab,nkb->nka", np.asarray(K, np.float64), np.asarray(points, np.float64))
    depth = pixels[..., 2:]
    return np.where(depth > 0, pixels[..., :2] / np.where(depth > 0, depth, 1.0), np.nan)


def camera_from_text(text: str) -> Camera:
    """The camera of a flag `--K=fx,fy,cx,cy`.

    Raises:
      ValueError: it is not four finite numbers with focal lengths > 0.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ValueError(f"--K must be four numbers fx,fy,cx,cy (pixels), got {text!r}")
    return Camera(checked_camera(camera_matrix(*numbers), "--K"), "flag", "--K")


def camera_from_field_of_view(image_size: tuple[int, int], degrees: float) -> Camera:
    """The camera that sees `degrees` across the longer side of an image (height, width), centred, square pixels.

    The longer side, not the width, so that turning the camera by a quarter changes nothing.

    Raises:
      ValueError: the angle is not between 1 and 170 degrees.
    """
    if not 1.0 <= degrees <= 170.0:
        raise ValueError(f"--fov must be between 1 and 170 degrees, got {degrees:g}")
    height, width = image_size
    focal = 0.5 * max(height, width) / math.tan(0.5 * math.radians(degrees))
    description = f"a guessed field of view of {degrees:g} degrees across the longer side"
    return Camera(camera_matrix(focal, focal, 0.5 * width, 0.5 * height), "fov", description)


def camera_from_exif(path: str | pathlib.Path) -> Camera | None:
    """The camera that a photograph's EXIF data tell of, or None where they do not.

    From FocalLengthIn35mmFilm (compared by the diagonal), else from FocalLength with the focal plane's resolution. The
    principal point is taken as the image's centre. EXIF describes the picture as it left the camera: an image of other
    proportions than EXIF records has been cropped, and nothing is told of it. The matrix is that of the image as shown,
    turned by its EXIF orientation.

    Raises:
      OSError: the file is missing or is no image.
    """
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        exif = image.getexif()
        orientation = exif.get(_EXIF_ORIENTATION, 1)
        values = exif.get_ifd(_EXIF_FOLDER)
    stored_width, stored_height = _number(values.get(_EXIF_PIXEL_X)), _number(values.get(_EXIF_PIXEL_Y))
    if stored_width and stored_height and abs(stored_width * height / (stored_height * width) - 1.0) > 0.02:
        return None
    film = _number(values.get(_EXIF_FOCAL_LENGTH_IN_35MM))
    if film:
        fx = fy = film * math.hypot(width, height) / _FILM_DIAGONAL_MM
        description = f"EXIF, {film:g} mm equivalent"
    else:
        focal = _number(values.get(_EXIF_FOCAL_LENGTH))
        plane_x, plane_y = _number(values.get(_EXIF_PLANE_X)), _number(values.get(_EXIF_PLANE_Y))
        unit = _MILLIMETRES_PER_UNIT.get(values.get(_EXIF_PLANE_UNIT, 2))
        if not (focal and plane_x and plane_y and unit):
            return None
        # The resolution counts the pixels that the camera wrote; a smaller copy has fewer.
        fx = focal * plane_x / unit * (width / stored_width if stored_width else 1.0)
        fy = focal * plane_y / unit * (height / stored_height if stored_height else 1.0)
        description = f"EXIF, {focal:g} mm with the focal plane's resolution"
    if orientation in (5, 6, 7, 8):
        fx, fy, width, height = fy, fx, height, width
    if not (0.1 < fx / max(width, height) < 100.0 and 0.1 < fy / max(width, height) < 100.0):
        return None
    return Camera(camera_matrix(fx, fy, 0.5 * width, 0.5 * height), "exif", description)


def resolved_camera(
    flag: Camera | None,
    file_matrix: object | None,
    image: pathlib.Path | None,
    image_size: tuple[int, int] | None,
    field_of_view: float | None,
    where: str,
) -> Camera | None:
    """The first camera there is: the flag's, the file's, EXIF's, that of the field of view; None where none can be had.

    Args:
      flag: of `--K`.
      file_matrix: K of the keypoint file, unchecked.
      image: path of the image, if there is one.
      image_size: (height, width) as shown, if known.
      field_of_view: degrees across the longer side, for images without EXIF data; None for the default.
      where: the hand, for messages.

    Raises:
      ValueError: the file's K is malformed.
      OSError: the image cannot be read.
    """
    if flag is not None:
        return flag
    if file_matrix is not None:
        return Camera(checked_camera(file_matrix, where), "file", "the keypoint file")
    camera = None if image is None else camera_from_exif(image)
    if camera is not None or image_size is None:
        return camera
    return camera_from_field_of_view(image_size, DEFAULT_FIELD_OF_VIEW if field_of_view is None else field_of_view)


def _number(value: object) -> float | None:
    """A finite positive number of an EXIF value (a rational with denominator 0 means unknown), else None."""
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
