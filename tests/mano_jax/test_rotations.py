"""Rotations against scipy and extended precision, at random and singular angles, with their derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mano_jax import rotations
from tests.mano_jax.reference import rotation_matrix

SINGULAR_ANGLES = (0.0, 1e-300, 1e-160, 1e-12, 1e-8, 1e-4, 0.02, 0.2, 0.2236, 0.2237, 0.45, 1.0, 2.0)
LARGE_ANGLES = (np.pi - 1e-9, np.pi, np.pi + 1e-9, 5.0, 2.0 * np.pi, 3.0 * np.pi, 30.0)
FUNCTIONS = {
    name: jax.jit(getattr(rotations, name))
    for name in (
        *("axis_angle_to_matrix", "axis_angle_to_quaternion", "quaternion_to_matrix"),
        *("quaternion_to_axis_angle", "matrix_to_quaternion", "matrix_to_axis_angle"),
    )
}


def round_trip(vector: jax.Array) -> jax.Array:
    return rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(vector))


def round_trip_by_quaternion(vector: jax.Array) -> jax.Array:
    return rotations.quaternion_to_axis_angle(rotations.axis_angle_to_quaternion(vector))


ROUND_TRIP_JACOBIAN = jax.jit(jax.vmap(jax.jacrev(round_trip)))
ROUND_TRIP_FORWARD_JACOBIAN = jax.jit(jax.vmap(jax.jacfwd(round_trip)))
QUATERNION_JACOBIAN = jax.jit(jax.vmap(jax.jacrev(round_trip_by_quaternion)))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@functools.cache
def axes() -> np.ndarray:
    """Coordinate axes, diagonals and random directions, [20, 3]."""
    random = np.random.default_rng(0).normal(size=(8, 3))
    grid = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 0, -1), (1, 1, 0), (0, 1, -1)])
    corners = np.array([(1, 1, 1), (-1, 1, 1), (1e-9, 1, -1e-9), (1, 1e-5, 0)])
    directions = np.concatenate([grid, corners, random])
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def vectors(angles) -> np.ndarray:
    return (np.asarray(angles)[:, None, None] * axes()).reshape(-1, 3)


def call(name: str, array) -> np.ndarray:
    return np.array(FUNCTIONS[name](jnp.asarray(array)))  # A copy: scipy wants to be able to write.


def test_matrices_equal_reference_and_scipy():
    axis_angles = vectors(SINGULAR_ANGLES + LARGE_ANGLES)
    matrices = call("axis_angle_to_matrix", axis_angles)
    np.testing.assert_allclose(matrices, [rotation_matrix(v) for v in axis_angles], rtol=0.0, atol=5e-15)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(axis_angles).as_matrix(), rtol=0.0, atol=1e-14)
    orthogonal = matrices @ matrices.transpose(0, 2, 1)
    np.testing.assert_allclose(orthogonal, np.broadcast_to(np.eye(3), orthogonal.shape), rtol=0.0, atol=5e-15)


def test_zero_is_exactly_the_identity():
    np.testing.assert_array_equal(call("axis_angle_to_matrix", np.zeros((1, 3)))[0], np.eye(3))
    np.testing.assert_array_equal(call("axis_angle_to_quaternion", np.zeros((1, 3)))[0], [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(call("matrix_to_quaternion", np.eye(3)[None])[0], [1.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(call("matrix_to_axis_angle", np.eye(3)[None])[0], np.zeros(3))


def test_small_rotations_keep_all_their_digits():
    """R - I of a tiny rotation is its vector's cross product: the pose correctives feel its relative error."""
    for angle in (1e-12, 1e-8, 1e-5):
        axis_angles = vectors([angle])
        matrices = call("axis_angle_to_matrix", axis_angles)
        antisymmetric = 0.5 * (matrices - matrices.transpose(0, 2, 1))
        vector = antisymmetric[:, [2, 0, 1], [1, 2, 0]]
        np.testing.assert_allclose(vector, axis_angles * (1.0 - angle**2 / 6.0), rtol=1e-15, atol=1e-30)
        np.testing.assert_allclose(call("axis_angle_to_quaternion", axis_angles)[:, 1:], 0.5 * axis_angles, rtol=1e-10)


def test_quaternions_equal_scipy():
    axis_angles = vectors(SINGULAR_ANGLES + LARGE_ANGLES)
    quaternions = call("axis_angle_to_quaternion", axis_angles)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1.0, rtol=1e-14)
    half = 0.5 * np.linalg.norm(axis_angles, axis=1)
    np.testing.assert_allclose(quaternions[:, 0], np.cos(half), rtol=0.0, atol=1e-14)
    matrices = Rotation.from_rotvec(axis_angles).as_matrix()
    np.testing.assert_allclose(call("quaternion_to_matrix", quaternions), matrices, rtol=0.0, atol=1e-14)


def test_matrix_to_quaternion_at_every_angle():
    axis_angles = vectors(SINGULAR_ANGLES + LARGE_ANGLES)
    matrices = Rotation.from_rotvec(axis_angles).as_matrix()
    quaternions = call("matrix_to_quaternion", matrices)
    assert (quaternions[:, 0] >= 0.0).all()
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1.0, rtol=1e-14)
    expected = Rotation.from_matrix(matrices).as_quat(scalar_first=True)
    sign = np.sign(np.sum(quaternions * expected, axis=1, keepdims=True))
    np.testing.assert_allclose(quaternions, sign * expected, rtol=0.0, atol=1e-14)


def test_axis_angles_come_back_up_to_pi():
    below = vectors((*SINGULAR_ANGLES, np.pi - 1e-9))
    for through in (
        call("quaternion_to_axis_angle", call("axis_angle_to_quaternion", below)),
        call("matrix_to_axis_angle", call("axis_angle_to_matrix", below)),
    ):
        np.testing.assert_allclose(through, below, rtol=0.0, atol=1e-14)


def test_axis_angles_beyond_pi_come_back_as_the_same_rotation_within_pi():
    beyond = vectors(LARGE_ANGLES)
    back = call("matrix_to_axis_angle", call("axis_angle_to_matrix", beyond))
    assert (np.linalg.norm(back, axis=1) <= np.pi + 1e-14).all()
    np.testing.assert_allclose(
        Rotation.from_rotvec(back).as_matrix(), Rotation.from_rotvec(beyond).as_matrix(), rtol=0.0, atol=2e-14
    )


def test_both_signs_of_a_quaternion_are_one_rotation():
    quaternions = call("axis_angle_to_quaternion", vectors((0.3, 1.0, 3.0)))
    one, other = (call("quaternion_to_axis_angle", sign * quaternions) for sign in (1.0, -1.0))
    np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-15)


@pytest.mark.parametrize("name", ["axis_angle_to_matrix", "axis_angle_to_quaternion"])
def test_derivatives_of_axis_angles(name: str):
    points = jnp.asarray(vectors((0.0, 1e-300, 1e-12, 1e-4, 0.2236, 0.2237, 1.0, np.pi, np.pi + 1e-9, 3.0 * np.pi)))
    check_derivatives(getattr(rotations, name), points)


@pytest.mark.parametrize("name", ["quaternion_to_axis_angle", "quaternion_to_matrix"])
def test_derivatives_of_quaternions(name: str):
    # Not at pi, where the axis flips to the other side: there the derivatives only have to be finite (below).
    points = FUNCTIONS["axis_angle_to_quaternion"](jnp.asarray(vectors((0.0, 1e-12, 1e-4, 0.0199, 0.0201, 1.0, 3.0))))
    check_derivatives(getattr(rotations, name), points)


def test_derivatives_of_matrices():
    """Along the rotations, v -> v(R(v)): the identity."""
    points = jnp.asarray(vectors((0.0, 1e-12, 1e-4, 0.0199, 1.0, 3.0)))
    for jacobian in (ROUND_TRIP_JACOBIAN(points), ROUND_TRIP_FORWARD_JACOBIAN(points)):
        np.testing.assert_allclose(jacobian, np.broadcast_to(np.eye(3), jacobian.shape), rtol=0.0, atol=1e-12)


def check_derivatives(function, points: jax.Array) -> None:
    along = np.asarray(jax.jit(jax.vmap(jax.jacfwd(function)))(points))
    back = np.asarray(jax.jit(jax.vmap(jax.jacrev(function)))(points))
    np.testing.assert_allclose(along, back, rtol=0.0, atol=1e-13)
    step = 1e-6
    offsets = step * jnp.eye(points.shape[-1])[:, None]
    compiled = jax.jit(function)
    ahead, behind = (np.asarray(compiled(points[None] + sign * offsets)) for sign in (1.0, -1.0))
    differences = np.moveaxis((ahead - behind) / (2.0 * step), 0, -1)
    np.testing.assert_allclose(along, differences, rtol=0.0, atol=2e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("angle", [0.0, 1e-12, np.pi, 3.0 * np.pi])
def test_all_derivatives_are_finite_in_both_precisions(dtype: str, angle: float):
    points = jnp.asarray(vectors([angle]), dtype)
    for jacobian in (ROUND_TRIP_JACOBIAN(points), QUATERNION_JACOBIAN(points)):
        assert jacobian.dtype == dtype
        assert np.isfinite(jacobian).all()


def test_second_derivatives_at_zero():
    """R = I + [v]x + [v]x^2 / 2 + ...: the Hessian at zero is that of [v]x^2 / 2."""
    hessian = np.asarray(jax.jit(jax.hessian(rotations.axis_angle_to_matrix))(jnp.zeros(3)))
    direction = np.array([0.3, -0.5, 0.7])
    cross = np.cross(np.eye(3), direction) * -1.0
    np.testing.assert_allclose(np.einsum("abij,i,j->ab", hessian, direction, direction), cross @ cross, atol=1e-14)


def test_single_precision():
    axis_angles = vectors(SINGULAR_ANGLES + LARGE_ANGLES).astype(np.float32)
    matrices = call("axis_angle_to_matrix", axis_angles)
    assert matrices.dtype == np.float32
    expected = np.array([rotation_matrix(v) for v in axis_angles])
    np.testing.assert_allclose(matrices[:-20], expected[:-20], rtol=0.0, atol=1.5e-6)
    np.testing.assert_allclose(matrices[-20:], expected[-20:], rtol=0.0, atol=4e-6)  # 30 rad has 2e-6 rad of rounding.
    below = vectors((0.0, 1e-12, 1e-4, 0.1, 1.0, 3.0)).astype(np.float32)
    np.testing.assert_allclose(
        call("matrix_to_axis_angle", call("axis_angle_to_matrix", below)), below, rtol=0.0, atol=2e-6
    )


def test_leading_axes():
    batch = jnp.asarray(vectors((0.5, 2.0))).reshape(2, 4, 5, 3)
    matrices = FUNCTIONS["axis_angle_to_matrix"](batch)
    assert matrices.shape == (2, 4, 5, 3, 3)
    single = FUNCTIONS["axis_angle_to_matrix"](batch[1, 2, 3])
    np.testing.assert_allclose(single, matrices[1, 2, 3], rtol=0.0, atol=1e-16)
    np.testing.assert_allclose(FUNCTIONS["matrix_to_axis_angle"](matrices), batch, rtol=0.0, atol=1e-14)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-10.0, 10.0, allow_subnormal=False), min_size=3, max_size=3))
def test_any_vector(vector: list[float]):
    matrix = call("axis_angle_to_matrix", np.array([vector]))[0]
    np.testing.assert_allclose(matrix, rotation_matrix(vector), rtol=0.0, atol=1e-14)
    back = call("matrix_to_axis_angle", matrix[None])[0]
    np.testing.assert_allclose(rotation_matrix(back), matrix, rtol=0.0, atol=1e-14)
