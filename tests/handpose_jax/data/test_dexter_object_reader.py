"""Dexter+Object: the sign of x and y is found from the 2D files, missing tips, two cameras."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handpose_jax.data.pixels import read_pixels
from handpose_jax.data.sets import READERS, dexter_object
from tests.fixtures.dexter_object import write_dexter_object

read: Callable[..., Any] = READERS["dexter_object"]
TIPS = [4, 8, 12, 16, 20]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_dexter_object(tmp_path_factory.mktemp("dexter"), frames=1, missing_tip=2)


def test_reader_and_writer_agree_in_the_colour_camera(written):
    examples = read(written.root)
    tips = np.where(written.extra["annotated"][..., None], written.joints[:, TIPS], np.nan)
    np.testing.assert_allclose(examples.joints[:, TIPS], tips, atol=1e-8)
    images = np.einsum("nij,nkj->nki", examples.K, examples.joints[:, TIPS])
    assert np.nanmax(np.abs(images[..., :2] / images[..., 2:] - examples.keypoints[:, TIPS])) < 0.1
    np.testing.assert_allclose(examples.keypoints[:, [4, 8, 16, 20]], written.keypoints[:, [4, 8, 16, 20]], atol=1e-3)
    np.testing.assert_array_equal(read_pixels(examples.images, 3), written.pictures[3].rgb)
    assert set(examples.side) == {"left"}
    assert examples.depth is None


def test_reader_and_writer_agree_in_the_depth_camera(written):
    examples = read(written.root, view="depth")
    tips = np.where(written.extra["annotated"][..., None], written.extra["depth_joints"][:, TIPS], np.nan)
    np.testing.assert_allclose(examples.joints[:, TIPS], tips, atol=1e-8)
    pixels = np.where(written.extra["annotated"][..., None], written.extra["depth_keypoints"][:, TIPS], np.nan)
    np.testing.assert_allclose(examples.keypoints[:, TIPS], pixels, atol=1e-4)
    assert examples.images is None
    # Millimetres, and NaN where the camera wrote 32001.
    np.testing.assert_allclose(read_pixels(examples.depth, 2), written.extra["depths"][2], atol=0.00051)
    assert np.isnan(read_pixels(examples.depth, 2)[:8]).all()


def test_32001_is_no_annotation_and_only_tips_are_annotated(written):
    examples = read(written.root)
    assert not examples.visible[:, 12].any()
    assert np.isnan(examples.joints[:, 12]).all()
    assert examples.visible[:, [4, 8, 16, 20]].all()
    assert not np.delete(examples.visible, TIPS, axis=1).any()
    assert np.isnan(np.delete(examples.joints, TIPS, axis=1)).all()


def annotations_only(written, root, of_2d, of_3d):
    """A copy whose 2D and 3D files are changed as (scales of x and y, shift of x) say; its pictures are empty files."""
    for sequence in dexter_object.SEQUENCES:
        for name, (scale, shift) in {f"{sequence}2D.txt": of_2d, f"{sequence}3D.txt": of_3d}.items():
            text = (written.root / sequence / "annotations" / name).read_text()
            entries = [[float(number) for number in entry.split(",")] for entry in text.rstrip(";\n").split(";")]
            points = [[scale[0] * x + shift, scale[1] * y, *rest] for x, y, *rest in entries]
            (root / sequence / "annotations").mkdir(parents=True, exist_ok=True)
            lines = "; ".join(", ".join(map(str, point)) for point in points)
            (root / sequence / "annotations" / name).write_text(lines + "\n")
        (root / sequence / "color").mkdir()
        (root / sequence / "color" / "Color_0001.bmp").touch()
    return root


@pytest.mark.parametrize(
    ("signs", "name"), [((1, 1), "raw"), ((-1, -1), "flipped"), ((-1, 1), "flipped_x"), ((1, -1), "flipped_y")]
)
def test_the_sign_is_found_from_the_2d_files_and_the_residual_told(written, tmp_path, signs, name):
    # The writer's own signs are both -1.
    root = annotations_only(written, tmp_path, ((1, 1), 0), ((-signs[0], -signs[1]), 0))
    examples = read(root)
    np.testing.assert_allclose(examples.joints[:, [4, 8]], written.joints[:, [4, 8]], atol=1e-8)
    note = examples.notes[0]
    assert note.startswith(f"sign of x and y: {name}, found from the 2D files")
    residuals = {key: float(value) for key, value in re.findall(r"(\w+) ([\d.]+)(?:,|$)", note)}
    assert residuals[name] < 0.01
    assert min(value for key, value in residuals.items() if key != name) > 5.0


def test_a_told_sign_is_taken(written):
    examples = read(written.root, sign="raw")
    assert examples.notes[0].startswith("sign of x and y: raw, as told")
    assert np.nanmax(np.abs(examples.joints[:, [4, 8]] - written.joints[:, [4, 8]])) > 0.005


def test_files_that_no_sign_explains_are_refused(written, tmp_path):
    root = annotations_only(written, tmp_path, ((1, 1), 70), ((1, 1), 0))
    with pytest.raises(ValueError, match=r"under no sign of x and y .*or give sign"):
        read(root)
