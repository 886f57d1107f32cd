"""Pose representations: against scipy, there and back, degenerate inputs, and `forward` of the matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mano_jax import forward, forward_from_matrices, mirror_model, pose_as, pose_from, rotations
from tests.mano_jax.made_up_model import made_up_hand

REPRESENTATIONS = ("axis_angle", "matrix", "quaternion", "6d", "coefficients")
jitted_as = jax.jit(pose_as, static_argnums=2)
jitted_from = jax.jit(pose_from, static_argnums=2)
from_6d = jax.jit(rotations.matrix_from_6d)
along_6d, back_6d = (jax.jit(jacobian(rotations.matrix_from_6d)) for jacobian in (jax.jacfwd, jax.jacrev))


@functools.cache
def hand(dtype: str = "float32"):
    return made_up_hand(dtype=dtype)


def random_pose(seed: int, batch: tuple[int, ...] = (), dtype="float32") -> np.ndarray:
    vectors = np.random.default_rng(seed).uniform(-1.0, 1.0, size=(*batch, 15, 3))
    return (1.7 * vectors).reshape(*batch, 45).astype(dtype)  # Angles below pi: the vectors are unique.


def expected(pose: np.ndarray, representation: str) -> np.ndarray:
    turns = Rotation.from_rotvec(pose.astype(np.float64).reshape(-1, 3))
    matrices = turns.as_matrix()
    return {
        "axis_angle": pose.reshape(-1, 45),
        "matrix": matrices,
        "quaternion": turns.as_quat(canonical=True, scalar_first=True),
        "6d": np.stack([np.concatenate([matrix[:, 0], matrix[:, 1]]) for matrix in matrices]),
    }[representation]


@pytest.mark.parametrize("representation", REPRESENTATIONS[:4])
def test_every_representation_equals_scipy(representation: str):
    pose = random_pose(0, (2, 3))
    values = jitted_as(hand(), pose, representation)
    item = {"axis_angle": (45,), "matrix": (15, 3, 3), "quaternion": (15, 4), "6d": (15, 6)}[representation]
    assert values.shape == (2, 3, *item)
    np.testing.assert_allclose(
        np.asarray(values).reshape(expected(pose, representation).shape), expected(pose, representation), atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_there_and_back(representation: str, dtype: str):
    with jax.enable_x64(dtype == "float64"):
        for pose in (random_pose(1, (4,), dtype), np.zeros(45, dtype), random_pose(2, (), dtype) * 1e-6):
            back = jitted_from(hand(dtype), jitted_as(hand(dtype), pose, representation), representation)
            assert back.dtype == dtype
            np.testing.assert_allclose(back, pose, rtol=0.0, atol=4e-6 if dtype == "float32" else 1e-13)


def test_quaternions_of_any_length_and_sign():
    pose = random_pose(3)
    quaternions = np.asarray(jitted_as(hand(), pose, "quaternion"))
    scales = np.geomspace(1e-30, 1e30, 15)[:, None] * np.where(np.arange(15)[:, None] % 2, -1.0, 1.0)
    np.testing.assert_allclose(jitted_from(hand(), quaternions * scales, "quaternion"), pose, rtol=0.0, atol=2e-6)
    np.testing.assert_array_equal(jitted_from(hand(), np.zeros((15, 4)), "quaternion"), np.zeros(45))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-3.0, 3.0, width=32), min_size=6, max_size=6),
    st.sampled_from([1e-30, 1e-8, 1.0, 1e8, 1e30]),
    st.sampled_from([1e-30, 1.0, 1e30]),
)
def test_any_six_numbers_make_a_rotation(numbers: list[float], first: float, second: float):
    six = np.asarray(numbers, np.float32) * np.repeat([first, second], 3).astype(np.float32)
    matrix = np.asarray(from_6d(six), np.float64)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0, rtol=0.0, atol=1e-6)
    length = np.linalg.norm(six[:3].astype(np.float64))
    if length > 1e-30:
        np.testing.assert_allclose(matrix[:, 0], six[:3].astype(np.float64) / length, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    "six",
    [(0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 2, 0), (1, 0, 0, 3, 0, 0), (0, 1, 0, 0, -5, 0), (1, 1, 1, -1, -1, -1)],
)
def test_degenerate_6d_has_a_rotation_and_finite_derivatives(six: tuple[int, ...]):
    vectors = jnp.asarray(six, jnp.float32)
    matrix = np.asarray(from_6d(vectors), np.float64)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), rtol=0.0, atol=1e-6)
    for jacobian in (along_6d(vectors), back_6d(vectors)):
        assert np.isfinite(jacobian).all()
    if not any(six):
        np.testing.assert_array_equal(matrix, np.eye(3))


def test_6d_is_gram_schmidt_and_its_derivative_is_right():
    with jax.enable_x64(True):
        six = np.random.default_rng(4).normal(size=6) * np.array([5.0, 5.0, 5.0, 0.1, 0.1, 0.1])
        first = six[:3] / np.linalg.norm(six[:3])
        second = six[3:] - first * (first @ six[3:])
        second = second / np.linalg.norm(second)
        written_out = np.stack([first, second, np.cross(first, second)], axis=1)
        np.testing.assert_allclose(from_6d(six), written_out, rtol=0.0, atol=1e-14)
        along, back = along_6d(jnp.asarray(six)), back_6d(jnp.asarray(six))
        np.testing.assert_allclose(along, back, rtol=0.0, atol=1e-13)
        step = 1e-6 * np.eye(6)
        differences = np.stack([(from_6d(six + s) - from_6d(six - s)) / 2e-6 for s in step], axis=-1)
        np.testing.assert_allclose(along, differences, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("representation", ["matrix", "quaternion", "6d"])
def test_forward_of_matrices_is_forward(dtype: str, side: str, representation: str):
    with jax.enable_x64(dtype == "float64"):
        model = hand(dtype) if side == "right" else mirror_model(hand(dtype))
        random = np.random.default_rng(5)
        vectors = random_pose(6, (2,), dtype).reshape(2, 15, 3)
        vectors = np.concatenate([random.normal(size=(2, 1, 3)).astype(dtype), vectors], axis=1)
        shape, translation = random.normal(size=(2, 10)).astype(dtype), random.normal(size=3).astype(dtype)
        vectors = jnp.asarray(vectors)
        matrices = rotations.axis_angle_to_matrix(vectors)
        if representation == "quaternion":
            matrices = rotations.quaternion_to_matrix(rotations.axis_angle_to_quaternion(vectors))
        if representation == "6d":
            matrices = rotations.matrix_from_6d(rotations.matrix_to_6d(matrices))
        one = jitted_from_matrices(model, matrices, shape, translation)
        other = jitted_forward(model, vectors[:, 1:].reshape(2, 45), shape, vectors[:, 0], translation)
        tolerance = 1e-6 if dtype == "float32" else 1e-12
        for left, right in zip(one, other, strict=True):
            np.testing.assert_allclose(left, right, rtol=0.0, atol=tolerance)


jitted_forward = jax.jit(forward)
jitted_from_matrices = jax.jit(forward_from_matrices)


def test_wrong_names_and_shapes_are_refused():
    with pytest.raises(
        ValueError, match="must be one of axis_angle, matrix, quaternion, 6d, coefficients, got 'euler'"
    ):
        pose_as(hand(), np.zeros(45), "euler")
    with pytest.raises(ValueError, match=r"a pose as 6d must have shape \[\.\.\., 15, 6\], got \[45\]"):
        pose_from(hand(), np.zeros(45), "6d")
    with pytest.raises(ValueError, match=r"pose must have shape \[\.\.\., 45\], got \[44\]"):
        pose_as(hand(), np.zeros(44), "matrix")
    with pytest.raises(ValueError, match=r"rotations must have shape \[\.\.\., 16, 3, 3\], got \[15, 3, 3\]"):
        forward_from_matrices(hand(), np.zeros((15, 3, 3)), np.zeros(10), np.zeros(3))
