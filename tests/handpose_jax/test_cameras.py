"""Camera matrices from flags, files, EXIF data and fields of view."""

import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from handpose_jax.data.cameras import (
    camera_from_exif,
    camera_from_field_of_view,
    camera_from_text,
    camera_matrix,
    checked_camera,
    resolved_camera,
)
from handpose_jax.data.images import image_named, image_size, load_image

GOOD = [[480.0, 0.0, 130.0], [0.0, 481.0, 100.0], [0.0, 0.0, 1.0]]


def photo(path: pathlib.Path, size: tuple[int, int] = (400, 300), orientation: int = 1, **tags: object) -> pathlib.Path:
    """A JPEG of (width, height) with EXIF tags by their names."""
    ids = {
        "film": 0xA405,
        "focal": 0x920A,
        "plane_x": 0xA20E,
        "plane_y": 0xA20F,
        "unit": 0xA210,
        "w": 0xA002,
        "h": 0xA003,
    }
    image = Image.new("RGB", size, (10, 20, 30))
    exif = image.getexif()
    exif[0x0112] = orientation
    for name, value in tags.items():
        exif.get_ifd(0x8769)[ids[name]] = value
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], "3x3"),
        ([1.0, 2.0, 3.0], "3x3"),
        ([["a", 0, 0], [0, 1, 0], [0, 0, 1]], "numbers"),
        ([[1, 0, 0], [0, 1], [0, 0, 1]], "3x3 matrix of numbers"),
        ([[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]], "finite"),
        ([[480, 0, np.inf], [0, 480, 0], [0, 0, 1]], "finite"),
        ([[0, 0, 1], [0, 480, 1], [0, 0, 1]], "> 0"),
        ([[480, 0, 1], [0, -480, 1], [0, 0, 1]], "> 0"),
        ([[480, 5, 1], [0, 480, 1], [0, 0, 1]], "skew"),
        ([[480, 0, 1], [0, 480, 1], [0, 0, 2]], "last row"),
        (np.array(GOOD).T, "last row"),
    ],
)
def test_malformed_matrices_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message) as error:
        checked_camera(matrix, "photo 3")
    assert "photo 3" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_good_matrix_is_kept():
    np.testing.assert_array_equal(checked_camera(GOOD), GOOD)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,480,1,1", "nan,480,1,1", "480,480,inf,1"])
def test_bad_flags_are_refused(text):
    with pytest.raises(ValueError, match="--K"):
        camera_from_text(text)


def test_flag():
    camera = camera_from_text("480,481,130,100")
    np.testing.assert_array_equal(camera.matrix, GOOD)
    assert camera.absolute_scale_known


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(1, 170))
def test_field_of_view_spans_the_longer_side(height, width, degrees):
    matrix = camera_from_field_of_view((height, width), degrees).matrix
    half = 0.5 * max(height, width) / matrix[0, 0]
    assert 2 * np.degrees(np.arctan(half)) == pytest.approx(degrees)
    assert (matrix[0, 2], matrix[1, 2]) == (width / 2, height / 2)
    assert matrix[0, 0] == matrix[1, 1]


def test_field_of_view_is_a_guess_and_its_range_is_checked():
    assert not camera_from_field_of_view((10, 10), 60).absolute_scale_known
    for degrees in (0.0, -5.0, 180.0, float("nan")):
        with pytest.raises(ValueError, match="--fov"):
            camera_from_field_of_view((10, 10), degrees)


def test_exif_35mm_equivalent_compares_diagonals(tmp_path):
    """24 mm on film sees 84.1 degrees along the diagonal (2 atan(43.27 / 48)), whatever the picture's proportions."""
    camera = camera_from_exif(photo(tmp_path / "a.jpg", (400, 300), film=24))
    assert camera is not None
    diagonal = 2 * np.degrees(np.arctan(0.5 * 500.0 / camera.matrix[0, 0]))
    assert diagonal == pytest.approx(84.06, abs=0.01)
    assert camera.absolute_scale_known
    assert camera.source == "exif"


def test_exif_focal_plane_resolution(tmp_path):
    """4 mm with 250 pixels a millimetre (given per inch) is 1000 px; a copy of half the width has half of that."""
    tags = {"focal": IFDRational(4, 1), "plane_x": 6350.0, "plane_y": 12700.0, "unit": 2}
    full = camera_from_exif(photo(tmp_path / "a.jpg", (400, 300), w=400, h=300, **tags))
    half = camera_from_exif(photo(tmp_path / "b.jpg", (200, 150), w=400, h=300, **tags))
    assert full is not None
    assert half is not None
    np.testing.assert_allclose(full.matrix, camera_matrix(1000, 2000, 200, 150))
    np.testing.assert_allclose(half.matrix, camera_matrix(500, 1000, 100, 75))
    turned = camera_from_exif(photo(tmp_path / "c.jpg", (400, 300), orientation=6, w=400, h=300, **tags))
    assert turned is not None
    np.testing.assert_allclose(turned.matrix, camera_matrix(2000, 1000, 150, 200))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"film": 0},
        {"focal": IFDRational(4, 1)},
        {"focal": IFDRational(0, 0), "plane_x": 6350.0, "plane_y": 6350.0},
        {"film": 24, "w": 400, "h": 600},  # cropped: other proportions
        {"film": 60000},  # nonsense
    ],
)
def test_exif_that_tells_nothing(tmp_path, tags):
    assert camera_from_exif(photo(tmp_path / "a.jpg", **tags)) is None


def test_order_of_sources(tmp_path):
    flag = camera_from_text("1,1,1,1")
    with_exif = photo(tmp_path / "a.jpg", film=24)
    without = photo(tmp_path / "b.jpg")

    def source(flag, matrix, image, size, degrees):
        camera = resolved_camera(flag, matrix, image, size, degrees, "hand 0")
        return None if camera is None else camera.source

    assert source(flag, GOOD, with_exif, (300, 400), 50.0) == "flag"
    assert source(None, GOOD, with_exif, (300, 400), 50.0) == "file"
    assert source(None, None, with_exif, (300, 400), 50.0) == "exif"
    assert source(None, None, without, (300, 400), 50.0) == "fov"
    assert source(None, None, None, (300, 400), None) == "fov"
    assert source(None, None, None, None, 50.0) is None
    default = resolved_camera(None, None, without, (300, 400), None, "hand 0")
    assert default is not None
    assert "60 degrees" in default.description
    with pytest.raises(ValueError, match="hand 0"):
        resolved_camera(None, [[1]], None, None, None, "hand 0")


def test_images_are_read_upright(tmp_path):
    array = np.zeros((30, 40, 3), np.uint8)
    array[:10, :10] = 255
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    upright = load_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(upright, np.rot90(array, -1))
    assert image_size(tmp_path / "turned.png") == upright.shape[:2] == (40, 30)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    whole = photo(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name in ("a.jpg", "cut.jpg"):
        with pytest.raises(ValueError, match=name):
            load_image(tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.jpg: not a readable image"):
        image_size(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "missing.jpg")


def test_images_are_found_by_name(tmp_path):
    hand = photo(tmp_path / "hand.jpg")
    assert image_named(tmp_path, "hand.jpg") == hand
    assert image_named(tmp_path, "hand") == hand
    assert image_named(tmp_path, "other/folder/hand.jpg") == hand
    assert image_named(tmp_path, "C:\\photos\\hand.png") == hand
    assert image_named(tmp_path, "foot.jpg") is None
