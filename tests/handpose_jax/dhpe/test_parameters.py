"""h: its order, what zeros mean, and the way there and back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.dhpe.configuration import Parametrisation
from handpose_jax.dhpe.parameters import HandVector, decode, encode

AXIS_ANGLE = Parametrisation(pose="axis_angle")


@functools.cache
def model() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


def random_h(batch: tuple[int, ...] = (4,)) -> HandVector:
    flat = 0.3 * np.random.default_rng(3).normal(size=(*batch, 63))
    return HandVector.unflatten(jnp.asarray(flat, jnp.float32))._replace(translation=jnp.full((*batch, 3), 0.25))


def test_63_numbers_in_the_order_pose_shape_rotation_scale_translation():
    h = HandVector.unflatten(jnp.arange(63.0))
    np.testing.assert_array_equal(h.pose_coefficients, np.arange(45))
    np.testing.assert_array_equal(h.shape, np.arange(45, 55))
    np.testing.assert_array_equal(h.rotation, np.arange(55, 59))
    np.testing.assert_array_equal(h.scale, [59])
    np.testing.assert_array_equal(h.translation, [60, 61, 62])
    np.testing.assert_array_equal(h.flatten(), np.arange(63))
    assert HandVector.zeros((2, 3)).flatten().shape == (2, 3, 63)
    with pytest.raises(ValueError, match="63"):
        HandVector.unflatten(jnp.zeros((2, 61)))


@pytest.mark.parametrize("parametrisation", [Parametrisation(), AXIS_ANGLE])
def test_zeros_are_the_mean_hand_unturned_at_the_middle(parametrisation: Parametrisation):
    hand = decode(model(), HandVector.zeros((2,)), parametrisation)
    np.testing.assert_allclose(hand.pose, np.tile(model().pose_mean, (2, 1)), atol=1e-7)
    np.testing.assert_array_equal(hand.quaternion, [[1.0, 0.0, 0.0, 0.0]] * 2)
    np.testing.assert_array_equal(hand.scale, [12.0, 12.0])
    np.testing.assert_array_equal(hand.translation, 0.0)


def test_decode_equals_the_formulas():
    h = random_h()
    hand = decode(model(), h, Parametrisation(initial_scale=7.0))
    basis, mean = np.asarray(model().pose_basis, np.float64), np.asarray(model().pose_mean, np.float64)
    np.testing.assert_allclose(hand.pose, np.asarray(h.pose_coefficients) @ basis + mean, atol=1e-6)
    quaternion = np.asarray(h.rotation, np.float64) + np.eye(4)[:1]
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    np.testing.assert_allclose(hand.quaternion, quaternion, atol=1e-6)
    np.testing.assert_allclose(hand.scale, 7.0 * np.exp(np.asarray(h.scale[:, 0])), rtol=1e-6)


@pytest.mark.parametrize("parametrisation", [Parametrisation(), AXIS_ANGLE])
def test_encode_is_the_inverse(parametrisation: Parametrisation):
    hand = decode(model(), random_h(), parametrisation)
    hand = hand._replace(quaternion=hand.quaternion * jnp.array([1.0, -1.0, 1.0, -1.0])[:, None])  # Both signs.
    again = decode(model(), encode(model(), hand, parametrisation), parametrisation)
    sign = np.sign(np.asarray(hand.quaternion[:, :1]))
    np.testing.assert_allclose(again.quaternion, sign * hand.quaternion, atol=1e-6)
    for name in ("pose", "shape", "scale", "translation"):
        np.testing.assert_allclose(getattr(again, name), getattr(hand, name), rtol=1e-5, atol=2e-5)


def test_fewer_pose_components_ignore_the_rest():
    six = Parametrisation(pose_components=6)
    h = random_h()
    changed = h._replace(pose_coefficients=h.pose_coefficients.at[:, 6:].add(1.0))
    np.testing.assert_array_equal(decode(model(), h, six).pose, decode(model(), changed, six).pose)
    back = encode(model(), decode(model(), h, six), six)
    np.testing.assert_allclose(back.pose_coefficients[:, :6], h.pose_coefficients[:, :6], atol=1e-5)
    np.testing.assert_array_equal(back.pose_coefficients[:, 6:], 0.0)


def test_the_zero_quaternion_is_the_identity_with_finite_gradients():
    value = lambda delta: decode(model(), HandVector.zeros()._replace(rotation=delta), Parametrisation()).quaternion  # noqa: E731
    singular = jnp.array([-1.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(value(singular), [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(jax.jit(jax.jacrev(value))(singular), 0.0)


@pytest.mark.parametrize(
    "settings", [{"pose": "pca"}, {"pose_components": 0}, {"pose": "axis_angle", "pose_components": 6}]
)
def test_impossible_parametrisations(settings):
    with pytest.raises(ValueError, match="must be"):
        Parametrisation(**settings)
