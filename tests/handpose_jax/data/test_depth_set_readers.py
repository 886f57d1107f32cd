"""ICVL, MSRA15, NYU hand: orders, axes, units, bytes, which Kinect, which subject."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from handpose_jax.data.pixels import read_pixels
from handpose_jax.data.sets import READERS, recognise
from tests.fixtures.depth_sets import GESTURES, write_icvl, write_msra15, write_nyu_hand

readers: Mapping[str, Callable[..., Any]] = READERS


@pytest.fixture(scope="module")
def icvl(tmp_path_factory):
    return write_icvl(tmp_path_factory.mktemp("icvl"))


@pytest.fixture(scope="module")
def msra(tmp_path_factory):
    return write_msra15(tmp_path_factory.mktemp("msra"), frames=2)


@pytest.fixture(scope="module")
def nyu(tmp_path_factory):
    return write_nyu_hand(tmp_path_factory.mktemp("nyu"))


def assert_projects(examples, points, pixels):
    images = np.einsum("nij,nkj->nki", examples.K, points)
    assert np.abs(images[..., :2] / images[..., 2:] - pixels).max() < 0.1


def assert_depth(examples, written, row, atol):
    """Metres where the hand is, NaN elsewhere, and the joints lie at most a hand's thickness behind the surface."""
    depth = read_pixels(examples.depth, row)
    np.testing.assert_array_equal(np.isfinite(depth), written.pictures[row].hand >= 0)
    np.testing.assert_allclose(depth[np.isfinite(depth)], written.pictures[row].depth[np.isfinite(depth)], atol=atol)


def test_icvl(icvl):
    examples = readers["icvl"](icvl.root)
    np.testing.assert_allclose(examples.native, icvl.extra["native"], atol=1e-6)
    assert examples.native_names[:4] == ("palm", "thumb_root", "thumb_mid", "thumb_tip")
    assert examples.native_names[-1] == "little_tip"
    assert examples.sequence == ("test_seq_1",) * 2 + ("test_seq_2",) * 2
    # The tips are those of the hand; no other canonical keypoint is claimed.
    np.testing.assert_allclose(examples.native[:, [3, 6, 9, 12, 15]], icvl.joints[:, [4, 8, 12, 16, 20]], atol=1e-6)
    assert np.isnan(examples.joints).all()
    for row in range(4):
        assert_depth(examples, icvl, row, 0.00051)


def test_icvl_with_the_evaluation_programs_camera(icvl):
    native = readers["icvl"](icvl.root, focal=240.99).native
    expected = icvl.extra["native"] * np.array([241.42 / 240.99, 241.42 / 240.99, 1.0])
    np.testing.assert_allclose(native, expected, atol=1e-6)


def test_icvl_without_turned_copies(icvl):
    assert len(readers["icvl"](icvl.root, "training")) == 4
    originals = readers["icvl"](icvl.root, "training", originals_only=True)
    assert originals.ids == ("training/201403121135/image_0000", "training/201403121135/image_0001")
    np.testing.assert_allclose(originals.native, icvl.extra["training_native"][:2], atol=1e-6)


def test_icvl_with_one_folder_of_pictures_and_label_files_beside_it(tmp_path):
    written = write_icvl(tmp_path, training=1, testing=1, at_root=True)
    assert len(readers["icvl"](tmp_path, "training")) == 2
    np.testing.assert_allclose(readers["icvl"](tmp_path).native, written.extra["native"], atol=1e-6)
    assert recognise(tmp_path).pictures == {"training": 2, "evaluation": 2}


def test_msra_has_the_thumb_last_y_up_and_z_negative(msra):
    rows = len(GESTURES) * 2
    examples = readers["msra"](msra.root, "P1")
    np.testing.assert_allclose(examples.joints, msra.joints[rows:], atol=1e-7)
    assert (examples.joints[..., 2] > 0).all()
    assert_projects(examples, examples.joints, examples.keypoints)
    np.testing.assert_allclose(examples.keypoints, msra.keypoints[rows:], atol=1e-3)
    assert examples.ids[:3] == ("P1/1/000000", "P1/1/000001", "P1/2/000000")


def test_msra_depth_patch(msra):
    examples = readers["msra"](msra.root, "P0")
    for row in (0, 1, 5):
        assert_depth(examples, msra, row, 1e-6)


def test_msra_leaves_one_subject_out(tmp_path):
    root = write_msra15(tmp_path, [f"P{number}" for number in range(9)]).root
    held_out = readers["msra"](root, "evaluation", subject=3)
    rest = readers["msra"](root, "training", subject=3)
    assert {name[:2] for name in held_out.ids} == {"P3"}
    assert {name[:2] for name in rest.ids} == {f"P{number}" for number in range(9)} - {"P3"}
    assert len(held_out) + len(rest) == len(readers["msra"](root)) == 9 * 17


def test_msra_frames_known_to_be_bad(tmp_path):
    from handpose_jax.data.sets import msra15

    root = write_msra15(tmp_path, ("P8",)).root
    path = root / "P8" / "4"
    line, content = (path / "joint.txt").read_text().splitlines()[1], (path / "000000_depth.bin").read_bytes()
    (path / "joint.txt").write_text("\n".join(["170", *[line] * 170]))
    for frame in range(170):
        (path / f"{frame:06d}_depth.bin").write_bytes(content)
    assert len(readers["msra"](root, "P8")) == 16 + 170
    kept = readers["msra"](root, "P8", known_bad="skip")
    assert len(kept) == 16 + 169
    assert "P8/4/000168" not in kept.ids
    assert sum(len(frames) for frames in msra15.KNOWN_BAD.values()) == 3 + 16 + 2 + 1


def test_nyu(nyu):
    examples = readers["nyu"](nyu.root)
    np.testing.assert_allclose(examples.native, nyu.extra["native"], atol=1e-9)
    tips = [4, 8, 12, 16, 20]
    np.testing.assert_allclose(examples.joints[:, tips], nyu.joints[:, tips], atol=1e-9)
    np.testing.assert_allclose(examples.keypoints[:, tips], nyu.keypoints[:, tips], atol=1e-6)
    assert_projects(examples, examples.joints[:, tips], examples.keypoints[:, tips])
    assert not np.delete(examples.visible, tips, axis=1).any()
    assert examples.native_names[13] == "palm"
    assert examples.native_names[8] == "thumb_tip"
    for row in range(2):
        assert_depth(examples, nyu, row, 0.00051)


def test_nyu_evaluates_on_the_first_kinect(nyu):
    """The annotations of the three are in frames 20 cm apart here."""
    first = readers["nyu"](nyu.root, "evaluation")
    root = nyu.root
    for path in list(root.glob("t*/depth_1_*.png")):
        (path.parent / path.name.replace("depth_1", "depth_3")).write_bytes(path.read_bytes())
    third = readers["nyu"](root, "evaluation", kinect=3)
    assert "depth_3_0000001.png" in third.depth.paths[0]
    np.testing.assert_allclose(third.native - first.native, np.broadcast_to([0.4, 0, 0], first.native.shape), atol=1e-9)
