"""The projection operator: its formulas in NumPy, a pinhole at the root's depth, masks, and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
import render_jax
from handpose_jax.dhpe.configuration import Parametrisation
from handpose_jax.dhpe.normalisation import normalise, scale_at_depth
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.projection import MaskOptions, NdcHand, mask_target, project, project_mask, project_mesh

SMALL_MASK = MaskOptions(size=32)
jitted_mesh = jax.jit(project_mesh)


@functools.cache
def model() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


def random_hands(count: int, seed: int = 0) -> NdcHand:
    random = np.random.default_rng(seed)
    coefficients = 0.7 * random.normal(size=(count, 45)) * np.asarray(model().pose_standard_deviations)
    quaternion = random.normal(size=(count, 4))
    leaves = {
        "pose": np.asarray(mano_jax.pose_from_coefficients(model(), coefficients)),
        "shape": random.normal(size=(count, 10)),
        "quaternion": quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True),
        "scale": random.uniform(8.0, 13.0, count),
        "translation": random.uniform(-0.2, 0.2, (count, 2)),
    }
    return NdcHand(**{name: jnp.asarray(leaf, jnp.float32) for name, leaf in leaves.items()})


def turned(quaternion: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Rotation by a unit quaternion: p + 2 w (v x p) + 2 v x (v x p)."""
    w, v = quaternion[0], quaternion[1:]
    across = np.cross(v, points)
    return points + 2.0 * w * across + 2.0 * np.cross(v, across)


def test_mesh_and_joints_equal_the_formulas():
    hands = random_hands(3)
    found = jitted_mesh(model(), hands)
    regressor = np.asarray(mano_jax.keypoint_regressor(model()), np.float64)
    for i in range(3):
        pose, shape, quaternion, scale, translation = (np.asarray(leaf[i], np.float64) for leaf in hands)
        vertices = np.asarray(mano_jax.forward(model(), pose, shape, jnp.zeros(3), jnp.zeros(3)).vertices, np.float64)
        joints = regressor @ vertices
        mesh = scale * turned(quaternion, vertices - joints[9]) + [*translation, 0.0]
        skeleton = scale * turned(quaternion, joints - joints[9])
        np.testing.assert_allclose(found.vertices[i], mesh, rtol=0.0, atol=1e-5)
        np.testing.assert_allclose(found.joints_2d[i], skeleton[:, :2] + translation, rtol=0.0, atol=1e-5)
        np.testing.assert_allclose(found.joints_3d[i], skeleton / 2.0, rtol=0.0, atol=1e-5)
        np.testing.assert_allclose(found.model_vertices[i], vertices, rtol=0.0, atol=1e-6)
        np.testing.assert_array_equal(found.joints_3d[i, 9], 0.0)


@pytest.mark.parametrize(("depth", "tolerance"), [(0.6, 0.25), (6.0, 0.025), (60.0, 0.0025)])
def test_a_pinhole_at_the_roots_depth_projects_alike(depth: float, tolerance: float):
    """The same metric hand before a pinhole: exactly alike at the root's depth, everywhere as it recedes."""
    hand = jax.tree.map(lambda leaf: leaf[0], random_hands(1, seed=4))
    side, root = 224.0, np.array([0.1, -0.05, depth])
    camera = render_jax.Pinhole(fx=400.0 * depth / 0.6, fy=400.0 * depth / 0.6, cx=112.0, cy=112.0)
    scale = scale_at_depth(jnp.asarray(depth), camera, side)
    translation = camera.project(jnp.asarray(root, jnp.float32)) * (2.0 / side) - 1.0
    hand = hand._replace(scale=scale, translation=translation)
    mesh = jitted_mesh(model(), hand)
    metric = np.asarray(mesh.joints_3d, np.float64) * 2.0 / float(scale) + root  # Camera frame, metres.
    pixels = metric[:, :2] / metric[:, 2:] * float(camera.fx) + 112.0
    np.testing.assert_allclose(mesh.joints_2d, pixels * (2.0 / side) - 1.0, rtol=0.0, atol=tolerance)
    np.testing.assert_allclose(
        mesh.joints_3d, normalise(jnp.asarray(metric, jnp.float32), camera, side), rtol=0.0, atol=tolerance
    )
    # In the plane of the root's depth the agreement is exact at any distance.
    flat = np.concatenate([metric[:, :2], np.full((21, 1), depth)], axis=-1)
    in_plane = (flat[:, :2] / depth * float(camera.fx) + 112.0) * (2.0 / side) - 1.0
    np.testing.assert_allclose(mesh.joints_2d, in_plane, rtol=0.0, atol=2e-5)


@functools.cache
def drawn() -> tuple[NdcHand, jax.Array, jax.Array]:
    """Three hands, their meshes and masks of 32 pixels."""
    hands = random_hands(3, seed=1)
    mesh, masks = project(model(), hands, SMALL_MASK)
    return hands, mesh.vertices, masks


def test_the_mask_shows_what_the_mesh_covers():
    """Against the hard rasterizer's mask of the same mesh, binary and softened."""
    _, vertices, masks = drawn()
    screen = jnp.concatenate([(vertices[..., :2] + 1.0) * 16.0, vertices[..., 2:] + 9.0], axis=-1)
    faces = model().faces
    draw = jax.vmap(lambda mesh: render_jax.rasterize(mesh, faces, (32, 32), perspective=False).mask)
    hard = np.asarray(jax.jit(draw)(screen)) > 0.5
    assert hard.sum(axis=(1, 2)).min() > 100
    np.testing.assert_array_equal(np.asarray(masks) > 0.5, hard)
    softened = jax.jit(lambda mask: mask_target(mask, SMALL_MASK))(jnp.asarray(hard, jnp.float32))
    assert float(jnp.abs(softened - masks).mean()) < 0.03
    assert mask_target(masks, MaskOptions(size=32, mode="softras")) is masks


def test_x_is_right_and_y_is_down_and_batches_equal_single_hands():
    hands, vertices, masks = drawn()
    moves = jnp.array([[[0.0, 0.0, 0.0]], [[4 / 16, 0.0, 0.0]], [[5 / 16, 5 / 16, 5 / 16]]])
    moved = vertices[:1] + moves
    moved = jax.jit(project_mask, static_argnames="options")(model(), moved, SMALL_MASK)
    np.testing.assert_allclose(moved[0], masks[0], atol=1e-5)
    np.testing.assert_allclose(moved[1][:, 4:], masks[0][:, :-4], atol=1e-3)
    np.testing.assert_allclose(moved[2][5:, 5:], masks[0][:-5, :-5], atol=1e-3)
    one_by_one = jax.jit(jax.vmap(lambda hand: project(model(), hand, SMALL_MASK)))(hands)
    np.testing.assert_allclose(one_by_one[0].vertices, vertices, atol=1e-6)
    np.testing.assert_allclose(one_by_one[1], masks, atol=1e-5)


def test_a_batch_spread_over_devices_gives_the_same_masks():
    _, vertices, masks = drawn()
    devices = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    pair = jax.device_put(vertices[:2], jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec("data")))
    spread = jax.jit(lambda pair: project_mask(model(), pair, SMALL_MASK, devices))(pair)
    assert spread.sharding.spec[0] == "data"
    np.testing.assert_allclose(spread, masks[:2], rtol=0.0, atol=1e-6)


def test_meshes_out_of_view_or_not_finite_give_finite_masks():
    _, vertices, _ = drawn()
    odd = jnp.stack([vertices[0] + 50.0, vertices[0].at[5].set(jnp.nan), vertices[0] * 0.0])
    masks = jax.jit(project_mask, static_argnames="options")(model(), odd, SMALL_MASK)
    assert jnp.isfinite(masks).all()
    np.testing.assert_array_equal(masks[0], 0.0)
    assert masks[1].sum() > 50.0


@pytest.mark.parametrize("mode", ["outline", pytest.param("softras", marks=pytest.mark.slow)])
def test_gradients_by_h_equal_finite_differences(mode: str):
    """Of all three outputs at once, by all 63 numbers, in float64, along random directions."""
    with jax.enable_x64(True):
        hand_model = model().astype(jnp.float64)
        random = np.random.default_rng(6)
        flat = random.normal(size=63) * np.repeat([0.1, 0.5, 0.4, 0.1, 0.1], [45, 10, 4, 1, 3])
        weights = [jnp.asarray(random.normal(size=shape)) for shape in ((16, 16), (21, 2), (21, 3))]

        def value(flat):
            hand = decode(hand_model, HandVector.unflatten(flat), Parametrisation(initial_scale=9.0))
            mesh, mask = project(hand_model, hand, MaskOptions(size=16, sigma=0.8, mode=mode))
            outputs = (mask, mesh.joints_2d, mesh.joints_3d)
            return jnp.stack([jnp.sum(w * output) for w, output in zip(weights, outputs, strict=True)]).sum()

        compiled = jax.jit(jax.value_and_grad(value))
        _, gradient = compiled(jnp.asarray(flat))
        assert gradient[62] == 0.0  # t_z has no effect.
        assert np.all(np.asarray(gradient)[:62] != 0.0)
        for _ in range(5):
            direction = random.normal(size=63)
            step = 1e-6 * direction
            slope = (compiled(flat + step)[0] - compiled(flat - step)[0]) / 2e-6
            np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-4, atol=1e-4)
