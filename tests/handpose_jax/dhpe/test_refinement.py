"""Eq. 13: terms against NumPy, the step against finite differences, independence within a batch, switches."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.dhpe.configuration import (
    TINY_NETWORKS,
    DhpeOptions,
    LossOptions,
    RefinementOptions,
)
from handpose_jax.dhpe.losses import laplacian_matrix, pose_deviations
from handpose_jax.dhpe.networks import Estimate, HandMeshEstimator, cut_out
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.dhpe.refinement import Refinement, refine, refinement_mask, shown_steps
from handpose_jax.projection import MaskOptions, project_mask, project_mesh
from tests.handpose_jax.dhpe.test_networks import made_up_variables

HANDS, STEPS, RATE = 3, 4, 1e-3
OPTIONS = DhpeOptions(
    networks=TINY_NETWORKS,
    losses=LossOptions(mask=MaskOptions(size=16, sigma=0.5)),
    refinement=RefinementOptions(
        steps=STEPS, optimizer="plain", step_size=RATE, mask_size=16, refine_2d=False, features=0.05, prior=1e-2
    ),
)


@functools.cache
def model() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


@functools.cache
def setting() -> tuple[dict[str, Any], np.ndarray, Estimate, np.ndarray]:
    """Variables, images, an estimate whose h is a plausible hand off its 2D joints, and true masks."""
    rng = np.random.default_rng(0)
    network = HandMeshEstimator(TINY_NETWORKS, OPTIONS.parametrisation)
    images = rng.uniform(size=(HANDS, 32, 32, 3)).astype(np.float32)
    h = jnp.asarray(rng.normal(size=(HANDS, 63)) * 0.1, jnp.float32)
    joints_2d = jnp.asarray(rng.uniform(-0.5, 0.5, size=(HANDS, 2, 21, 2)), jnp.float32)
    estimate = Estimate(
        features=jnp.asarray(rng.normal(size=(HANDS, 64)), jnp.float32),
        foreground_features=None,
        score_maps=jnp.zeros((HANDS, 1, 1, 1, 21)),
        h=HandVector.unflatten(h[:, None]),
        joints_2d=joints_2d,
        projected_2d=joints_2d[:, 1:],
        joints_3d=jnp.zeros((HANDS, 1, 21, 3)),
    )
    masks = np.zeros((HANDS, 32, 32), np.float32)
    masks[:, 8:24, 8:24] = 1.0
    return made_up_variables(network), images, estimate, masks


def refined(images: Any = None, estimate: Estimate | None = None) -> Refinement:
    """The same program whatever is put in."""
    variables, known_images, known_estimate, masks = setting()
    images = known_images if images is None else images
    return jax.device_get(refine(variables, model(), images, estimate or known_estimate, OPTIONS, masks))


@functools.cache
def result() -> Refinement:
    return refined()


def test_the_loss_falls_and_history_is_whole():
    found = result()
    assert found.losses.shape == found.iou.shape == (HANDS, STEPS + 1)
    assert (np.diff(found.losses, axis=1) < 0).all()
    start = setting()[2].prediction
    for known, first, last, end in zip(
        start, (leaf[:, 0] for leaf in found.history), (leaf[:, -1] for leaf in found.history), found.h, strict=True
    ):
        np.testing.assert_array_equal(known, first)
        np.testing.assert_array_equal(last, end)
    weights = OPTIONS.refinement
    total = sum(getattr(weights, name) * values for name, values in found.terms._asdict().items())
    np.testing.assert_allclose(found.losses, total, rtol=1e-6)


def test_terms_against_numpy():
    """At the start, in float64 from the mesh and the mask on."""
    variables, images, estimate, masks = setting()
    found, network = result(), HandMeshEstimator(TINY_NETWORKS, OPTIONS.parametrisation)
    h = estimate.prediction
    mesh = jax.jit(lambda model, h: project_mesh(model, decode(model, h, OPTIONS.parametrisation)))(model(), h)
    joints = np.asarray(mesh.joints_2d, np.float64) - np.asarray(estimate.joints_2d[:, -1])
    np.testing.assert_allclose(found.terms.joints_2d[:, 0], (joints**2).sum(axis=(1, 2)), rtol=1e-5)

    matrix = laplacian_matrix(model().faces, 778).astype(np.float64)
    surface = OPTIONS.parametrisation.initial_scale * np.asarray(mesh.model_vertices, np.float64)
    smooth = np.linalg.norm(np.einsum("ij,njc->nic", matrix, surface), axis=-1).mean(axis=1)
    np.testing.assert_allclose(found.terms.laplacian[:, 0], smooth, rtol=1e-4)

    deviations = np.asarray(pose_deviations(model(), "coefficients"), np.float64)
    prior = ((np.asarray(h.pose_coefficients) / deviations) ** 2).sum(axis=1) + (np.asarray(h.shape) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.terms.prior[:, 0], prior, rtol=1e-5)

    drawn = np.asarray(
        jax.jit(lambda model, v: project_mask(model, v, refinement_mask(OPTIONS)))(model(), mesh.vertices)
    )
    features = jax.jit(lambda v, x, m: network.apply(v, cut_out(x, m), method="features"))(variables, images, drawn)
    off = np.asarray(estimate.features, np.float64) - np.asarray(features)
    np.testing.assert_allclose(found.terms.features[:, 0], (off**2).sum(axis=1), rtol=1e-4)

    truth = masks[:, ::2, ::2] > 0.5
    both, either = ((drawn > 0.5) & truth).sum(axis=(1, 2)), ((drawn > 0.5) | truth).sum(axis=(1, 2))
    np.testing.assert_allclose(found.iou[:, 0], both / either, rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_plain_step_is_down_the_slope(seed):
    """h(1) - h(0) = -γ ∂L/∂h: its product with a direction against central differences of the loss."""
    estimate = setting()[2]
    direction = np.random.default_rng(seed).normal(size=(HANDS, 63))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    start, small = np.asarray(estimate.prediction.flatten()), 2e-3
    above, below = (
        refined(estimate=estimate._replace(h=HandVector.unflatten(jnp.asarray(moved[:, None], jnp.float32))))
        for moved in (start + small * direction, start - small * direction)
    )
    slope = (above.losses[:, 0] - below.losses[:, 0]) / (2 * small)
    moved = result().history.flatten()
    step = np.asarray(moved[:, 1] - moved[:, 0], np.float64)
    np.testing.assert_allclose((step * direction).sum(axis=1) / -RATE, slope, rtol=0.03, atol=0.03)


def test_instances_do_not_see_each_other():
    """Beside copies of itself an instance goes the same way; one of NaN stays where it is and harms no other."""
    _, images, estimate, _ = setting()
    copies = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:1]] * HANDS), estimate)
    alone = refined(np.repeat(images[:1], HANDS, axis=0), copies)
    for row in range(HANDS):
        np.testing.assert_allclose(alone.h.flatten()[row], result().h.flatten()[0], atol=1e-6)
    damaged = images.copy()
    damaged[1] = np.nan
    found = refined(damaged)
    np.testing.assert_array_equal(found.h.flatten()[1], estimate.prediction.flatten()[1])
    for row in (0, 2):
        np.testing.assert_allclose(found.h.flatten()[row], result().h.flatten()[row], atol=1e-6)


@pytest.mark.slow
def test_the_refiner_is_run_again_and_adam_steps_evenly():
    """j2D at the end is f_Ref's of the end; Adam's first step is its rate in every number that has a gradient."""
    variables, images, estimate, _ = setting()
    chosen = RefinementOptions(steps=2, step_size=0.01, features=0.0, laplacian=0.0)
    options = dataclasses.replace(OPTIONS, refinement=chosen)
    found = refine(variables, model(), images, estimate, options)
    network = HandMeshEstimator(TINY_NETWORKS, OPTIONS.parametrisation)

    @jax.jit
    def refiner(variables, model, h):
        joints = project_mesh(model, decode(model, h, OPTIONS.parametrisation)).joints_3d
        return network.apply(variables, estimate.features, h, joints, estimate.joints_2d[:, 0], method="refine_step")

    np.testing.assert_allclose(found.joints_2d, refiner(variables, model(), found.h), atol=1e-5)
    assert np.abs(np.asarray(found.joints_2d) - refiner(variables, model(), estimate.prediction)).max() > 1e-5
    first = np.abs(np.diff(np.asarray(found.history.flatten()), axis=1))[:, 0]
    np.testing.assert_allclose(first[:, :62], 0.01, rtol=1e-2)
    np.testing.assert_array_equal(first[:, 62], 0.0)  # t_z has no effect
    np.testing.assert_array_equal(found.terms.features, 0.0)
    np.testing.assert_array_equal(found.terms.laplacian, 0.0)
    assert np.isnan(found.iou).all()


def test_joints_of_the_score_maps_by_their_confidence_and_a_prior_of_the_estimate():
    variables, images, estimate, _ = setting()
    peaks = np.random.default_rng(4).uniform(0.1, 1.5, size=(HANDS, 21))
    scores = np.zeros((HANDS, 1, 4, 4, 21), np.float32)
    scores[:, 0, 1, 2] = peaks
    estimate = estimate._replace(score_maps=jnp.asarray(scores))
    chosen = RefinementOptions(
        steps=1, optimizer="plain", step_size=0.01, features=0.0, target="score_maps", prior_of="estimate"
    )
    found = refine(variables, model(), images, estimate, dataclasses.replace(OPTIONS, refinement=chosen))
    mesh = jax.jit(lambda model, h: project_mesh(model, decode(model, h, OPTIONS.parametrisation)))(
        model(), estimate.prediction
    )
    squares = ((np.asarray(mesh.joints_2d, np.float64) - np.asarray(estimate.joints_2d[:, 0])) ** 2).sum(axis=2)
    expected = (np.minimum(peaks, 1.0) ** 2 * squares).sum(axis=1)
    np.testing.assert_allclose(found.terms.joints_2d[:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.joints_2d, estimate.joints_2d[:, 0])

    before, after = (jax.tree.map(lambda leaf, t=t: np.asarray(leaf[:, t], np.float64), found.history) for t in (0, 1))
    pose = (after.pose_coefficients - before.pose_coefficients) / np.asarray(pose_deviations(model(), "coefficients"))
    parts = pose, after.shape - before.shape, (after.rotation - before.rotation) / 0.22
    np.testing.assert_array_equal(found.terms.prior[:, 0], 0.0)
    np.testing.assert_allclose(found.terms.prior[:, 1], sum((part**2).sum(axis=1) for part in parts), rtol=1e-3)


def test_no_steps_change_nothing():
    """And without 2D joints the network has no j2D to be compared with."""
    variables, images, estimate, _ = setting()
    none = RefinementOptions(steps=0, features=0.0, laplacian=0.0)
    options = dataclasses.replace(
        OPTIONS, refinement=none, networks=dataclasses.replace(TINY_NETWORKS, use_2d=False, refine_2d=False)
    )
    found = refine(variables, model(), images, estimate, options)
    np.testing.assert_array_equal(found.h.flatten(), estimate.prediction.flatten())
    np.testing.assert_array_equal(found.joints_2d, estimate.joints_2d[:, -1])
    assert found.losses.shape == (HANDS, 1)
    np.testing.assert_array_equal(found.terms.joints_2d, 0.0)


def test_shown_steps():
    assert shown_steps(50) == (0, 1, 2, 5, 10, 50)
    assert shown_steps(0) == (0,)
    assert shown_steps(7) == (0, 1, 2, 5, 7)
