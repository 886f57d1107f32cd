"""Joint errors against an independent float64 reference, by invariances and on degenerate input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from handpose_jax.evaluation.metrics import (
    METRICS,
    joint_errors,
    mean_joint_errors_mm,
    procrustes_errors,
    root_scale_errors,
    similarity_alignment,
)


def random_hand(rng: np.random.Generator, scale: float = 0.05) -> np.ndarray:
    return rng.normal(size=(21, 3)) * scale + np.array([0.02, -0.03, 0.5])


def random_rotation(seed: int) -> Rotation:
    return Rotation.from_quat(np.random.default_rng(seed).normal(size=4))


def reference_errors(prediction: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Float64, one frame, all joints known; the rotation comes from scipy's own solver of Wahba's problem."""

    def distance(a, b):
        return np.linalg.norm(a - b, axis=1)

    p, t = prediction - prediction[0], truth - truth[0]
    scale = np.linalg.norm(t[9]) / np.linalg.norm(p[9])
    pc, tc = prediction - prediction.mean(0), truth - truth.mean(0)
    rotation = Rotation.align_vectors(tc, pc)[0]
    turned = rotation.apply(pc)
    best = (turned * tc).sum() / (turned * turned).sum()
    return {
        "absolute": distance(prediction, truth),
        "root": distance(p, t),
        "root_scale": distance(p * scale, t),
        "procrustes": distance(best * turned, tc),
    }


def test_all_errors_equal_the_reference():
    rng = np.random.default_rng(0)
    truth = np.stack([random_hand(rng) for _ in range(20)])
    prediction = truth + rng.normal(size=truth.shape) * 0.02
    prediction[10:] = np.stack([random_hand(rng) for _ in range(10)])  # nothing alike
    errors = joint_errors(prediction, truth)
    for frame in range(20):
        for name, expected in reference_errors(prediction[frame], truth[frame]).items():
            np.testing.assert_allclose(errors[name][frame], expected, atol=1e-12, err_msg=f"{name} of frame {frame}")


def test_procrustes_is_the_least_squares_optimum():
    """No rotation, scale and translation found by a general optimiser is better."""
    rng = np.random.default_rng(1)
    truth, prediction = random_hand(rng), random_hand(rng)
    errors = joint_errors(prediction[None], truth[None])["procrustes"][0]

    def cost(x):
        return ((np.exp(x[3]) * Rotation.from_rotvec(x[:3]).apply(prediction) + x[4:] - truth) ** 2).sum()

    starts = [np.concatenate([random_rotation(i).as_rotvec(), [0.0], truth.mean(0)]) for i in range(12)]
    best = min(minimize(cost, start, method="BFGS", options={"gtol": 1e-12}).fun for start in starts)
    assert (errors**2).sum() <= best * (1 + 1e-4)
    assert (errors**2).sum() >= best * (1 - 1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.2, 5.0))
def test_alignment_undoes_any_similarity(seed, scale):
    rng = np.random.default_rng(seed)
    truth = random_hand(rng)
    rotation = random_rotation(seed).as_matrix()
    prediction = scale * truth @ rotation.T + rng.normal(size=3)
    errors = joint_errors(prediction[None], truth[None])
    assert errors["procrustes"].max() < 1e-12


def test_a_mirrored_hand_is_not_aligned():
    rng = np.random.default_rng(2)
    truth = random_hand(rng)
    mirrored = truth * (-1.0, 1.0, 1.0)
    errors = joint_errors(mirrored[None], truth[None])["procrustes"][0]
    np.testing.assert_allclose(errors, reference_errors(mirrored, truth)["procrustes"], atol=1e-12)
    assert errors.mean() > 0.005
    alignment = similarity_alignment(jnp.asarray(mirrored, jnp.float32), jnp.asarray(truth, jnp.float32))
    assert float(jnp.linalg.det(alignment.rotation)) == pytest.approx(1.0, abs=1e-5)


def test_root_metrics_ignore_translation_and_root_scale_ignores_scale():
    rng = np.random.default_rng(3)
    truth, prediction = random_hand(rng)[None], random_hand(rng)[None]
    moved = joint_errors(prediction + 0.7, truth)
    plain = joint_errors(prediction, truth)
    for name in ("root", "root_scale", "procrustes"):
        np.testing.assert_allclose(moved[name], plain[name], atol=1e-12)
    wider = prediction[:, :1] + 3.0 * (prediction - prediction[:, :1])
    np.testing.assert_allclose(joint_errors(wider, truth)["root_scale"], plain["root_scale"], atol=1e-12)


def test_golden_shift_of_one_joint():
    """One fingertip 21 mm off, by hand: absolute and root means are 1 mm."""
    rng = np.random.default_rng(4)
    truth = random_hand(rng)[None]
    prediction = truth.copy()
    prediction[0, 8, 1] += 0.021
    means = mean_joint_errors_mm(prediction, truth)
    assert means["absolute"] == pytest.approx(1.0, abs=1e-9)
    assert means["root"] == pytest.approx(1.0, abs=1e-9)
    assert means["root_scale"] == pytest.approx(1.0, abs=1e-9)
    # The best alignment spreads the one error over all joints, and its sum of squares can only fall.
    errors = joint_errors(prediction, truth)
    assert (errors["procrustes"] > 0).all()
    assert (errors["procrustes"] ** 2).sum() < 0.021**2


def test_joints_without_truth_take_no_part():
    rng = np.random.default_rng(5)
    truth = random_hand(rng)
    prediction = truth + rng.normal(size=truth.shape) * 0.01
    hidden = truth.copy()
    hidden[[4, 20]] = np.nan
    spoiled = prediction.copy()
    spoiled[[4, 20]] += 10.0
    errors = joint_errors(spoiled[None], hidden[None])
    known = np.isfinite(hidden).all(axis=1)
    reference = reference_errors(prediction, truth)
    np.testing.assert_allclose(errors["root"][0][known], reference["root"][known], atol=1e-12)
    assert np.isnan(errors["procrustes"][0][~known]).all()
    # Aligned on the 19 known joints only, by the same independent reference.
    p, t = prediction[known], hidden[known]
    rotation = Rotation.align_vectors(t - t.mean(0), p - p.mean(0))[0]
    turned = rotation.apply(p - p.mean(0))
    scale = (turned * (t - t.mean(0))).sum() / (turned**2).sum()
    expected = np.linalg.norm(scale * turned - (t - t.mean(0)), axis=1)
    np.testing.assert_allclose(errors["procrustes"][0][known], expected, atol=1e-12)


def test_mean_is_over_joints_then_frames_and_counts_what_is_missing():
    truth = np.zeros((4, 21, 3))
    truth[:, :, 0] = np.arange(21) * 0.01
    prediction = truth + np.array([0.001, 0.003, 0.0, 0.0])[:, None, None] * (0.0, 1.0, 0.0)
    truth[1, 5:] = np.nan  # five joints count as much as twenty-one
    prediction[2] = np.nan  # a hand that was not fitted
    truth[3] = np.nan
    means = mean_joint_errors_mm(prediction, truth)
    assert means["absolute"] == pytest.approx((1.0 + 3.0) / 2, abs=1e-9)
    assert (means["frames"], means["frames_without_prediction"]) == (2, 1)


def test_nothing_to_measure_is_not_zero():
    means = mean_joint_errors_mm(np.full((1, 21, 3), np.nan), np.zeros((1, 21, 3)))
    assert np.isnan(means["absolute"])
    assert means["frames"] == 0


@pytest.mark.parametrize(
    "points",
    [
        np.tile([0.1, 0.2, 0.5], (21, 1)),  # all in one point
        np.arange(21)[:, None] * np.array([[0.01, 0.02, -0.01]]),  # a line
        np.stack([np.cos(np.arange(21)), np.sin(np.arange(21)), np.zeros(21)], axis=1) * 0.05,  # a plane
    ],
)
def test_degenerate_sets(points):
    rng = np.random.default_rng(6)
    truth = random_hand(rng)
    # A set aligned with itself, turned, leaves nothing.
    turned = points @ random_rotation(3).as_matrix().T + 0.3
    assert joint_errors(turned[None], points[None])["procrustes"].max() < 1e-12
    # Against a hand it is finite, and never worse than shrinking to the hand's centre.
    errors = joint_errors(points[None], truth[None])["procrustes"][0]
    assert np.isfinite(errors).all()
    assert (errors**2).sum() <= ((truth - truth.mean(0)) ** 2).sum() * (1 + 1e-5)


def test_root_scale_of_a_prediction_without_length_is_nan():
    truth = random_hand(np.random.default_rng(7))
    prediction = jnp.zeros((21, 3))
    assert np.isnan(np.asarray(root_scale_errors(prediction, jnp.asarray(truth, jnp.float32)))).all()


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e3, 1e9])
def test_extreme_sizes(size):
    rng = np.random.default_rng(8)
    truth = jnp.asarray(rng.normal(size=(21, 3)), jnp.float32)
    prediction = jnp.asarray(size * np.asarray(truth) @ random_rotation(1).as_matrix().T, jnp.float32)
    assert float(procrustes_errors(prediction, truth).max()) < 1e-5


def test_gradients_are_finite_at_a_perfect_prediction():
    truth = jnp.asarray(random_hand(np.random.default_rng(9)), jnp.float32)
    for name in ("absolute", "root", "root_scale"):
        gradient = jax.grad(lambda p, metric=METRICS[name]: metric(p, truth).mean())(truth)
        assert np.isfinite(np.asarray(gradient)).all(), name


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\[frames, joints, 3\]"):
        joint_errors(np.zeros((2, 21, 3)), np.zeros((3, 21, 3)))
