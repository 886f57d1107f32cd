"""Every encoding's bytes spelled out by hand: order, unit, what is invalid; damaged files are named."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from handpose_jax.data.examples import PIXELS, HandExamples, PixelFiles
from handpose_jax.data.pixels import DECODERS, KINDS, hand_pixels, read_mask, read_pixels


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def one_pixel(red: int, green: int, blue: int) -> bytes:
    return png(np.array([[[red, green, blue]]], np.uint8))


def decoded(name: str, content: bytes) -> float:
    return float(DECODERS[name](content)[0, 0])


def test_rhd_depth_has_its_upper_byte_in_red_and_five_metres_at_65535():
    # 0x6634 = 26164 of 65535, times five metres.
    assert decoded("depth_rhd", one_pixel(0x66, 0x34, 0)) == pytest.approx(1.996185, abs=1e-6)
    assert decoded("depth_rhd", one_pixel(0xFF, 0xFF, 9)) == pytest.approx(5.0)
    assert np.isnan(decoded("depth_rhd", one_pixel(0, 0, 0)))


def test_stb_depth_has_its_lower_byte_in_red_and_is_in_millimetres():
    # 0x0266 = 614 mm.
    assert decoded("depth_stb", one_pixel(0x66, 0x02, 0)) == pytest.approx(0.614)
    assert np.isnan(decoded("depth_stb", one_pixel(0, 0, 7)))


def test_nyu_depth_has_its_upper_byte_in_green_and_its_lower_in_blue():
    assert decoded("depth_nyu", one_pixel(9, 0x02, 0x66)) == pytest.approx(0.614)


def test_millimetres_in_one_channel():
    image = png(np.array([[614, 0, 32001, 40000]], np.uint16))
    np.testing.assert_allclose(DECODERS["depth_millimetres"](image), [[0.614, np.nan, np.nan, 40.0]], rtol=1e-6)


def test_32001_means_nothing_in_millimetres_but_is_a_distance_in_rhd():
    high, low = divmod(32001, 256)
    assert np.isnan(decoded("depth_stb", one_pixel(low, high, 0)))
    assert np.isnan(decoded("depth_nyu", one_pixel(0, high, low)))
    assert decoded("depth_rhd", one_pixel(high, low, 0)) == pytest.approx(32001 / 65535 * 5, rel=1e-6)


def test_msra_patch_lies_where_its_header_says():
    # 5 wide, 4 high; columns 1 to 3, rows 2 to 4 (the last excluded).
    content = struct.pack("<6i", 5, 4, 1, 2, 3, 4) + struct.pack("<4f", 400.0, 0.0, 410.5, 420.0)
    expected = np.full((4, 5), np.nan)
    expected[2, 1], expected[3, 1], expected[3, 2] = 0.4, 0.4105, 0.42
    np.testing.assert_allclose(DECODERS["depth_msra"](content), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header of 24 bytes"),
        (struct.pack("<6i", 5, 4, 1, 2, 9, 4) + bytes(64), "patch within the picture"),
        (struct.pack("<6i", 5, 4, 1, 2, 3, 4) + bytes(12), "expected 40 bytes"),
        (struct.pack("<6i", 5, 4, -1, 2, 3, 4) + bytes(32), "patch within the picture"),
        (struct.pack("<6i", 2**30, 2**30, 0, 0, 0, 0), "patch within the picture"),
    ],
)
def test_damaged_msra_files_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        DECODERS["depth_msra"](content)


def test_labels_are_kept_as_they_are_and_colours_are_none():
    labels = np.array([[0, 1, 17, 33]], np.uint8)
    np.testing.assert_array_equal(DECODERS["labels"](png(labels)), labels)
    with pytest.raises(ValueError, match="one 8-bit channel"):
        DECODERS["labels"](one_pixel(2, 2, 2))


def test_a_mask_saved_as_a_picture_is_cut_at_128():
    gray = np.array([[0, 3, 127, 128, 250, 255]], np.uint8)
    np.testing.assert_array_equal(DECODERS["mask_picture"](png(gray)), [[0, 0, 0, 255, 255, 255]])


def test_depth_in_the_wrong_number_of_channels_is_refused():
    for name in ("depth_rhd", "depth_stb", "depth_nyu"):
        with pytest.raises(ValueError, match="three channels"):
            DECODERS[name](png(np.array([[614]], np.uint16)))
    with pytest.raises(ValueError, match="one 16-bit channel"):
        DECODERS["depth_millimetres"](one_pixel(1, 2, 3))


def test_every_encoding_has_a_kind():
    assert set(KINDS) == set(DECODERS)
    assert set(KINDS.values()) == set(PIXELS)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("suffix", ["PNG", "JPEG"])
def test_a_file_cut_short_is_named(tmp_path, share, suffix):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(file, suffix)
    path = tmp_path / "00007.png"
    path.write_bytes(file.getvalue()[: int(share * len(file.getvalue()))])
    with pytest.raises(ValueError, match=r"00007\.png: not a readable rgb file .* unpack its archive again") as caught:
        read_pixels(PixelFiles((str(path),), "rgb"), 0)
    assert "\n" not in str(caught.value)


def test_missing_files_other_sizes_and_unknown_encodings_are_named(tmp_path):
    path = tmp_path / "00007.png"
    with pytest.raises(ValueError, match=r"00007\.png: cannot be read \(No such file"):
        read_pixels(PixelFiles((str(path),), "rgb"), 0)
    path.write_bytes(one_pixel(1, 2, 3))
    with pytest.raises(ValueError, match=r"00007\.png: expected 4x3 pixels, got 1x1"):
        read_pixels(PixelFiles((str(path),), "rgb", (3, 4)), 0)
    with pytest.raises(ValueError, match=r"00007\.png: pixel encoding must be one of rgb"):
        read_pixels(PixelFiles((str(path),), "bgr"), 0)


def test_the_labels_of_a_row_choose_its_hand(tmp_path):
    labels = np.array([[0, 1, 2, 17, 18, 33, 34]], np.uint8)
    limits = np.array([[2, 17], [18, 33]])
    np.testing.assert_array_equal(hand_pixels(labels, limits, 0), [[0, 0, 1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(hand_pixels(labels, limits, 1), [[0, 0, 0, 0, 1, 1, 0]])
    np.testing.assert_array_equal(hand_pixels(np.array([[127, 128]], np.uint8), None, 0), [[False, True]])
    nothing = HandExamples(
        "none", "all", ("a",), np.eye(3)[None], np.array(["left"]), *(np.zeros((1, 21, n)) for n in (3, 2)),
        visible=np.zeros((1, 21), bool),
    )  # fmt: skip
    with pytest.raises(ValueError, match="has no such pictures"):
        read_mask(nothing, 0)
