"""Each equation against its NumPy transcription, and at its singular points."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.dhpe import losses
from handpose_jax.dhpe.configuration import LossOptions
from handpose_jax.dhpe.losses import LossTerms
from handpose_jax.dhpe.parameters import HandVector
from handpose_jax.networks import decode_score_maps, heat_maps_of_logits, render_heat_maps

RANDOM = np.random.default_rng(2)
OPTIONS = LossOptions()


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def close(found, expected) -> None:
    assert found.shape == ()
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_equation_2_features():
    whole, foreground = numbers(256), numbers(256)
    close(losses.feature_loss(jnp.asarray(whole), jnp.asarray(foreground)), ((whole - foreground) ** 2.0).sum())
    assert losses.feature_loss(jnp.asarray(whole), jnp.asarray(whole)) == 0.0


def test_equation_3_heat_maps():
    scores, target, weights = numbers(3, 8, 8, 21), numbers(8, 8, 21), RANDOM.uniform(size=21)
    expected = 0.0
    for stage in range(3):
        for k in range(21):
            expected += weights[k] * ((scores[stage, :, :, k] - target[:, :, k]).astype(np.float64) ** 2).sum()
    close(losses.heat_map_loss(jnp.asarray(scores), jnp.asarray(target), jnp.asarray(weights, jnp.float32)), expected)
    everywhere = losses.heat_map_loss(jnp.asarray(scores), jnp.asarray(target))
    close(everywhere, ((scores - target.astype(np.float64)) ** 2).sum())


def test_divergence_in_place_of_equation_3():
    scores, weights = numbers(2, 8, 8, 21), RANDOM.uniform(size=21)
    target = np.array(render_heat_maps(jnp.asarray(RANDOM.uniform(-0.8, 0.8, size=(21, 2)), jnp.float32), 8, 0.7))
    target[:, :, 5] = 0.0  # Far outside.
    expected = 0.0
    for stage in range(2):
        for k in set(range(21)) - {5}:
            p = target[:, :, k].astype(np.float64) / target[:, :, k].sum(dtype=np.float64)
            q = np.exp(scores[stage, :, :, k].astype(np.float64))
            q /= q.sum()
            expected += weights[k] * np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0) / q), 0.0))
    found = losses.heat_map_divergence(jnp.asarray(scores), jnp.asarray(target), jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_divergence_is_zero_at_the_target_and_blind_to_an_added_number():
    joints = jnp.asarray(RANDOM.uniform(-0.7, 0.7, size=(21, 2)), jnp.float32)
    target = render_heat_maps(joints, 8, 0.9)
    scores = jnp.log(target)[None] + 3.0
    value, slope = jax.value_and_grad(losses.heat_map_divergence)(scores, target)
    assert abs(float(value)) < 2e-5
    assert float(jnp.abs(slope).max()) < 1e-6
    nowhere = jax.grad(losses.heat_map_divergence)(scores, jnp.zeros_like(target))
    np.testing.assert_array_equal(nowhere, 0.0)
    # And such scores, shown as heat maps, are the target.
    np.testing.assert_allclose(heat_maps_of_logits(scores[0], 0.9).sum(axis=(0, 1)), 2 * np.pi * 0.81, rtol=1e-5)
    inside = heat_maps_of_logits(jnp.log(render_heat_maps(jnp.full((1, 2), 0.0625), 16, 0.9)), 0.9)
    np.testing.assert_allclose(inside.max(), 1.0, atol=1e-3)
    np.testing.assert_allclose(decode_score_maps(scores, subcell=True)[0], joints, atol=2e-4)


@pytest.mark.parametrize(
    ("loss", "size"), [(losses.refiner_loss, 2), (losses.articulation_loss, 3), (losses.projection_loss, 2)]
)
def test_equations_6_8_and_13_joints(loss, size: int):
    joints, truth, weights = numbers(21, size), numbers(21, size), RANDOM.uniform(size=21)
    squares = (joints.astype(np.float64) - truth) ** 2
    close(loss(jnp.asarray(joints), jnp.asarray(truth)), squares.sum())
    weighted = loss(jnp.asarray(joints), jnp.asarray(truth), jnp.asarray(weights, jnp.float32))
    close(weighted, (weights * squares.sum(axis=1)).sum())


def test_equation_9_masks():
    mask, truth = RANDOM.uniform(size=(2, 16, 16)).astype(np.float32)
    close(losses.shape_loss(jnp.asarray(mask), jnp.asarray(truth)), ((mask - truth) ** 2.0).mean())


TETRAHEDRON = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2]])  # Vertex 4 has no triangle.


def test_laplacian_of_an_open_mesh_with_a_lone_vertex():
    vertices = numbers(5, 3).astype(np.float64)
    neighbours = {0: [1, 2, 3], 1: [0, 2, 3], 2: [0, 1, 3], 3: [0, 1, 2]}
    norms = [np.linalg.norm(vertices[n].mean(axis=0) - vertices[i]) for i, n in neighbours.items()]
    matrix = losses.laplacian_matrix(TETRAHEDRON, 5)
    close(losses.laplacian_loss(jnp.asarray(vertices, jnp.float32), matrix), sum(norms) / 5)
    np.testing.assert_allclose(matrix.sum(axis=1), 0.0, atol=1e-6)


def test_laplacian_of_the_hand_shrinks_in_proportion_and_is_blind_to_place_and_turn():
    hand = mano_jax.open_hand("right")
    matrix = losses.laplacian_matrix(hand.faces, 778)
    value = losses.laplacian_loss(hand.template, matrix)
    np.testing.assert_allclose(losses.laplacian_loss(2.0 * hand.template, matrix), 2.0 * value, rtol=1e-5)
    turned = jnp.stack([hand.template[:, 1], -hand.template[:, 0], hand.template[:, 2]], axis=-1) + 0.1
    np.testing.assert_allclose(losses.laplacian_loss(turned, matrix), value, rtol=1e-4)
    for vertices in (hand.template, jnp.zeros((778, 3))):
        gradient = jax.grad(losses.laplacian_loss)(vertices, matrix)
        assert jnp.isfinite(gradient).all()


def test_equation_12_is_a_step_at_tau_pixels_of_224():
    truth = jnp.asarray(numbers(21, 2))
    direction = np.tile([0.6, 0.8], (21, 1)).astype(np.float32) * 2.0 / 224  # One pixel.
    for pixels, expected in ((0.0, 1.0), (14.9, 1.0), (15.1, 0.0), (100.0, 0.0)):
        assert losses.shape_schedule(truth + pixels * direction, truth, OPTIONS) == expected
    # The mean counts: half the joints exact, half 29 px off.
    half = truth + 29.0 * direction * (np.arange(21) % 2)[:, None]
    assert losses.shape_schedule(half, truth, OPTIONS) == 1.0
    seen = jnp.asarray(np.arange(21) % 2, jnp.float32)
    assert losses.shape_schedule(half, truth, OPTIONS, seen) == 0.0
    assert losses.shape_schedule(truth, truth, OPTIONS, jnp.zeros(21)) == 0.0
    gradient = jax.grad(lambda joints: losses.shape_schedule(joints, truth, OPTIONS))(truth)
    np.testing.assert_array_equal(gradient, 0.0)
    for schedule, expected in (("constant", 1.0), ("none", 0.0)):
        options = dataclasses.replace(OPTIONS, schedule=schedule)
        assert losses.shape_schedule(half + 9.0, truth, options) == expected


def test_squares_of_this_project():
    h = HandVector.unflatten(jnp.asarray(numbers(63)))
    hand = mano_jax.open_hand("right")
    close(losses.unused_depth_loss(h), float(h.translation[2]) ** 2)
    close(losses.shape_prior(h), (np.asarray(h.shape, np.float64) ** 2).sum())
    deviations = losses.pose_deviations(hand, "coefficients")
    close(losses.pose_prior(h, deviations), ((np.asarray(h.pose_coefficients) / np.asarray(deviations)) ** 2.0).sum())
    # Axis angles of many drawn coefficients spread as the closed form says.
    drawn = np.random.default_rng(0).normal(size=(4000, 45)) * np.asarray(deviations) @ np.asarray(hand.pose_basis)
    np.testing.assert_allclose(losses.pose_deviations(hand, "axis_angle"), drawn.std(axis=0), rtol=0.06)


def test_equation_7_weighs_each_instance_by_its_own_lambda():
    terms = LossTerms(*(jnp.asarray(numbers(2)) for _ in LossTerms._fields))
    names = ("articulation", "laplacian", "features", "refiner", "joints_2d", "projected_2d")
    names += ("unused_depth", "shape_prior", "pose_prior")
    others = sum(getattr(OPTIONS, name) * np.asarray(getattr(terms, name)) for name in names)
    expected = others + np.array([0.0, OPTIONS.shape]) * np.asarray(terms.shape)
    found = losses.total_loss(terms, jnp.array([0.0, 1.0]), OPTIONS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"schedule": "late"}, {"tau": 0.0}, {"heat_map_deviation": -1.0}])
def test_impossible_options(settings):
    with pytest.raises(ValueError, match="must be"):
        LossOptions(**settings)
