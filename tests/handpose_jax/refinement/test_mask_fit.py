"""Masks in the fit: motion of vertices, gradient and curvature of the outline, what a mask is worth."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.refinement.image_batches import fit_images, keypoint_starts, over_devices
from handpose_jax.refinement.image_fit import ImageFitOptions, image_equations, image_evidence
from handpose_jax.refinement.mask_term import mask_cost, mask_term, outline_weight, posed
from handpose_jax.refinement.problems import LEVELS, ProblemOptions
from handpose_jax.refinement.refinement_cases import before_and_after, errors, options_of, random_problems
from handpose_jax.refinement.vertex_motion import descendants, screen_jacobian, vertex_jacobian
from mano_jax import anatomy
from mano_jax.keypoint_model import HandParameters, KeypointModel

SIZE = 64
SIGMA = 1.25


@functools.cache
def model():
    return mano_jax.open_hand("right")


@functools.cache
def hand():
    return KeypointModel.of(model(), "745")


@functools.cache
def problems(count=2):
    return random_problems(3, model(), count, ProblemOptions(image_size=SIZE))


def true_parameters(row):
    given = problems()
    angles = anatomy.joint_angles(model(), given.pose[row]).reshape(45)
    return HandParameters(given.rotation[row], given.translation[row], given.shape[row], angles)


def view_of(row, weight=1.0):
    given = problems()
    K = np.asarray(given.K[row])
    seen = image_evidence(given.keypoints[row], given.K[row], given.mask[row], ImageFitOptions(mask_sigma=SIGMA))
    np.testing.assert_allclose(seen.mask.focal, [K[0, 0], K[1, 1]])
    return seen.mask._replace(weight=jnp.float32(weight))


def test_descendants_by_walking_up_the_tree():
    parents = model().parents
    expected = np.zeros((16, 16))
    for joint in range(16):
        above = joint
        while above >= 0:
            expected[above, joint] = 1.0
            above = parents[above]
    np.testing.assert_array_equal(descendants(parents), expected)


@pytest.mark.slow
def test_vertex_motion_is_that_of_skinning():
    parameters = true_parameters(0)
    flat = parameters.flatten()
    still = dataclasses.replace(model(), blend_basis=model().blend_basis.at[:135].set(0.0))
    mesh = jax.jit(posed)(hand(), still, parameters)
    found = jax.jit(vertex_jacobian)(hand(), still, parameters, mesh)
    expected = jax.jit(jax.jacfwd(lambda flat: posed(hand(), still, HandParameters.unflatten(flat)).vertices))(flat)
    np.testing.assert_allclose(found[:, :, :16], expected[:, :, :16], atol=1e-6)
    off = np.asarray(found - expected)[:, :, 16:]
    assert np.sqrt(np.mean(off**2)) < 0.03 * np.sqrt(np.mean(np.asarray(expected)[:, :, 16:] ** 2))
    assert np.abs(off).max() < 5e-3


def test_points_on_the_screen_move_as_they_are_projected():
    points = np.random.default_rng(0).normal(size=(5, 3)) * 0.05 + [0.0, 0.0, 0.5]
    focal = np.array([300.0, 280.0])
    motion = np.random.default_rng(1).normal(size=(5, 3, 2))
    found = screen_jacobian(jnp.float32(points), jnp.float32(motion), jnp.float32(focal), 0.02)

    def project(points):
        return focal * points[:, :2] / points[:, 2:]

    for column in range(2):
        step = 1e-6 * motion[:, :, column]
        np.testing.assert_allclose(
            found[:, :, column], (project(points + step) - project(points - step)) / 2e-6, rtol=1e-4
        )


def test_gradient_is_that_of_the_cost():
    view, start = view_of(0), true_parameters(0)
    assert hand().tips_model.side == model().side  # Both are made outside of `jit`.
    term = jax.jit(lambda flat: mask_term(hand(), model(), HandParameters.unflatten(flat), view, SIGMA))

    @jax.jit
    def cost(flat):
        return mask_cost(posed(hand(), model(), HandParameters.unflatten(flat)).vertices, model(), view, SIGMA)[0]

    mismatches = []
    # A little off, so that there is a gradient.
    for offset in ([0.004, -0.003, 0.0], [0.001, 0.0, 0.0], [0.0, 0.0, 0.03]):
        flat = start._replace(translation=start.translation + jnp.float32(offset)).flatten()
        found = term(flat)
        assert float(found.cost) == pytest.approx(float(cost(flat)), rel=1e-5)
        assert float(found.cost) > 1.0
        for column, step in ((0, 3e-4), (1, 3e-4), (2, 3e-4), (3, 3e-5), (4, 3e-5), (5, 3e-5), (16, 3e-4), (30, 3e-4)):
            change = np.zeros(61, np.float32)
            change[column] = step
            slope = (float(cost(flat + change)) - float(cost(flat - change))) / (2 * step)
            mismatches.append(abs(float(found.gradient[column]) - slope) / abs(slope))
    # The cost jumps where a gap between fingers opens or closes, which some of the differences step over.
    assert np.median(mismatches) < 0.01
    assert np.mean(np.array(mismatches) < 0.05) > 0.6


def test_curvature_is_of_the_order_of_the_true_one():
    view, start = view_of(0), true_parameters(0)
    term = jax.jit(lambda flat: mask_term(hand(), model(), HandParameters.unflatten(flat), view, SIGMA))
    found = term(start.flatten())
    assert np.linalg.eigvalsh(np.asarray(found.curvature, np.float64)).min() > -1e-3 * float(found.curvature.max())
    for column, step in ((0, 0.02), (2, 0.02), (3, 1.5e-3), (4, 1.5e-3)):
        change = np.zeros(61, np.float32)
        change[column] = step
        ahead, behind = term(start.flatten() + change), term(start.flatten() - change)
        true = float(ahead.gradient[column] - behind.gradient[column]) / (2 * step)
        assert 0.4 < float(found.curvature[column, column]) / true < 2.5


def test_weight_is_what_it_says():
    # A straight edge of 40 px, off by 0.3 px, over runs of 10 px: four independent ones of cost 1/2 each.
    sigma, off, run = 2.0, 0.3, 10.0
    x = np.arange(-20.0, 20.0, 0.01)

    def profile(x):
        return 1.0 / (1.0 + np.exp(-np.sign(x) * x * x / sigma))

    squares = 40.0 * np.sum((profile(x + off) - profile(x)) ** 2) * 0.01
    weight = float(outline_weight(sigma, jnp.float32(off), jnp.float32(run)))
    assert 0.5 * weight * squares == pytest.approx(2.0, rel=0.1)


def test_a_mask_of_weight_zero_changes_nothing():
    given, options = problems(), ImageFitOptions()
    start = true_parameters(0)
    flat = start._replace(translation=start.translation + jnp.float32([0.004, 0.0, 0.0])).flatten()
    without = image_evidence(given.keypoints[0], given.K[0], None, options)
    equations = jax.jit(lambda flat, seen: image_equations(model(), seen, options)(flat))
    alone = equations(flat, without)
    ignored, counted = (equations(flat, without._replace(mask=view_of(0, weight))) for weight in (0.0, 1.0))
    for one, other in zip(ignored, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    assert float(counted.cost) > float(alone.cost) + 1.0


@pytest.mark.slow
def test_masks_help_and_wrong_ones_do_little_harm():
    options = options_of(ProblemOptions(noise=5.0))
    right = random_problems(11, model(), 48, ProblemOptions(image_size=SIZE, noise=5.0))
    found = before_and_after(model(), right, options)
    assert found["masks"]["iou_given_true"] == 1.0
    assert found["keypoints and masks"]["root_vertex_mm"] < 0.85 * found["keypoints"]["root_vertex_mm"]
    assert found["keypoints and masks"]["iou"] > found["keypoints"]["iou"] + 0.03
    wrong = random_problems(11, model(), 48, dataclasses.replace(LEVELS["wrong masks"], image_size=SIZE))
    found = before_and_after(model(), wrong, options)
    assert 0.85 < found["masks"]["iou_given_true"] < 0.94
    assert found["keypoints and masks"]["root_vertex_mm"] < 1.03 * found["keypoints"]["root_vertex_mm"]


@pytest.mark.slow
def test_never_worse_by_its_own_cost_and_independent_of_the_batch():
    options = ImageFitOptions()
    given = random_problems(7, model(), 5, dataclasses.replace(LEVELS["hard"], image_size=SIZE))
    starts = keypoint_starts(model(), given.keypoints, given.K, options)
    arguments = (model(), given.keypoints, given.K, given.mask, starts)
    before = fit_images(*arguments, options=options, max_iterations=0)
    after = fit_images(*arguments, options=options, max_iterations=12)
    np.testing.assert_array_equal(before.parameters, starts)
    assert (np.asarray(after.cost) <= np.asarray(before.cost)).all()
    alone = fit_images(model(), *(array[2:3] for array in arguments[1:]), options=options, max_iterations=12)
    np.testing.assert_allclose(alone.parameters[0], after.parameters[2], atol=2e-3)
    found = errors(model(), after.parameters, given, SIZE)
    assert all(np.isfinite(np.asarray(values)).all() for values in found.values())


def test_uneven_shares_are_refused():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    doubled = over_devices(lambda whole, batch: whole[0] * batch[0], (2.0,), (jnp.arange(3.0),), mesh)
    np.testing.assert_array_equal(doubled, [0.0, 2.0, 4.0])
    two = dataclasses.make_dataclass("Two", ["size"])(2)
    with pytest.raises(ValueError, match="3 hands cannot be shared evenly by 2 devices"):
        over_devices(lambda whole, batch: batch[0], (), (jnp.arange(3.0),), two)


FOUR_DEVICES = """
import jax, numpy as np
import mano_jax
from handpose_jax.refinement.image_batches import fit_images, keypoint_starts
from handpose_jax.refinement.image_fit import ImageFitOptions
from handpose_jax.refinement.problems import ProblemOptions
from handpose_jax.refinement.refinement_cases import random_problems
from handpose_jax.training.sharding import data_mesh

model, options = mano_jax.open_hand("right"), ImageFitOptions()
given = random_problems(1, model, 8, ProblemOptions(image_size=48))
starts = keypoint_starts(model, given.keypoints, given.K, options)
arguments = (model, given.keypoints, given.K, given.mask, starts)
assert len(jax.devices()) == 4
one = fit_images(*arguments, options=options, max_iterations=6, at_once=2)
four = fit_images(*arguments, options=options, max_iterations=6, at_once=2, devices=data_mesh())
assert len(four.cost.sharding.device_set) == 4
# Rounding, six steps on: products of other sizes.
np.testing.assert_allclose(four.parameters, one.parameters, atol=1e-4)
np.testing.assert_allclose(four.cost, one.cost, rtol=1e-4)
# Before any step there is nothing that rounding could have grown in.
one = fit_images(*arguments, options=options, max_iterations=0, at_once=2)
four = fit_images(*arguments, options=options, max_iterations=0, at_once=2, devices=data_mesh())
np.testing.assert_array_equal(four.parameters, one.parameters)
np.testing.assert_allclose(four.cost, one.cost, rtol=2e-6)
"""


@pytest.mark.slow
def test_four_devices_find_what_one_finds():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES], check=True, env={**os.environ, "XLA_FLAGS": flags}, timeout=600
    )
