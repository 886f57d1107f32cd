"""FreiHAND: versions share annotations, masks are JPEG, evaluation with and without its annotations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handpose_jax.data.pixels import read_mask, read_pixels
from handpose_jax.data.sets import READERS
from tests.fixtures.freihand import write_freihand

read: Callable[..., Any] = READERS["freihand"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_freihand(tmp_path_factory.mktemp("freihand"), samples=3)


@pytest.fixture(scope="module")
def examples(written):
    return read(written.root, "training", vertices=True)


def test_reader_and_writer_agree_and_the_four_versions_share_annotations(written, examples):
    assert len(examples) == 12
    for version in range(4):
        rows = slice(3 * version, 3 * version + 3)
        np.testing.assert_allclose(examples.joints[rows], written.joints, atol=1e-12)
        np.testing.assert_allclose(examples.keypoints[rows], written.keypoints, atol=1e-8)
        np.testing.assert_allclose(examples.K[rows], written.K)
        np.testing.assert_allclose(examples.vertices[rows], written.extra["vertices"], atol=1e-6)
    assert examples.ids[4] == "training/00000004-hom"
    assert set(examples.side) == {"right"}


def test_picture_number_is_sample_plus_count_times_version(written):
    examples = read(written.root, versions=("auto", "gs"))
    assert examples.ids[:2] == ("training/00000009-auto", "training/00000010-auto")
    assert examples.ids[3:] == ("training/00000000-gs", "training/00000001-gs", "training/00000002-gs")
    np.testing.assert_allclose(examples.joints[:3], written.joints, atol=1e-12)
    assert examples.images.paths[0].endswith("00000009.jpg")
    assert examples.masks.paths[0].endswith("00000000.jpg")


def test_masks_and_pictures(written, examples):
    for row in (0, 5, 10):
        sample = row % 3
        wrong = read_mask(examples, row) != written.extra["hand_masks"][sample]
        # JPEG moves the outline by a pixel here and there; its ringing, which is off the hand, must not count.
        assert wrong.mean() < 0.002
        assert read_pixels(examples.images, row).shape == (224, 224, 3)
        skin = read_pixels(examples.images, row)[written.extra["hand_masks"][sample]].astype(float)
        assert np.abs(skin - written.pictures[sample].rgb[written.extra["hand_masks"][sample]]).mean() < 6


def test_bone_length_is_that_of_keypoints_9_and_10(written, examples):
    bones = np.linalg.norm(written.joints[:, 9] - written.joints[:, 10], axis=1)
    np.testing.assert_allclose(examples.bone_length, np.tile(bones, 4))


def test_evaluation_with_its_annotations(written):
    truth, examples = written.extra["evaluation"], read(written.root, "evaluation")
    np.testing.assert_allclose(examples.joints, truth["joints"], atol=1e-12)
    np.testing.assert_allclose(examples.keypoints, truth["keypoints"], atol=1e-8)
    np.testing.assert_allclose(examples.vertices, truth["vertices"], atol=1e-6)
    assert examples.masks is None
    assert examples.visible.all()


def test_evaluation_without_its_annotations(tmp_path):
    written = write_freihand(tmp_path, samples=1, evaluation_annotated=False)
    examples = read(written.root, "evaluation")
    assert np.isnan(examples.joints).all()
    assert np.isnan(examples.keypoints).all()
    assert not examples.visible.any()
    assert examples.vertices is None
    np.testing.assert_allclose(examples.K, written.extra["evaluation"]["K"])
    np.testing.assert_allclose(examples.bone_length, written.extra["evaluation"]["scale"])
    assert "without its annotations" in examples.notes[0]


def test_evaluation_annotations_beside_the_set(tmp_path):
    written = write_freihand(tmp_path, samples=1)
    beside = tmp_path / "FreiHAND_pub_v2_eval"
    beside.mkdir()
    for part in ("xyz", "verts", "mano"):
        (written.root / f"evaluation_{part}.json").rename(beside / f"evaluation_{part}.json")
    examples = read(tmp_path, "evaluation")
    np.testing.assert_allclose(examples.joints, written.extra["evaluation"]["joints"], atol=1e-12)
    np.testing.assert_allclose(examples.vertices, written.extra["evaluation"]["vertices"], atol=1e-6)


def test_the_mesh_of_the_training_split_is_read_on_demand(written):
    assert read(written.root, versions=("gs",)).vertices is None
