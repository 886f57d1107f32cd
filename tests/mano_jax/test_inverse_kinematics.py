"""Inverse kinematics: keypoints and meshes come back, both sides, any order, with points missing and in sequences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from mano_jax import (
    HandModel,
    forward,
    keypoints,
    mirror_points,
    open_hand,
    pose_from_coefficients,
    reorder_keypoints,
    solve_keypoint_sequence,
    solve_keypoints,
    solve_vertices,
)
from mano_jax.anatomy import clip_to_limits, joint_limits, pose_from_angles
from mano_jax.kinematic_start import kabsch, shortest_turn
from tests.mano_jax import reference

jitted_keypoints = jax.jit(keypoints)
jitted_forward = jax.jit(forward)
jitted_solve_any = jax.jit(solve_keypoints, static_argnames=("order", "tips"))
jitted_sequence = jax.jit(solve_keypoint_sequence)
jitted_solve_vertices = jax.jit(solve_vertices)


def jitted_solve(model: HandModel, points, confidence=None, sigma=5e-5):
    """32 hands at a time: one compiled program for most tests."""
    confidence = np.ones(points.shape[:2], np.float32) if confidence is None else confidence
    parts = [
        jitted_solve_any(model, points[i : i + 32], confidence=confidence[i : i + 32], sigma=sigma)
        for i in range(0, len(points), 32)
    ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@functools.cache
def hand(side: str = "right") -> HandModel:
    return open_hand(side)


def plausible(seed: int, count: int, side: str = "right") -> tuple:
    """Poses of the model's own statistics, cut at the joint limits; any place and orientation."""
    random = np.random.default_rng(seed)
    coefficients = random.normal(size=(count, 45)) * np.asarray(hand(side).pose_standard_deviations)
    pose = clip_to_limits(hand(side), pose_from_coefficients(hand(side), coefficients))
    return pose, random.normal(size=(count, 10)), 1.5 * random.normal(size=(count, 3)), random.normal(size=(count, 3))


def anything_within_limits(seed: int, count: int, side: str = "right") -> tuple:
    """Every joint angle drawn by itself: mostly hands that nobody can make."""
    random = np.random.default_rng(seed)
    limits = joint_limits()
    pose = pose_from_angles(hand(side), random.uniform(limits[..., 0], limits[..., 1], size=(count, 15, 3)))
    return pose, *plausible(seed, count, side)[1:]


def millimetres(one, other) -> np.ndarray:
    return 1e3 * np.linalg.norm(np.asarray(one, np.float64) - np.asarray(other, np.float64), axis=-1)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("draw", [plausible, anything_within_limits])
def test_exact_keypoints_come_back_to_a_tenth_of_a_millimetre(draw, side: str):
    parameters = draw(0, 96, side)
    points = jitted_keypoints(hand(side), *parameters)
    solution = jitted_solve(hand(side), points)
    errors = millimetres(jitted_keypoints(hand(side), *solution[:4]), points)
    assert errors.max() < 0.1
    np.testing.assert_allclose(solution.residual, 1e-3 * np.sqrt((errors**2).mean(axis=1)), rtol=0.05, atol=1e-6)
    assert np.asarray(solution.converged).mean() > 0.95
    if draw is plausible:
        # What the points leave open is decided by the prior, not by chance.
        assert np.abs(np.asarray(solution.pose) - np.asarray(parameters[0])).mean() < 0.03
        np.testing.assert_allclose(solution.shape, parameters[1], rtol=0.0, atol=0.1)


def test_both_sides_are_solved_alike():
    parameters = plausible(1, 32)
    points = jitted_keypoints(hand(), *parameters)
    right, left = jitted_solve(hand(), points), jitted_solve(hand("left"), mirror_points(points))
    np.testing.assert_allclose(mano_jax.mirror_rotations(left.pose), right.pose, rtol=0.0, atol=2e-2)
    np.testing.assert_allclose(left.shape, right.shape, rtol=0.0, atol=2e-2)
    wrong_side = jitted_solve(hand("left"), points)
    assert np.median(wrong_side.residual) > 50.0 * np.median(right.residual)


@pytest.mark.slow
def test_any_order_of_keypoints_one_hand_and_any_batch():
    points = jitted_keypoints(hand(), *plausible(2, 32))
    expected = jitted_solve(hand(), points)
    # 39 hands: a whole chunk and a part of one.
    two_axes = jnp.concatenate([points, points[:7]]).reshape(3, 13, 21, 3)
    batched = jitted_solve_any(hand(), reorder_keypoints(two_axes, "canonical", "interhand"), order="interhand")
    assert batched.pose.shape == (3, 13, 45)
    np.testing.assert_allclose(batched.pose.reshape(39, 45)[:32], expected.pose, rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(batched.pose.reshape(39, 45)[32:], expected.pose[:7], rtol=0.0, atol=1e-4)
    single = jitted_solve_any(hand(), points[3])
    assert single.residual.shape == ()
    assert millimetres(jitted_keypoints(hand(), *single[:4]), points[3]).max() < 0.1


@pytest.mark.slow
def test_a_known_shape_is_kept():
    pose, shape, rotation, translation = plausible(3, 32)
    points = jitted_keypoints(hand(), pose, shape[0], rotation, translation)
    solution = jitted_solve_any(hand(), points, shape=shape[0])
    np.testing.assert_array_equal(solution.shape, np.broadcast_to(shape[0].astype(np.float32), (32, 10)))
    assert millimetres(jitted_keypoints(hand(), *solution[:4]), points).max() < 0.1


def test_missing_points_are_left_out_and_filled_in():
    pose, shape, rotation, translation = plausible(4, 32)
    points = np.array(jitted_keypoints(hand(), pose, shape, rotation, translation))
    broken, confidence = points.copy(), np.ones((32, 21))
    broken[:, 7] = np.nan
    broken[:, 12] += 0.3
    confidence[:, 12] = 0.0
    broken[1, 3:] = np.nan  # Three points left: too few.
    broken[2] = np.inf
    solution = jitted_solve(hand(), broken, confidence=confidence)
    good = np.setdiff1d(np.arange(32), [1, 2])
    reached = np.asarray(jitted_keypoints(hand(), *solution[:4]))
    errors = millimetres(reached, points)[good]
    seen = np.setdiff1d(np.arange(21), [7, 12])
    assert errors[:, seen].max() < 0.1
    assert np.median(errors[:, [7, 12]]) < 10.0
    for field in solution[:5]:
        assert np.isnan(np.asarray(field)[[1, 2]]).all()
        assert np.isfinite(np.asarray(field)[good]).all()
    assert not np.asarray(solution.converged)[[1, 2]].any()


def test_noisy_points_are_smoothed_by_the_priors():
    parameters = plausible(5, 64)
    points = np.asarray(jitted_keypoints(hand(), *parameters))
    noisy = points + np.random.default_rng(0).normal(size=points.shape).astype(np.float32) * 4e-3
    solution = jitted_solve(hand(), noisy, sigma=4e-3)
    reached = jitted_keypoints(hand(), *solution[:4])
    assert millimetres(reached, points).mean() < 0.9 * millimetres(noisy, points).mean()
    assert np.abs(solution.shape).max() < 4.0


def test_far_from_the_origin_no_digits_are_lost():
    pose, shape, rotation, _ = plausible(6, 32)
    points = np.asarray(jitted_keypoints(hand(), pose, shape, rotation, np.zeros(3)), np.float64)
    solution = jitted_solve(hand(), (points + np.array([0.0, 0.0, 20.0])).astype(np.float32))
    near = jitted_keypoints(hand(), solution.pose, solution.shape, solution.rotation, np.zeros(3))
    offset = points[:, :1] - np.asarray(near)[:, :1]
    assert millimetres(near + offset, points).max() < 0.15


@pytest.mark.slow
def test_sequence_starts_from_the_frame_before():
    pose, shape, rotation, translation = (np.asarray(array) for array in plausible(7, 2))
    time = np.linspace(0.0, 3.0, 32)[:, None]
    poses = pose[0] + (pose[1] - pose[0]) * 0.5 * (1.0 - np.cos(time))
    points = np.array(jitted_keypoints(hand(), poses, shape[0], rotation[0] + 0.1 * time, translation[0]))
    points[20] = np.nan
    points[30, 8] = np.nan
    solution = jitted_sequence(hand(), points)
    seen = np.isfinite(points).all(axis=-1)
    errors = millimetres(jitted_keypoints(hand(), *solution[:4]), points)
    assert errors[seen].max() < 0.1
    np.testing.assert_array_equal(np.isfinite(solution.residual), np.arange(32) != 20)
    # The same hands as one by one, however they were started.
    cold = jitted_solve(hand(), points)
    np.testing.assert_allclose(
        solution.shape[~np.isnan(solution.residual)], cold.shape[np.any(seen, axis=1)], atol=2e-2
    )
    # A hand that stays where it was is found where it was.
    still = jitted_sequence(hand(), np.broadcast_to(points[:1], points.shape))
    assert np.asarray(still.iterations)[1:].max() <= np.asarray(still.iterations)[0]
    np.testing.assert_allclose(still.pose, np.broadcast_to(still.pose[:1], (32, 45)), rtol=0.0, atol=5e-3)


def test_meshes_come_back_exactly():
    parameters = anything_within_limits(8, 12)
    vertices = np.array(jitted_forward(hand(), *parameters).vertices)
    vertices[0, 100] = np.nan
    vertices[1, 3:] = np.inf
    solution = jitted_solve_vertices(hand(), vertices)
    rows = np.setdiff1d(np.arange(12), [1])
    errors = millimetres(jitted_forward(hand(), *solution[:4]).vertices, vertices)[rows]
    assert np.nanmax(errors) < 0.01
    np.testing.assert_allclose(np.asarray(solution.pose)[rows], np.asarray(parameters[0])[rows], rtol=0.0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(solution.shape)[rows], parameters[1][rows], rtol=0.0, atol=1e-2)
    assert np.isnan(solution.residual[1])
    assert not solution.converged[1]


@pytest.mark.slow
def test_mesh_of_known_shape_and_one_hand():
    some = hand("left").at_vertices(tuple(range(0, 778, 4)))
    pose, shape, rotation, translation = plausible(9, 1, "left")
    mesh = jitted_forward(some, pose[0], shape[0], rotation[0], translation[0])
    solution = jitted_solve_vertices(some, mesh.vertices, shape=shape[0])
    np.testing.assert_allclose(solution.pose, pose[0], rtol=0.0, atol=2e-3)
    assert float(solution.residual) < 1e-5


def test_kabsch_finds_the_rotation_never_a_reflection():
    random = np.random.default_rng(10)
    source, weights = random.normal(size=(6, 3)), np.ones(6)
    with jax.enable_x64(True):
        for vector in ((0.0, 0.0, 0.0), (1.0, -2.0, 0.5), (np.pi, 0.0, 0.0)):
            turn = reference.rotation_matrix(vector)
            found = kabsch(jnp.asarray(source), jnp.asarray(source @ turn.T + 3.0), jnp.asarray(weights))
            np.testing.assert_allclose(found, turn, rtol=0.0, atol=1e-12)
        flat = source * [1.0, 1.0, 0.0]  # A plane leaves the sign of its normal to the determinant.
        turn = reference.rotation_matrix((0.3, 2.0, -1.0))
        found = kabsch(jnp.asarray(flat), jnp.asarray(flat @ turn.T), jnp.asarray(weights))
        np.testing.assert_allclose(found, turn, rtol=0.0, atol=1e-12)
        mirrored = kabsch(jnp.asarray(source), jnp.asarray(-source), jnp.asarray(weights))
        np.testing.assert_allclose(np.linalg.det(mirrored), 1.0, rtol=0.0, atol=1e-12)


def test_shortest_turn_of_equal_and_opposite_directions():
    source = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.6, 0.8]], np.float32)
    target = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.6, 0.8, 0.0]], np.float32)
    spare = np.array([[0.0, 0.0, 1.0]] * 3, np.float32)
    turns = np.asarray(shortest_turn(jnp.asarray(source), jnp.asarray(target), jnp.asarray(spare)), np.float64)
    np.testing.assert_allclose(np.einsum("nab,nb->na", turns, source), target, rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-6)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"points must have shape \[\.\.\., 21, 3\], got \[21, 2\]"):
        solve_keypoints(hand(), np.zeros((21, 2)))
    with pytest.raises(ValueError, match=r"points must have shape \[\.\.\., 21, channels\], got \[20, 3\]"):
        solve_keypoints(hand(), np.zeros((20, 3)))
    with pytest.raises(ValueError, match=r"a sequence must have shape \[frames, 21, 3\], got \[21, 3\]"):
        solve_keypoint_sequence(hand(), np.zeros((21, 3)))
    with pytest.raises(ValueError, match=r"vertices must have shape \[\.\.\., 778, 3\], got \[21, 3\]"):
        solve_vertices(hand(), np.zeros((21, 3)))
