"""`norm` of Eq. 8 against a NumPy transcription, its inverse, the three sources of depth, and crops."""

import jax.numpy as jnp
import numpy as np
import pytest

from handpose_jax.dhpe import normalisation
from handpose_jax.dhpe.normalisation import (
    denormalise,
    ndc_to_pixels,
    normalise,
    pixels_to_ndc,
    root_depth,
    root_depth_from_scale,
    scale_at_depth,
)
from render_jax import Crop, Pinhole
from tests.handpose_jax.random_hands import random_hands

CAMERA = Pinhole(fx=610.0, fy=580.0, cx=318.0, cy=242.0)
HANDS = random_hands(5, 11).joints.astype(np.float64)


def box(joints: np.ndarray) -> float:
    """w: 1.5 times the larger side of the tight 2D box."""
    pixels = joints[:, :2] / joints[:, 2:] * [610.0, 580.0] + [318.0, 242.0]
    return 1.5 * float((pixels.max(axis=0) - pixels.min(axis=0)).max())


def transcription(joints: np.ndarray, side: float) -> np.ndarray:
    u = 610.0 * joints[:, 0] / joints[:, 2] + 318.0
    v = 580.0 * joints[:, 1] / joints[:, 2] + 242.0
    z_root, f = joints[9, 2], np.sqrt(610.0 * 580.0)
    return np.stack([(u - u[9]) / side, (v - v[9]) / side, (joints[:, 2] - z_root) / (side * z_root / f)], axis=-1)


@pytest.mark.parametrize("joints", HANDS)
def test_norm_equals_its_transcription_and_fits_a_unit_interval(joints: np.ndarray):
    side = box(joints)
    found = normalise(jnp.asarray(joints, jnp.float32), CAMERA, side)
    np.testing.assert_allclose(found, transcription(joints, side), rtol=0.0, atol=2e-6)
    np.testing.assert_array_equal(found[9], 0.0)
    assert np.ptp(np.asarray(found[:, :2]), axis=0).max() <= 1.0


@pytest.mark.parametrize("joints", HANDS)
def test_the_inverse_returns_metres_from_each_source_of_depth(joints: np.ndarray):
    side = box(joints)
    points = jnp.asarray(joints, jnp.float32)
    flat = normalise(points, CAMERA, side)
    root = CAMERA.project(points[9])
    scale = jnp.asarray(2.0 * np.sqrt(610.0 * 580.0) / (side * joints[9, 2]), jnp.float32)
    length = float(np.linalg.norm(np.diff(joints[[0, 9, 10, 11, 12]], axis=0), axis=-1).sum())
    for source, value in (("given", joints[9, 2]), ("hand length", length), ("estimate", None)):
        depth = root_depth(source, flat, root, scale, CAMERA, side, value)
        np.testing.assert_allclose(depth, joints[9, 2], rtol=2e-5)
        np.testing.assert_allclose(denormalise(flat, root, depth, CAMERA, side), joints, rtol=0.0, atol=3e-5)


def test_the_depth_sets_the_size_of_the_whole_hand():
    side = box(HANDS[0])
    flat, root = normalise(jnp.asarray(HANDS[0], jnp.float32), CAMERA, side), jnp.array([300.0, 200.0])
    once = denormalise(flat, root, jnp.asarray(0.5), CAMERA, side)
    np.testing.assert_allclose(denormalise(flat, root, jnp.asarray(1.5), CAMERA, side), 3.0 * once, rtol=1e-5)


def test_scale_and_depth_are_inverse():
    depth = jnp.array([0.3, 0.8])
    np.testing.assert_allclose(root_depth_from_scale(scale_at_depth(depth, CAMERA, 200.0), CAMERA, 200.0), depth, 1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_crops_own_image_gives_the_same_numbers(mirrored: bool):
    """f / w is the same in the full image and in the crop; mirrored hands mirror x."""
    joints = jnp.asarray(HANDS[1], jnp.float32)
    pixels = CAMERA.project(joints)
    crop = Crop.around(pixels, size=224, mirrored=mirrored)
    turned = joints * jnp.array([[-1.0 if mirrored else 1.0, 1.0, 1.0]])
    camera = crop.camera_to_crop(CAMERA)
    inside = normalise(turned, camera, crop.size)
    sign = np.array([-1.0 if mirrored else 1.0, 1.0, 1.0])
    np.testing.assert_allclose(inside, sign * np.asarray(normalise(joints, CAMERA, crop.side)), atol=3e-6)
    # Twice `norm` is what NDC positions differ by.
    ndc = pixels_to_ndc(pixels, crop)
    np.testing.assert_allclose(ndc - ndc[9:10], 2.0 * inside[:, :2], atol=1e-5)
    np.testing.assert_allclose(np.abs(ndc).max(), 2.0 / 3.0, atol=1e-4)
    np.testing.assert_allclose(ndc_to_pixels(ndc, crop), pixels, atol=1e-3)


def test_degenerate_hands_stay_finite():
    behind = normalise(jnp.zeros((21, 3)), CAMERA, 100.0)
    assert jnp.isfinite(behind).all()
    depth = normalisation.root_depth_from_hand_length(jnp.zeros((21, 3)), jnp.zeros(2), 0.18, CAMERA, 100.0)
    assert jnp.isfinite(depth)


def test_unknown_sources_and_missing_values():
    arguments = jnp.zeros((21, 3)), jnp.zeros(2), jnp.ones(()), CAMERA, 100.0
    with pytest.raises(ValueError, match="source of the depth must be 'given', 'hand length' or 'estimate'"):
        root_depth("guess", *arguments)
    with pytest.raises(ValueError, match="needs the hand's length in metres"):
        root_depth("hand length", *arguments)
