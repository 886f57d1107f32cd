"""The exact mirror of models and parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from mano_jax import forward, keypoints, mirror_model, mirror_points, mirror_rotations, pose_from_coefficients
from tests.mano_jax.made_up_model import made_up_hand
from tests.mano_jax.reference import rotation_matrix

RIGHT = made_up_hand()
LEFT = mirror_model(RIGHT)
REFLECTION = np.diag([-1.0, 1.0, 1.0])
jitted_forward = jax.jit(forward)
jitted_keypoints = jax.jit(keypoints)


def random_parameters(seed: int, batch: tuple[int, ...]) -> tuple[jax.Array, ...]:
    random = np.random.default_rng(seed)
    return tuple(jnp.asarray(random.normal(size=(*batch, n)), jnp.float32) for n in (45, 10, 3, 3))


def test_mirrored_parameters_give_the_mirrored_hand():
    """Bit for bit but for the order of sums, which the compiler may choose differently: 1e-7 m."""
    pose, shape, rotation, translation = random_parameters(0, (6,))
    right = jitted_forward(RIGHT, pose, shape, rotation, translation)
    left = jitted_forward(LEFT, mirror_rotations(pose), shape, mirror_rotations(rotation), mirror_points(translation))
    np.testing.assert_allclose(left.vertices, mirror_points(right.vertices), rtol=0.0, atol=1e-7)
    np.testing.assert_allclose(left.joints, mirror_points(right.joints), rtol=0.0, atol=1e-7)
    points = jitted_keypoints(
        LEFT, mirror_rotations(pose), shape, mirror_rotations(rotation), mirror_points(translation)
    )
    np.testing.assert_allclose(
        points, mirror_points(jitted_keypoints(RIGHT, pose, shape, rotation, translation)), rtol=0.0, atol=2e-7
    )


def test_pose_coefficients_keep_their_meaning():
    coefficients = jnp.asarray(np.random.default_rng(1).normal(size=(3, 20)), jnp.float32)
    right, left = (pose_from_coefficients(model, coefficients) for model in (RIGHT, LEFT))
    np.testing.assert_array_equal(np.asarray(left), np.asarray(mirror_rotations(right)))


def test_mirror_is_its_own_inverse():
    twice = mirror_model(LEFT)
    assert twice.topology == RIGHT.topology
    for once, again in zip(jax.tree.leaves(RIGHT), jax.tree.leaves(twice), strict=True):
        np.testing.assert_array_equal(np.asarray(once), np.asarray(again))
    for function, size in ((mirror_points, 3), (mirror_rotations, 3), (mirror_rotations, 45)):
        values = jnp.asarray(np.random.default_rng(2).normal(size=(2, size)), jnp.float32)
        np.testing.assert_array_equal(np.asarray(function(function(values))), np.asarray(values))


def test_mirrored_rotations_are_conjugated_by_the_reflection():
    for vector in np.random.default_rng(3).normal(size=(5, 3)):
        mirrored = np.asarray(mirror_rotations(jnp.asarray(vector, jnp.float32)), np.float64)
        expected = REFLECTION @ rotation_matrix(vector) @ REFLECTION
        np.testing.assert_allclose(rotation_matrix(mirrored), expected, rtol=0.0, atol=1e-6)


def test_topology_of_the_mirrored_model():
    assert (RIGHT.side, LEFT.side) == ("right", "left")
    assert LEFT.parents == RIGHT.parents
    assert LEFT.topology.fingertip_vertices == RIGHT.topology.fingertip_vertices
    # Triangles are turned round, so that normals, mirrored, still point outwards.
    corners = {model.side: np.asarray(model.template, np.float64)[model.faces] for model in (RIGHT, LEFT)}
    normals = {side: np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]) for side, c in corners.items()}
    np.testing.assert_allclose(normals["left"], normals["right"] @ REFLECTION, rtol=0.0, atol=1e-12)
    derived = np.asarray(LEFT.joint_regressor) @ np.asarray(LEFT.template)
    np.testing.assert_allclose(LEFT.joint_template, derived, rtol=0.0, atol=1e-7)
