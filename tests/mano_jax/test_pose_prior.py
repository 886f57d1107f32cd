"""The Gaussian over joint angles: distances of the model's own poses."""

import jax
import jax.numpy as jnp
import numpy as np

from mano_jax import mirror_rotations, open_hand, pose_from_coefficients, squared_mahalanobis


def test_distance_is_that_of_whitened_coefficients_on_both_sides():
    right, left = open_hand("right"), open_hand("left")
    standard = np.random.default_rng(5).normal(size=(64, 45)).astype(np.float32)
    poses = pose_from_coefficients(right, standard * np.asarray(right.pose_standard_deviations)[None])
    distances = jax.jit(squared_mahalanobis)(right, poses)
    np.testing.assert_allclose(distances, np.sum(standard.astype(np.float64) ** 2, axis=-1), rtol=5e-3)
    np.testing.assert_allclose(squared_mahalanobis(left, mirror_rotations(poses)), distances, rtol=5e-3)


def test_mean_pose_is_the_minimum():
    hand = open_hand("right")
    value, gradient = jax.value_and_grad(lambda pose: squared_mahalanobis(hand, pose))(hand.pose_mean)
    assert abs(float(value)) < 1e-6
    assert float(jnp.max(jnp.abs(gradient))) < 1e-2
