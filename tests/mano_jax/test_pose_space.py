"""Pose coefficients: measured from the mean pose, in the model's basis, none dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mano_jax import coefficients_from_pose, pose_from_coefficients
from tests.mano_jax.made_up_model import made_up_fields, made_up_hand

FIELDS = made_up_fields()


@pytest.mark.parametrize("count", [0, 1, 12, 45])
def test_pose_is_mean_plus_rows_of_the_basis(count: int):
    coefficients = np.random.default_rng(count).normal(size=(2, 3, count)).astype(np.float32)
    pose = pose_from_coefficients(made_up_hand(), coefficients)
    expected = FIELDS["hands_mean"] + coefficients @ FIELDS["hands_components"][:count]
    np.testing.assert_allclose(pose, expected, rtol=0.0, atol=2e-6)


def test_coefficients_come_back_from_a_basis_that_is_not_orthonormal():
    with jax.enable_x64(True):
        hand = made_up_hand(dtype="float64")
        hand = hand.__class__(**{**vars(hand), "pose_basis": hand.pose_basis * jnp.linspace(0.5, 2.0, 45)[:, None]})
        coefficients = np.random.default_rng(0).normal(size=(4, 45))
        back = coefficients_from_pose(hand, pose_from_coefficients(hand, coefficients))
        np.testing.assert_allclose(back, coefficients, rtol=0.0, atol=1e-13)
        np.testing.assert_allclose(coefficients_from_pose(hand, hand.pose_mean), np.zeros(45), rtol=0.0, atol=1e-14)


def test_too_many_coefficients_are_refused():
    with pytest.raises(ValueError, match="45 pose components, got 46 coefficients"):
        pose_from_coefficients(made_up_hand(), np.zeros(46))
