"""Rigid motions of parameters, centring, joint transforms, shaped models and low-precision bases."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from mano_jax import MODEL_JOINT_NAMES, forward, joint_transforms, keypoints, mirror_model, rigid, skinning_transforms
from mano_jax.anatomy import joint_limits, pose_from_angles
from tests.mano_jax import reference
from tests.mano_jax.made_up_model import made_up_fields, made_up_hand
from tests.mano_jax.test_forward import random_parameters

jitted_forward = jax.jit(forward)
jitted_rigid = jax.jit(rigid)


@functools.cache
def hand(side: str = "right", dtype: str = "float32"):
    return made_up_hand(dtype=dtype) if side == "right" else mirror_model(made_up_hand(dtype=dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_rigid_moves_the_mesh_as_the_world_does(side: str, dtype: str):
    with jax.enable_x64(dtype == "float64"):
        model = hand(side, dtype)
        pose, shape, rotation, translation = random_parameters(1, (3,), dtype)
        turn = np.asarray(reference.rotation_matrix((0.4, -1.9, 1.1)), dtype)
        shift = np.array([0.3, -0.1, 0.7], dtype)
        still = jitted_forward(model, pose, shape, rotation, translation)
        moved = jitted_forward(model, pose, shape, *jitted_rigid(model, shape, rotation, translation, turn, shift))
        tolerance = 2e-6 if dtype == "float32" else 1e-12
        for name in ("vertices", "joints"):
            points = np.asarray(getattr(still, name), np.float64) @ turn.T.astype(np.float64) + shift
            np.testing.assert_allclose(getattr(moved, name), points, rtol=0.0, atol=tolerance)


def test_rigid_broadcasts_and_checks():
    _, shape, rotation, translation = random_parameters(2, (4, 1))
    turns = np.stack([reference.rotation_matrix((0.0, angle, 0.0)) for angle in (0.0, 0.5, 1.0)])
    new_rotation, new_translation = jitted_rigid(hand(), shape[0, 0], rotation, translation[0, 0], turns, np.zeros(3))
    assert new_rotation.shape == new_translation.shape == (4, 3, 3)
    one = jitted_rigid(hand(), shape[0, 0], rotation[2, 0], translation[0, 0], turns[1], np.zeros(3))
    np.testing.assert_allclose(one[0], new_rotation[2, 1], rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(one[1], new_translation[2, 1], rtol=0.0, atol=1e-6)
    with pytest.raises(ValueError, match=r"world_rotation must be matrices \[\.\.\., 3, 3\], got \[3\]"):
        rigid(hand(), shape[0, 0], rotation[0, 0], translation[0, 0], np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("joint", ["wrist", "middle_mcp", "thumb_ip"])
def test_centring_keeps_where_the_hand_was(joint: str):
    mesh = jitted_forward(hand(), *random_parameters(3, (2,)))
    centred, centre = mano_jax.centre_on(mesh, joint)
    np.testing.assert_array_equal(centred.joints[:, MODEL_JOINT_NAMES.index(joint)], np.zeros((2, 3)))
    np.testing.assert_allclose(centred.vertices + centre[:, None], mesh.vertices, rtol=0.0, atol=1e-7)
    np.testing.assert_allclose(centred.joints + centre[:, None], mesh.joints, rtol=0.0, atol=1e-7)
    with pytest.raises(ValueError, match=r"joint must be one of wrist, index_mcp, .*, got 'palm'"):
        mano_jax.centre_on(mesh, "palm")


def test_transforms_of_joints():
    pose, shape, rotation, translation = random_parameters(4, (2,))
    mesh = jitted_forward(hand(), pose, shape, rotation, translation)
    frames = np.asarray(joint_transforms(mesh))
    np.testing.assert_array_equal(frames[:, :, :3, 3], mesh.joints)
    np.testing.assert_array_equal(frames[..., 3, :], np.broadcast_to([0, 0, 0, 1], (2, 16, 4)))
    # A child's frame in its parent's: rotated by the pose, placed by the rest joints.
    local = np.linalg.inv(frames[0, 1]) @ frames[0, 2]
    np.testing.assert_allclose(local[:3, :3], reference.rotation_matrix(pose[0, 3:6]), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_skinning_transforms_skin_the_template(batch: tuple[int, ...]):
    """Linear blend skinning by hand, in NumPy, of a model without pose correctives."""
    pose, shape, rotation, translation = random_parameters(5, batch)
    shape = shape.reshape(-1, 10)[0]
    model = hand()
    plain = dataclasses.replace(model, blend_basis=model.blend_basis.at[:135].set(0.0))
    mesh = jitted_forward(plain, pose, shape, rotation, translation)
    transforms = np.asarray(skinning_transforms(plain, mesh, shape), np.float64)
    rest = np.asarray(plain.template + plain.shape_basis @ shape, np.float64)
    rest = np.concatenate([rest, np.ones((778, 1))], axis=1)
    blended = np.einsum("vj,...jab->...vab", np.asarray(plain.skinning_weights, np.float64), transforms)
    np.testing.assert_allclose(
        mesh.vertices, np.einsum("...vab,vb->...va", blended, rest)[..., :3], rtol=0.0, atol=1e-6
    )


@pytest.mark.parametrize("components", [0, 4, 10])
def test_shaped_model_is_the_model_at_that_shape(components: int):
    pose, shape, rotation, translation = random_parameters(6, (2,))
    shaped = hand().shaped(shape[0, :components])
    assert shaped.shape_size == 0
    mesh = jitted_forward(shaped, pose, np.zeros(0), rotation, translation)
    for row in range(2):
        vertices, joints, _ = reference.hand(
            made_up_fields(), pose[row], shape[0, :components], rotation[row], translation[row]
        )
        np.testing.assert_allclose(mesh.vertices[row], vertices, rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(mesh.joints[row], joints, rtol=0.0, atol=1e-6)
    with pytest.raises(ValueError, match=r"shape must be one vector of at most 10 numbers, got \[2, 10\]"):
        hand().shaped(shape)


def test_a_shape_shared_by_a_batch_is_blended_once():
    pose, shape, rotation, translation = random_parameters(7, (64,))

    def operations(shape: np.ndarray) -> float:
        analysis: dict = jax.jit(forward).lower(hand(), pose, shape, rotation, translation).cost_analysis()  # pyright: ignore
        return analysis["flops"]

    # Ten shape components of 778 vertices, a multiplication and an addition each, for 64 hands or for one.
    saved = operations(shape) - operations(shape[0])
    assert saved > 0.95 * 63 * 2 * 10 * (778 + 16) * 3
    mesh = jitted_forward(hand(), pose, shape[:1], rotation, translation)
    each = jitted_forward(hand(), pose, np.repeat(shape[:1], 64, axis=0), rotation, translation)
    np.testing.assert_allclose(mesh.vertices, each.vertices, rtol=0.0, atol=1e-6)


def test_gradient_by_a_shared_shape_is_the_sum_over_the_batch():
    pose, shape, rotation, translation = random_parameters(8, (3,))

    def height(shape):
        return jnp.sum(keypoints(hand(), pose, shape, rotation, translation)[..., 1])

    gradient = jax.jit(jax.grad(height))
    shared = gradient(jnp.asarray(shape[0]))
    each = gradient(jnp.repeat(jnp.asarray(shape[:1]), 3, axis=0))
    np.testing.assert_allclose(shared, each.sum(axis=0), rtol=0.0, atol=1e-6)


def test_model_without_vertices_gives_joints_alone():
    parameters = random_parameters(9, (2,))
    mesh = jitted_forward(hand().at_vertices(()), *parameters)
    assert mesh.vertices.shape == (2, 0, 3)
    np.testing.assert_allclose(mesh.joints, jitted_forward(hand(), *parameters).joints, rtol=0.0, atol=1e-7)


def test_bfloat16_bases_on_the_open_hand():
    """The error that the docs state: below 0.2 mm within joint limits and three standard deviations of shape."""
    model = mano_jax.open_hand()
    low = model.with_bases(jnp.bfloat16)
    assert low.blend_basis.dtype == jnp.bfloat16
    assert low.dtype == jnp.float32
    random = np.random.default_rng(10)
    limits = joint_limits()
    pose = jax.jit(pose_from_angles)(model, random.uniform(limits[..., 0], limits[..., 1], size=(200, 15, 3)))
    shape = np.clip(random.normal(size=(200, model.shape_size)), -3.0, 3.0)
    exact = jitted_forward(model, pose, shape, np.zeros(3), np.zeros(3))
    rounded = jitted_forward(low, pose, shape, np.zeros(3), np.zeros(3))
    assert rounded.vertices.dtype == jnp.float32
    errors = np.linalg.norm(np.asarray(rounded.vertices) - np.asarray(exact.vertices), axis=-1)
    assert 0.0 < errors.max() < 2e-4
    assert errors.mean() < 3e-5
    np.testing.assert_array_equal(rounded.joints, exact.joints)
