"""STB: order from the little finger, palm in place of the wrist, two stereo views, two SK cameras, both layouts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handpose_jax.data.pixels import read_pixels
from handpose_jax.data.sets import READERS, recognise, stb
from tests.fixtures.stb import write_stb

read: Callable[..., Any] = READERS["stb"]
SEQUENCES = ("B1Counting", "B2Random")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_stb(tmp_path_factory.mktemp("stb"), SEQUENCES, frames=1)


@pytest.fixture(scope="module")
def left(written):
    return read(written.root, "all", view="BB_left", sequences=SEQUENCES)


def test_reader_and_writer_agree(written, left):
    np.testing.assert_allclose(left.joints, written.joints, atol=1e-12)
    np.testing.assert_allclose(left.keypoints, written.keypoints, atol=1e-8)
    np.testing.assert_allclose(left.K, written.K)
    assert set(left.side) == {"left"}
    assert left.sequence == tuple(f"{name}/BB_left" for name in SEQUENCES)
    np.testing.assert_array_equal(read_pixels(left.images, 1), written.pictures[1].rgb)


def test_the_set_annotates_the_palm_and_it_is_kept(written, left):
    np.testing.assert_allclose(left.native[:, 0], written.extra["palm"], atol=1e-12)
    assert left.native_names[0] == "palm"
    np.testing.assert_array_equal(left.native[:, 1:], left.joints[:, 1:])


@pytest.mark.parametrize(
    ("wrist", "mcps", "factor"),
    [("ring", [13], 2.0), ("middle", [9], 2.2), ("mean", [5, 9, 13, 17], 2.25), ("palm", [13], 1.0)],
)
def test_wrist_variants(written, wrist, mcps, factor):
    joints = read(written.root, "all", view="BB_left", sequences=SEQUENCES, wrist=wrist).joints
    mcp = written.joints[:, mcps].mean(axis=1)
    np.testing.assert_allclose(joints[:, 0], mcp + factor * (written.extra["palm"] - mcp), atol=1e-12)
    np.testing.assert_allclose(joints[:, 1:], written.joints[:, 1:], atol=1e-12)


@pytest.mark.parametrize("view", ["BB_right", "SK_color", "SK_depth"])
def test_other_cameras(written, view):
    """Each view's 3D is in its own camera's frame, and its pixels are where its pictures show the hand."""
    joints, K = written.extra[view]
    examples = read(written.root, "all", view=view, sequences=SEQUENCES)
    np.testing.assert_allclose(examples.joints, joints, atol=1e-9)
    np.testing.assert_allclose(examples.K, np.broadcast_to(K, (2, 3, 3)))
    images = joints @ K.T
    assert np.abs(images[..., :2] / images[..., 2:] - examples.keypoints).max() < 0.1
    if view == "SK_depth":
        assert examples.images is None
        np.testing.assert_allclose(read_pixels(examples.depth, 0), written.extra["depths"][0], atol=0.00051)
    else:
        pixels = read_pixels(examples.images, 0).astype(int)
        u, v = examples.keypoints[0, 9].astype(int)
        assert pixels[v, u, 0] - pixels[v, u, 2] > 20, "no skin where the middle finger's MCP is said to be"


def test_stereo_views_are_a_baseline_apart_and_both_are_the_default(written):
    both = read(written.root, "evaluation", sequences=("B1Counting",))
    assert both.ids == ("B1Counting/BB_left/0000", "B1Counting/BB_right/0000")
    shift = both.joints[1] - both.joints[0]
    np.testing.assert_allclose(shift, np.broadcast_to([-0.120054, 0.0, 0.0], (21, 3)), atol=1e-12)


def test_sk_depth_to_colour_is_the_inverse_of_what_the_calibration_maps():
    rotation = stb.sk_rotation()
    point = np.array([[[0.02, -0.03, 0.5]]])
    there = point @ rotation.T + np.array(stb.SK_TRANSLATION)
    np.testing.assert_allclose(stb._in_view(there, "SK_color"), point, atol=1e-12)
    assert abs(np.linalg.norm(there - point) - 0.0246) < 0.01


def test_splits_are_by_background(tmp_path):
    names = ("B1Random", "B3Counting")
    root = write_stb(tmp_path, names, frames=1, cameras=("SK",)).root
    for split, held in (("evaluation", {"B1Random"}), ("training", {"B3Counting"})):
        examples = read(root, split, view="SK_color", skip_bad=True)
        assert {name.partition("/")[0] for name in examples.sequence} == held
        # The other sequences of the split are not there, one line each.
        assert len(examples.skipped) == len(stb.SPLITS[split]) - 1


@pytest.mark.parametrize("layout", ["images", "root", "doubled"])
def test_layouts_with_and_without_the_images_level(tmp_path, layout):
    written = write_stb(tmp_path, ("B4Random",), frames=1, cameras=("SK",), images_level=layout != "root")
    if layout == "doubled":
        folder = written.root / "images" / "B4Random"
        (folder / "B4Random").mkdir()
        for path in list(folder.glob("*.png")):
            path.rename(folder / "B4Random" / path.name)
    examples = read(tmp_path, "training", view="SK_color", sequences=("B4Random",))
    np.testing.assert_allclose(examples.joints, written.joints, atol=1e-9)
    read_pixels(examples.images, 0)
    assert recognise(tmp_path).pictures == {"training": 1}
