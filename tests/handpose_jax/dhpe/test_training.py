"""Examples against NumPy, and the terms of Eq. 7: of a hand that is right, of a moved one, of unknown joints."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.dhpe.configuration import SMALL_NETWORKS, DhpeOptions, LossOptions, Parametrisation
from handpose_jax.dhpe.losses import LossTerms
from handpose_jax.dhpe.networks import Estimate
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.dhpe.synthetic_batches import Batch, SyntheticDataOptions, cut_by_border, example_of
from handpose_jax.dhpe.training import DhpeTraining, loss_terms, resized_masks
from handpose_jax.networks import render_heat_maps
from handpose_jax.projection import MaskOptions, NdcMesh, project_mask, project_mesh
from handpose_jax.synthesis import SyntheticHand

OPTIONS = DhpeOptions(losses=LossOptions(mask=MaskOptions(size=16), heat_map_deviation=1.0))
SIZE = 64
CELLS = 8


@functools.cache
def model() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


def photographed() -> SyntheticHand:
    """A bent hand half a metre away; nothing is drawn."""
    vertices = np.asarray(model().template) + np.array([0.1, 0.0, 0.5], np.float32)
    K = np.array([[200.0, 0.0, 30.0], [0.0, 200.0, 34.0], [0.0, 0.0, 1.0]], np.float32)
    nothing = jnp.zeros(3)
    return SyntheticHand(
        image=jnp.full((SIZE, SIZE, 3), 0.5),
        mask=jnp.zeros((SIZE, SIZE)),  # all of it hidden
        keypoints=jnp.zeros((21, 2)),
        detected=jnp.zeros((21, 3)),
        joints=jnp.zeros((21, 3)),
        vertices=jnp.asarray(vertices),
        pose=jnp.zeros(45),
        shape=jnp.zeros(10),
        rotation=nothing,
        translation=nothing,
        K=jnp.asarray(K),
        left=jnp.asarray(False),
        full_mask=jnp.ones((SIZE, SIZE)),
        visible=jnp.zeros(21, bool),
    )


def test_an_example_in_numpy():
    hand = photographed()
    example = example_of(hand, model())
    joints = np.asarray(mano_jax.regress_keypoints(model(), hand.vertices), np.float64)
    u, v = (200.0 * joints[:, axis] / joints[:, 2] + centre for axis, centre in ((0, 30.0), (1, 34.0)))
    ndc = np.stack([2 * u / SIZE - 1, 2 * v / SIZE - 1], axis=1)
    np.testing.assert_allclose(example.joints_2d, ndc, atol=1e-5)
    # Half of NDC, from the middle MCP; depth in the same unit at its own depth.
    np.testing.assert_allclose(example.joints_3d[:, :2], 0.5 * (ndc - ndc[9]), atol=1e-5)
    depth = joints[9, 2]
    np.testing.assert_allclose(example.metres_per_edge, SIZE * depth / 200.0, rtol=1e-6)
    metres = np.asarray(example.joints_3d) * np.asarray(example.metres_per_edge)
    np.testing.assert_allclose(metres[:, 2], joints[:, 2] - depth, atol=1e-6)
    assert float(example.joint_weights.sum()) == 21.0
    assert float(example.mask_weight) == 1.0
    np.testing.assert_array_equal(example.masks, 1.0)


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(seed=st.integers(0, 2**31 - 1))
def test_borders_are_black_and_the_rest_is_as_it_was(seed: int):
    image = jnp.asarray(np.random.default_rng(0).uniform(0.1, 1.0, size=(20, 20, 3)), jnp.float32)
    key = jax.random.key(seed)
    np.testing.assert_array_equal(cut_by_border(key, image, 0.0), image)
    found = np.asarray(cut_by_border(key, image, 1.0))
    seen = (found != 0.0).all(axis=2)
    np.testing.assert_array_equal(found[seen], np.asarray(image)[seen])
    rows, columns = seen.any(axis=1), seen.any(axis=0)
    np.testing.assert_array_equal(seen, rows[:, None] & columns[None])
    for line in (rows, columns):
        assert line.sum() >= 14  # Of 20, at most 0.3 are beyond the border,
        assert line[0] or line[-1]  # which is on one side only.
        assert np.abs(np.diff(line.astype(int))).sum() <= 1


@functools.cache
def right_hands() -> tuple[HandVector, NdcMesh, np.ndarray]:
    """h of two hands at all three steps, what they project to, and their masks at 64 pixels."""
    rng = np.random.default_rng(0)
    flat = np.concatenate([rng.normal(size=(2, 45)) * 0.1, rng.normal(size=(2, 18)) * 0.05], axis=1)
    flat[:, -1] = 0.0
    h = HandVector.unflatten(jnp.asarray(flat, jnp.float32))

    @jax.jit
    def projected(hand_model: mano_jax.HandModel, h: HandVector) -> tuple[NdcMesh, jax.Array]:
        mesh = project_mesh(hand_model, decode(hand_model, h, Parametrisation()))
        return mesh, project_mask(hand_model, mesh.vertices, MaskOptions(size=64, sigma=0.05))

    mesh, masks = projected(model(), h)
    return h, mesh, (np.asarray(masks) > 0.5).astype(np.float32)


def batch_and_estimate(shift: float = 0.0) -> tuple[Batch, Estimate]:
    """Truth, and an estimate that is right but for the second hand, moved to the right by `shift`, NDC."""
    h, mesh, masks = right_hands()
    batch = Batch(
        images=jnp.zeros((2, SIZE, SIZE, 3)),
        masks=jnp.asarray(masks),
        joints_2d=mesh.joints_2d,
        joints_3d=mesh.joints_3d,
        joint_weights=jnp.ones((2, 21)),
        mask_weight=jnp.ones(2),
        metres_per_edge=jnp.ones(2),
    )
    move = jnp.asarray([[0.0, 0.0, 0.0], [shift, 0.0, 0.0]])
    moved = h._replace(translation=h.translation + move)
    projected = mesh.joints_2d + move[:, None, :2]
    heat = render_heat_maps(mesh.joints_2d, CELLS, OPTIONS.losses.heat_map_deviation)

    def steps(array: jax.Array, count: int = 3) -> jax.Array:
        return jnp.repeat(array[:, None], count, axis=1)

    estimate = Estimate(
        features=jnp.ones((2, 4)),
        foreground_features=jnp.ones((2, 4)),
        score_maps=steps(heat),
        h=jax.tree.map(steps, moved),
        joints_2d=steps(mesh.joints_2d, 4),
        projected_2d=steps(projected),
        joints_3d=steps(mesh.joints_3d),
    )
    return batch, estimate


@functools.cache
def compiled():
    return jax.jit(functools.partial(loss_terms, options=OPTIONS))


def terms_of(batch: Batch, estimate: Estimate) -> tuple[LossTerms, np.ndarray]:
    return jax.device_get(compiled()(estimate, batch, model()))


def test_the_right_hand_has_no_loss_and_a_moved_one_no_mask():
    (right, weight), (moved, moved_weight) = terms_of(*batch_and_estimate()), terms_of(*batch_and_estimate(0.25))
    for name in ("articulation", "features", "refiner", "joints_2d", "projected_2d", "unused_depth"):
        np.testing.assert_allclose(getattr(right, name), 0.0, atol=1e-9, err_msg=name)
    # Masks of 16 pixels, one drawn, one averaged from 64 and cut at one half: a part of the outline's pixels differs.
    assert right.shape.max() < 0.01
    np.testing.assert_array_equal(weight, 1.0)
    # 0.25 NDC are 28 pixels of 224, more than tau.
    np.testing.assert_array_equal(moved_weight, [1.0, 0.0])
    np.testing.assert_allclose(moved.projected_2d, [0.0, 21 * 0.25**2], rtol=1e-4, atol=1e-9)
    assert moved.shape[1] > 5 * right.shape[1]
    np.testing.assert_allclose(moved.articulation, 0.0, atol=1e-9)
    h = right_hands()[0]
    np.testing.assert_allclose(right.shape_prior, np.sum(np.asarray(h.shape) ** 2, axis=1), rtol=1e-5)


def test_joints_and_masks_without_truth_do_not_count():
    batch, estimate = batch_and_estimate(0.25)
    wrong = estimate._replace(
        joints_3d=estimate.joints_3d.at[:, :, 4].add(1.0),
        joints_2d=estimate.joints_2d.at[:, :, 4].add(1.0),
        foreground_features=2.0 * estimate.features,
    )
    counted, _ = terms_of(batch, wrong)
    np.testing.assert_allclose(counted.articulation, 3.0, rtol=1e-5)
    np.testing.assert_allclose(counted.refiner, 2.0, rtol=1e-5)
    np.testing.assert_allclose(counted.features, 4.0, rtol=1e-5)
    unknown = batch._replace(joint_weights=batch.joint_weights.at[:, 4].set(0.0), mask_weight=jnp.zeros(2))
    left_out, _ = terms_of(unknown, wrong)
    for name in ("articulation", "refiner", "features", "shape"):
        np.testing.assert_allclose(getattr(left_out, name), 0.0, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(left_out.projected_2d, [0.0, 20 * 0.25**2], rtol=1e-4, atol=1e-9)


def test_masks_are_averaged_when_made_smaller():
    masks = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 8, 8)), jnp.float32)
    small = np.asarray(resized_masks(masks, 4))
    np.testing.assert_allclose(small.mean(), masks.mean(), atol=0.03)
    np.testing.assert_allclose(resized_masks(jnp.ones((1, 8, 8)), 4), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(resized_masks(masks, 8), masks)


FOUR_AT_A_TIME = DhpeOptions(networks=SMALL_NETWORKS, losses=LossOptions(features_every=4))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (DhpeTraining, {"dhpe": DhpeOptions()}),  # 224 pixels, of images of 128
        (DhpeTraining, {"seed": -1}),
        (DhpeTraining, {"evaluation_images": 0}),
        (DhpeTraining, {"data": SyntheticDataOptions(batch_size=30), "dhpe": FOUR_AT_A_TIME}),
        (SyntheticDataOptions, {"batch_size": 0}),
        (SyntheticDataOptions, {"border_share": 1.5}),
    ],
)
def test_impossible_options(kind, settings):
    with pytest.raises(ValueError, match="must be"):
        kind(**settings)
