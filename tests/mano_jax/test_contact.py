"""Contact spheres fill the hand and nothing else; separated and sampled poses do not enter themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from mano_jax.contact import TOLERANCE, ContactSpheres, contact_depths, contact_energy, contact_spheres, separate
from mano_jax.open_hand_model.poses import named_pose
from tests.mano_jax import mesh_measures

NO_SHAPE = jnp.zeros(10)


@pytest.fixture(scope="module")
def hand() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


@pytest.fixture(scope="module")
def spheres(hand) -> ContactSpheres:
    return contact_spheres(hand)


@pytest.fixture(scope="module")
def sampled(hand, spheres) -> jax.Array:
    return jax.jit(mano_jax.sample_poses, static_argnums=2)(hand, jax.random.key(0), 100, spheres=spheres)


def crossed(hand) -> jax.Array:
    """A hand whose index and middle finger run through each other and whose thumb runs through the palm."""
    angles = np.zeros((15, 3))
    angles[0, 1], angles[3, 1] = -0.45, 0.45
    angles[12, 1], angles[13, 0] = 0.95, 1.0
    return mano_jax.pose_from_angles(hand, angles.astype(np.float32))


def vertices_of(hand, pose) -> np.ndarray:
    zero = jnp.zeros(3)
    return np.asarray(mano_jax.forward(hand, pose, NO_SHAPE, zero, zero).vertices, np.float64)


def penetration(hand, vertices: np.ndarray) -> float:
    return mesh_measures.penetration(vertices, hand.faces, np.asarray(hand.skinning_weights), hand.parents)


def test_spheres_lie_inside_and_leave_little_uncovered(hand, spheres):
    vertices, centres = np.asarray(hand.template, np.float64), np.asarray(spheres.points.template, np.float64)
    radii = np.asarray(spheres.radii, np.float64)
    apart = np.linalg.norm(vertices[:, None] - centres[None], axis=-1) - radii[None]
    assert apart.min() > -1e-5  # no vertex within a sphere
    assert apart.min(0).max() < 1e-5  # every sphere touches the skin
    (border,) = mesh_measures.border_loops(hand.faces)
    assert np.delete(apart.min(1), border).max() < 0.0012
    assert (mesh_measures.winding(centres, *mesh_measures.closed(vertices, hand.faces)) > 0.9).all()


def test_spheres_follow_pose_and_shape(hand, spheres):
    """Skin vertices stay outside of the spheres, all but a little, when the hand bends and grows."""
    pose = jnp.asarray(named_pose("half_closed"), jnp.float32)
    shape = jnp.asarray([1.5, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    zero = jnp.zeros(3)
    vertices = np.asarray(mano_jax.forward(hand, pose, shape, zero, zero).vertices)
    centres = np.asarray(mano_jax.forward(spheres.points, pose, shape, zero, zero).vertices)
    radii = np.asarray(spheres.radii + spheres.radius_basis @ shape)
    apart = np.linalg.norm(vertices[:, None] - centres[None], axis=-1) - radii[None]
    assert np.quantile(apart.min(0), 0.05) > -0.002
    assert np.quantile(apart.min(1), 0.95) < 0.002


def test_depths_are_those_of_spheres_that_may_meet(hand, spheres):
    pose = crossed(hand)
    depths = np.asarray(contact_depths(spheres, pose, NO_SHAPE))
    centres = np.asarray(vertices_of(spheres.points, pose))
    radii = np.asarray(spheres.radii, np.float64)
    part = np.asarray(spheres.points.skinning_weights).argmax(1)
    parents = np.array(hand.parents)
    neighbours = (part[:, None] == part[None]) | (parents[part][:, None] == part[None])
    neighbours |= part[:, None] == parents[part][None]
    assert np.isneginf(depths[neighbours]).all()
    finite = np.isfinite(depths)
    assert finite.mean() > 0.5
    wanted = radii[:, None] + radii[None] - np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    np.testing.assert_allclose(depths[finite], wanted[finite], atol=1e-6)
    assert depths.max() > 0.005
    assert contact_depths(spheres, jnp.zeros(45), NO_SHAPE).max() < -0.003


@pytest.mark.slow
def test_energy_has_the_gradient_of_differences(hand, spheres):
    pose = crossed(hand)
    gradient = np.asarray(jax.grad(lambda p: contact_energy(spheres, p, NO_SHAPE))(pose), np.float64)
    direction = gradient / np.linalg.norm(gradient)
    step = 2e-3 * direction.astype(np.float32)
    either = [float(contact_energy(spheres, pose + sign * step, NO_SHAPE)) for sign in (1, -1)]
    assert (either[0] - either[1]) / 4e-3 == pytest.approx(np.linalg.norm(gradient), rel=0.02)
    rest = jax.value_and_grad(lambda p: contact_energy(spheres, p, NO_SHAPE))(jnp.zeros(45))
    assert float(rest[0]) == 0.0
    np.testing.assert_array_equal(rest[1], 0.0)


def test_left_hand_is_the_mirror_image(hand, spheres):
    left = mano_jax.open_hand("left")
    pose = crossed(hand)
    right_energy = contact_energy(spheres, pose, NO_SHAPE)
    left_energy = contact_energy(contact_spheres(left), mano_jax.mirror_rotations(pose), NO_SHAPE)
    assert float(left_energy) == pytest.approx(float(right_energy), rel=1e-3)


@pytest.mark.slow
def test_separated_poses_are_free_near_and_within_limits(hand, spheres):
    free = jnp.asarray(named_pose("open"), jnp.float32)
    # Index and middle finger cross: the MCPs alone can undo it.
    angles = np.zeros((15, 3), np.float32)
    angles[0, 1], angles[3, 1] = -0.25, 0.1
    deep = mano_jax.pose_from_angles(hand, angles)
    poses = jnp.stack([free, deep, crossed(hand)])
    assert (contact_depths(spheres, poses[1:], NO_SHAPE).max((1, 2)) > 0.004).all()
    apart = separate(hand, spheres, poses, NO_SHAPE)
    np.testing.assert_array_equal(apart[0], free)
    assert float(contact_depths(spheres, apart, NO_SHAPE).max()) <= TOLERANCE + 1e-6
    for before, after in zip(poses[1:], apart[1:], strict=True):
        assert penetration(hand, vertices_of(hand, after)) < 0.5 * penetration(hand, vertices_of(hand, before))
    assert float(jnp.abs(apart[1] - deep).max()) < 0.45
    limits = mano_jax.joint_limits()
    found = np.asarray(mano_jax.joint_angles(hand, apart))
    assert (found > limits[None, ..., 0] - 1e-5).all()
    assert (found < limits[None, ..., 1] + 1e-5).all()


def test_spheres_need_a_mesh(hand):
    with pytest.raises(ValueError, match="expected a model with triangles"):
        contact_spheres(hand.at_vertices(range(100)))
    with pytest.raises(ValueError, match="got 1538 triangles and count 779"):
        contact_spheres(hand, 779)


def test_sampled_poses_keep_volume_and_do_not_enter_themselves(hand, sampled):
    rest = mesh_measures.volume(hand.template, hand.faces)
    vertices = vertices_of(hand, sampled)
    volumes = np.array([mesh_measures.volume(one, hand.faces) / rest for one in vertices])
    assert np.abs(volumes - 1).max() <= 0.08
    depths = np.array([penetration(hand, one) for one in vertices])
    assert depths.max() <= 0.002


def test_sampled_poses_are_varied_and_within_limits(hand, sampled):
    limits = mano_jax.joint_limits()
    angles = np.asarray(mano_jax.joint_angles(hand, sampled))
    assert (angles > limits[None, ..., 0] - 1e-5).all()
    assert (angles < limits[None, ..., 1] + 1e-5).all()
    # Freeing them from contact leaves most of the pose space's spread (the limits take some of it), and fists.
    found = np.sqrt(np.mean(np.var(np.asarray(sampled), axis=0)))
    assert found > 0.65 * np.sqrt(np.mean(np.square(hand.pose_standard_deviations)))
    curl = angles[:, :12, 0].reshape(100, 4, 3).sum(2)
    assert np.quantile(curl, 0.9) > 2.7
    assert np.quantile(curl, 0.1) < 0.5


@pytest.mark.slow
def test_first_samples_do_not_depend_on_the_count(hand, spheres, sampled):
    sample = jax.jit(mano_jax.sample_poses, static_argnums=2)
    few = sample(hand, jax.random.key(0), 3, spheres=spheres)
    np.testing.assert_allclose(few, sampled[:3], atol=2e-3)
    other = sample(hand, jax.random.key(1), 3, spheres=spheres)
    assert float(jnp.abs(other - few).max()) > 0.1


def test_sampling_refuses_a_negative_count(hand):
    with pytest.raises(ValueError, match="count must be 0 or more, got -1"):
        mano_jax.sample_poses(hand, jax.random.key(0), -1)
