"""The fit after the network: from wrong estimates of true hands back to them, on both sides, at known sizes."""

import functools

import numpy as np
import pytest

import mano_jax
from handpose_jax.dhpe.normalisation import ESTIMATE, GIVEN, HAND_LENGTH
from handpose_jax.dhpe.perspective_fit import fit_in_perspective
from handpose_jax.dhpe.prediction import PlacedHands

K = np.array([[300.0, 0.0, 110.0], [0.0, 310.0, 120.0], [0.0, 0.0, 1.0]])
SIDES = ("right", "left")


@functools.cache
def model() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


@functools.cache
def truth() -> tuple[np.ndarray, np.ndarray, PlacedHands]:
    """True joints, their pixels, and an estimate that is turned, moved and of the mean pose."""
    rng = np.random.default_rng(7)
    pose = np.asarray(model().pose_mean) + 0.15 * rng.normal(size=(2, 45))
    rotation, translation = np.array([[1.4, 0.2, 0.1]] * 2), np.array([[0.02, 0.01, 0.45], [-0.02, 0.02, 0.5]])
    shape, zeros = 0.5 * rng.normal(size=(2, 10)), np.zeros(3)
    mirror = np.array([[[1.0, 1.0, 1.0]], [[-1.0, 1.0, 1.0]]])  # Of the second, a left hand.
    joints = mirror * np.asarray(mano_jax.keypoints(model(), pose, shape, rotation, translation), np.float64)
    pixels = np.einsum("ab,nkb->nka", K, joints)
    pixels = pixels[..., :2] / pixels[..., 2:]
    guessed = mirror * np.asarray(mano_jax.keypoints(model(), model().pose_mean, zeros[:1], rotation + 0.2, zeros))
    nothing = np.full((2, 1), np.nan, np.float32)
    placed = PlacedHands(
        vertices=np.full((2, 778, 3), np.nan, np.float32),
        joints=guessed + np.array([0.0, 0.0, 0.6]),
        joints_direct=guessed,
        pose=np.zeros((2, 45), np.float32),
        shape=np.zeros((2, 10), np.float32),
        rotation=np.zeros((2, 3), np.float32),
        translation=np.zeros((2, 3), np.float32),
        scale=np.ones(2, np.float32),
        root_depth=nothing[:, 0],
        residual_px=nothing[:, 0],
        joints_2d_px=pixels.astype(np.float32),
        joint_covariance_m2=np.full((2, 21, 3, 3), np.nan, np.float32),
    )
    return joints, pixels, placed


def fitted(source: str = ESTIMATE, *values: float, placed: PlacedHands | None = None) -> PlacedHands:
    known = np.array(values) if values else None
    cameras = np.stack([K, K])
    return fit_in_perspective(model(), placed or truth()[2], np.ones((2, 21)), cameras, SIDES, source, known)


@pytest.mark.slow
def test_the_hands_are_found_again():
    joints, _, _ = truth()
    found = fitted()
    relative, expected = found.joints - found.joints[:, :1], joints - joints[:, :1]
    relative *= np.linalg.norm(expected[:, 9:10], axis=2, keepdims=True) / np.linalg.norm(
        relative[:, 9:10], axis=2, keepdims=True
    )
    assert np.linalg.norm(relative - expected, axis=2).mean() < 0.01
    assert found.residual_px.max() < 3.0
    np.testing.assert_array_equal(found.scale, 1.0)
    models = (model(), mano_jax.mirror_model(model()))
    for row, side in enumerate(models):
        parameters = [getattr(found, name)[row] for name in ("pose", "shape", "rotation", "translation")]
        np.testing.assert_allclose(mano_jax.forward(side, *parameters).vertices, found.vertices[row], atol=1e-5)
    assert (np.linalg.eigvalsh(found.joint_covariance_m2) > 0).all()


@pytest.mark.slow
def test_a_known_depth_or_length_grows_the_hand_about_the_camera():
    free = fitted()
    given = fitted(GIVEN, 0.9, 0.3)
    np.testing.assert_allclose(given.root_depth, [0.9, 0.3], rtol=1e-5)
    scale = given.scale[:, None, None]
    np.testing.assert_allclose(given.vertices, scale * free.vertices, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(given.residual_px, free.residual_px, rtol=1e-3)
    zeros = np.zeros(3, np.float32)
    for row in range(2):
        side = (model(), mano_jax.mirror_model(model()))[row]
        posed = mano_jax.forward(side, given.pose[row], given.shape[row], given.rotation[row], zeros)
        expected = given.scale[row] * np.asarray(posed.vertices) + given.translation[row]
        np.testing.assert_allclose(expected, given.vertices[row], atol=1e-5)
    long = fitted(HAND_LENGTH, 0.20, 0.17)
    flat = mano_jax.keypoints(model(), np.zeros((2, 45), np.float32), long.shape, zeros, zeros)
    finger = np.asarray(flat)[:, [0, 9, 10, 11, 12]]
    lengths = np.linalg.norm(np.diff(finger, axis=1), axis=2).sum(axis=1)
    np.testing.assert_allclose(long.scale * lengths, [0.20, 0.17], rtol=1e-4)


@pytest.mark.slow
def test_a_hand_that_cannot_be_fitted_stays_as_it_was():
    _, _, placed = truth()
    broken = placed._replace(joints=placed.joints.copy())
    broken.joints[1] = np.nan
    found = fitted(placed=broken)
    np.testing.assert_array_equal(found.pose[1], 0.0)
    assert np.abs(found.pose[0]).max() > 0.1
