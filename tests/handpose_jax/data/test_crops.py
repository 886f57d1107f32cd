"""Crops of many hands: the algebra of `render_jax.Crop`, and what turning adds to it."""

import jax.numpy as jnp
import numpy as np
import pytest

from handpose_jax.data.crops import CropBatch, around_cubes, around_joint, tight_boxes
from render_jax import Crop, Pinhole

HANDS = 6


@pytest.fixture(scope="module")
def scene():
    """Cameras (some with pixels that are not square), points before them, and crops."""
    random = np.random.default_rng(0)
    K = np.zeros((HANDS, 3, 3))
    K[:, 0, 0] = random.uniform(200, 800, HANDS)
    K[:, 1, 1] = K[:, 0, 0] * np.where(np.arange(HANDS) % 2, 1.027, 1.0)
    K[:, :2, 2], K[:, 2, 2] = random.uniform(100, 300, (HANDS, 2)), 1.0
    joints = random.normal(size=(HANDS, 21, 3)) * 0.05 + [0.02, -0.03, 0.6]
    return K, joints, project(joints, K), tight_boxes(project(joints, K), np.ones((HANDS, 21), bool))


def project(points, K):
    images = np.einsum("nij,npj->npi", K, points)
    return images[..., :2] / images[..., 2:]


def test_upright_crops_are_those_of_render_jax(scene):
    K, _, keypoints, (centre, side) = scene
    mirrored = np.arange(HANDS) % 3 == 0
    crops = CropBatch.make(centre, side, 96, mirrored)
    for row in range(HANDS):
        around = Crop.around(jnp.asarray(keypoints[row], jnp.float32), 96)
        np.testing.assert_allclose(around.centre, centre[row], rtol=1e-5)
        np.testing.assert_allclose(around.side, side[row], rtol=1e-5)
        crop = Crop(np.float32(centre[row]), np.float32(side[row]), bool(mirrored[row]), 96)
        expected = crop.points_to_crop(keypoints[row].astype(np.float32))
        np.testing.assert_allclose(crops.points(keypoints)[row], expected, atol=1e-3)
        expected = crop.camera_to_crop(Pinhole.from_matrix(K[row].astype(np.float32))).matrix()
        np.testing.assert_allclose(crops.camera(K)[row], expected, atol=2e-3)


def test_turned_and_mirrored_crops_have_an_exact_pinhole(scene):
    K, joints, keypoints, (centre, side) = scene
    angle = np.linspace(-1.0, 3.0, HANDS)
    crops = CropBatch.make(centre + 5.0, 1.3 * side, 224, np.arange(HANDS) % 2 == 0, angle, K)
    there = crops.points(keypoints)
    np.testing.assert_allclose(project(crops.points_3d(joints), crops.camera(K)), there, atol=1e-9)
    np.testing.assert_allclose(crops.points_to_full(there), keypoints, atol=1e-9)
    np.testing.assert_allclose(crops.camera(K)[:, 0, 0], crops.camera(K)[:, 1, 1])  # square pixels, or there is a skew
    np.testing.assert_allclose(np.linalg.det(crops.rotation()), np.where(crops.mirrored, -1.0, 1.0))
    # Turning clockwise as seen: what is to the right of the middle comes below it.
    right = crops.points(crops.centre[:, None] + np.array([[[10.0, 0.0]]]))[:, 0] - 112.0
    expected = np.where(crops.mirrored, np.pi + angle, angle)
    np.testing.assert_allclose(np.exp(1j * np.arctan2(right[:, 1], right[:, 0])), np.exp(1j * expected), atol=1e-9)


def test_a_left_hand_is_its_mirror_image_exactly():
    """Bit for bit, turned crops too: all numbers are multiples of 1/8, so mirroring the input rounds nothing."""
    random = np.random.default_rng(1)
    width = 320.0
    keypoints = random.integers(0, 8 * 320, (HANDS, 21, 2)) / 8.0
    joints = random.integers(-64, 64, (HANDS, 21, 3)) / 512.0 + [0.0, 0.0, 0.5]
    K = np.tile([[512.0, 0.0, 150.5], [0.0, 500.0, 161.25], [0.0, 0.0, 1.0]], (HANDS, 1, 1))
    other_keypoints, other_joints, other_K = keypoints.copy(), joints * [-1.0, 1.0, 1.0], K.copy()
    other_keypoints[..., 0] = width - keypoints[..., 0]
    other_K[:, 0, 2] = width - K[:, 0, 2]
    known, angle = np.ones((HANDS, 21), bool), random.uniform(-1, 1, HANDS)
    left = CropBatch.make(*tight_boxes(keypoints, known, 1.5), 224, known[:, 0], angle, K)
    right = CropBatch.make(*tight_boxes(other_keypoints, known, 1.5), 224, ~known[:, 0], angle, other_K)
    np.testing.assert_array_equal(left.points(keypoints), right.points(other_keypoints))
    np.testing.assert_array_equal(left.points_3d(joints), right.points_3d(other_joints))
    np.testing.assert_array_equal(left.camera(K), right.camera(other_K))
    np.testing.assert_array_equal(left.to_image(), right.to_image())


def test_boxes_leave_unknown_points_out(scene):
    _, _, keypoints, _ = scene
    known = np.ones((HANDS, 21), bool)
    known[0, 5:], known[1] = False, False
    with_gaps = np.where(known[..., None], keypoints, np.nan)
    centre, side = tight_boxes(with_gaps, known, 2.0)
    low, high = keypoints[0, :5].min(axis=0), keypoints[0, :5].max(axis=0)
    np.testing.assert_allclose(centre[0], (low + high) / 2)
    np.testing.assert_allclose(side[0], 2.0 * (high - low).max())
    assert np.isnan(centre[1]).all()
    assert np.isnan(side[1])


def test_crop_around_the_middle_mcp(scene):
    """hand3d: twice the largest distance, within 50 and 500 pixels."""
    _, _, keypoints, _ = scene
    known = np.ones((HANDS, 21), bool)
    known[2, 9], known[3, 12] = False, False
    centre, side = around_joint(keypoints, known)
    for row in (0, 1, 3, 4, 5):
        distances = [np.hypot(*(point - keypoints[row, 9])) for point in keypoints[row][known[row]]]
        np.testing.assert_allclose(centre[row], keypoints[row, 9])
        np.testing.assert_allclose(side[row], np.clip(2.0 * max(distances), 50.0, 500.0))
    np.testing.assert_allclose(centre[2], tight_boxes(keypoints, known)[0][2])
    assert around_joint(keypoints, known, limits=(70.0, 80.0))[1].max() <= 80.0


def test_cube_of_250_mm():
    K = np.array([[[588.04, 0.0, 320.0], [0.0, 587.08, 240.0], [0.0, 0.0, 1.0]]])
    centre, side = around_cubes(np.array([[0.1, -0.05, 0.75]]), K)
    np.testing.assert_allclose(side, 0.25 * 588.04 / 0.75)
    np.testing.assert_allclose(centre, [[320.0 + 588.04 * 0.1 / 0.75, 240.0 - 587.08 * 0.05 / 0.75]])


def test_rows_do_not_see_each_other(scene):
    K, _, keypoints, (centre, side) = scene
    angle = np.linspace(-1.0, 1.0, HANDS)
    together = CropBatch.make(centre, side, 64, np.zeros(HANDS, bool), angle, K)
    alone = CropBatch.make(centre[3:4], side[3:4], 64, np.zeros(1, bool), angle[3:4], K[3:4])
    np.testing.assert_array_equal(together.points(keypoints)[3], alone.points(keypoints[3:4])[0])
