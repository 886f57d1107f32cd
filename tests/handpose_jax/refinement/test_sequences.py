"""Sequences: the temporal prior's derivatives, one shape, less jitter, gaps, sides, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.refinement import FitOptions, KeypointBatch, SequenceFits, SequenceOptions, batch, fit_sequence
from handpose_jax.refinement.sequence_fit import motion_coordinates, motion_equations
from handpose_jax.refinement.sequences import estimated_motion, mean_accelerations
from mano_jax import anatomy, mirror_points
from tests.handpose_jax.random_hands import CAMERA, keypoints, models, seen

FRAMES = 16


@pytest.fixture(autouse=True)
def one_chunk_size(monkeypatch):
    monkeypatch.setattr(batch, "CHUNK_SIZES", (32,))


@functools.cache
def true_joints(seed: int = 0) -> np.ndarray:
    """[FRAMES, 21, 3]: a hand that bends its fingers, turns and moves, smoothly; metres, camera frame."""
    random = np.random.default_rng(seed)
    model = models()["right"]
    times = np.linspace(0.0, 1.0, FRAMES)[:, None]
    ends = 0.7 * random.normal(size=(2, 45)) * np.asarray(model.pose_standard_deviations)
    coefficients = ends[0] + (ends[1] - ends[0]) * 0.5 * (1.0 - np.cos(np.pi * times))
    pose = anatomy.clip_to_limits(model, mano_jax.pose_from_coefficients(model, coefficients.astype(np.float32)))
    shape = np.tile(np.clip(random.normal(size=10), -2.0, 2.0), (FRAMES, 1))
    rotation = np.array([1.0, 1.0, -1.5]) + times * np.array([0.2, -0.3, 0.1])
    translation = np.array([0.0, 0.0, 0.5]) + times * np.array([0.08, -0.04, 0.03])
    return np.asarray(keypoints(model, pose, shape, rotation, translation), np.float64)


def noisy(joints: np.ndarray, seed: int = 1) -> np.ndarray:
    points = seen(joints)
    box = (points[..., :2].max(1) - points[..., :2].min(1)).max(-1)[:, None, None]
    points[..., :2] += 0.02 * box * np.random.default_rng(seed).normal(size=points[..., :2].shape)
    return points


def fit(points: np.ndarray, side: str = "right", K: np.ndarray = CAMERA) -> SequenceFits:
    cameras = np.tile(K, (len(points), 1, 1)) if K.ndim == 2 else K
    return fit_sequence(models(), KeypointBatch(points, None, cameras, (side,) * len(points)))


@pytest.fixture(scope="module")
def fitted() -> SequenceFits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "CHUNK_SIZES", (32,))
        return fit(noisy(true_joints()))


def mean_error(joints: np.ndarray) -> float:
    return float(1e3 * np.linalg.norm(joints - true_joints(), axis=-1).mean())


# The temporal prior


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("prior", ["velocity", "position"])
def test_motion_against_a_dense_jacobian(double_precision, prior):
    """A linear track of unknowns: its residuals' Jacobian, written out frame by frame, gives cost and all blocks."""
    random = np.random.default_rng(0)
    frames, own, shared, sigma, threshold = 5, 4, 2, 0.7, 1e6
    by_own, by_shape = random.normal(size=(frames, 63, own)), random.normal(size=(frames, 63, shared))
    options = SequenceOptions(prior=prior, motion_threshold=threshold)
    count = jnp.asarray([1.0, 1.0, 1.0, 1.0, 0.0])

    def equations(flat):
        unknowns, shape = flat[: frames * own].reshape(frames, own), flat[frames * own :]
        place = jnp.einsum("tap,tp->ta", by_own, unknowns) + jnp.einsum("tas,s->ta", by_shape, shape)
        return motion_equations(place, jnp.asarray(by_shape), jnp.asarray(by_own), count, jnp.asarray(sigma), options)

    flat = jnp.asarray(random.normal(size=frames * own + shared))
    found = equations(flat)
    offsets = (1.0, -2.0, 1.0) if prior == "velocity" else (-1.0, 1.0)
    rows = []
    for first in range(4 - len(offsets) + 1):  # the last frame only fills up
        row = np.zeros((63, len(flat)))
        for step, factor in enumerate(offsets):
            frame = first + step
            row[:, frame * own : (frame + 1) * own] += factor * by_own[frame]
            row[:, frames * own :] += factor * by_shape[frame]
        rows.append(row / sigma)
    jacobian = np.concatenate(rows)
    np.testing.assert_allclose(found.cost, 0.5 * np.sum((jacobian @ flat) ** 2), rtol=1e-6)
    gradient = np.concatenate([np.ravel(found.gradient.frames), found.gradient.shared])
    np.testing.assert_allclose(gradient, jacobian.T @ (jacobian @ flat), rtol=0.0, atol=1e-6 * np.abs(gradient).max())
    dense = jacobian.T @ jacobian
    for t in range(frames):
        block = lambda a, b: dense[a * own : (a + 1) * own, b * own : (b + 1) * own]  # noqa: E731
        np.testing.assert_allclose(found.diagonal[t], block(t, t), atol=1e-6)
        np.testing.assert_allclose(found.first[t], block(t, t - 1) if t > 0 else 0.0, atol=1e-6)
        np.testing.assert_allclose(found.second[t], block(t, t - 2) if t > 1 else 0.0, atol=1e-6)
        np.testing.assert_allclose(found.coupling[t], dense[t * own : (t + 1) * own, frames * own :], atol=1e-6)
    np.testing.assert_allclose(found.shared, dense[frames * own :, frames * own :], atol=1e-6)


def test_a_sudden_motion_counts_linearly(double_precision):
    place = jnp.zeros((5, 63)).at[2:].set(1.0)
    nothing = jnp.zeros((5, 63, 1))
    costs = [
        float(motion_equations(s * place, nothing, nothing, jnp.ones(5), jnp.asarray(0.1), SequenceOptions()).cost)
        for s in (1.0, 2.0)
    ]
    assert costs[1] < 2.3 * costs[0]


def test_motion_coordinates(double_precision):
    points = jnp.asarray(true_joints()[0])
    place, jacobian = motion_coordinates(points, jnp.eye(63).reshape(21, 3, 63), None)
    expected = jax.jacfwd(lambda x: jnp.concatenate([x[:, :2] / x[:, 2:], jnp.log(x[:, 2:])], axis=1))(points)
    np.testing.assert_allclose(jacobian, expected.reshape(21, 3, 63), atol=1e-12)
    # Twice as large and as far away, a hand moves as much.
    other, _ = motion_coordinates(2.0 * points, jnp.zeros((21, 3, 1)), jnp.eye(4)[None])
    np.testing.assert_allclose(other - place, np.tile([0.0, 0.0, np.log(2.0)], (21, 1)), atol=1e-12)
    several, _ = motion_coordinates(points, jnp.zeros((21, 3, 1)), jnp.tile(jnp.eye(4), (2, 1, 1)))
    np.testing.assert_array_equal(several, points)


def test_mean_acceleration_in_numpy():
    random = np.random.default_rng(2)
    track = random.normal(size=(6, 21, 3))
    gap = track.copy()
    gap[1] = np.nan
    lengths = [np.linalg.norm(track[t + 1] - 2.0 * track[t] + track[t - 1], axis=-1).mean() for t in range(1, 5)]
    np.testing.assert_allclose(mean_accelerations(track)[0], np.mean(lengths))
    # Over the triples that both have.
    np.testing.assert_allclose(mean_accelerations(track, gap), np.mean(lengths[2:]))
    assert np.isnan(mean_accelerations(np.full((6, 21, 3), np.nan))[0])


def test_the_estimated_motion_follows_the_true_one():
    """Frames further apart move more; keypoints that stand still move as little as is ever assumed."""
    cameras = np.tile(CAMERA, (FRAMES, 1, 1))
    estimates = []
    for track in (true_joints(), true_joints()[np.arange(FRAMES) * 5 % FRAMES], true_joints()[[0] * FRAMES]):
        frames = KeypointBatch(noisy(track), None, cameras, ("right",) * FRAMES)
        estimates.append(estimated_motion(frames, np.arange(FRAMES), track, FitOptions()))
    assert estimates[2] <= estimates[0] < 0.01
    assert estimates[1] > 5.0 * estimates[0]


# The fit


@pytest.mark.slow
def test_a_sequence_is_smoother_and_closer(fitted):
    assert fitted.fits.valid.all()
    assert not fitted.bridged.any()
    np.testing.assert_array_equal(fitted.fits.shape, np.tile(fitted.fits.shape[:1], (FRAMES, 1)))
    assert fitted.cost < fitted.start_cost
    assert mean_error(fitted.fits.joints) < mean_error(fitted.frame_by_frame)
    before, after = mean_accelerations(fitted.frame_by_frame, fitted.fits.joints)
    np.testing.assert_allclose([fitted.jitter_before_m, fitted.jitter_after_m], [before, after])
    assert after < 0.4 * before
    mesh = mano_jax.forward(
        models()["right"], fitted.fits.pose, fitted.fits.shape, fitted.fits.rotation, fitted.fits.translation
    )
    np.testing.assert_allclose(fitted.fits.vertices, mesh.vertices, rtol=0.0, atol=1e-5)
    covariance = fitted.fits.joint_covariance_m2.astype(np.float64)
    assert (np.linalg.eigvalsh(covariance) > 0.0).all()


@pytest.mark.slow
def test_gaps_are_bridged(fitted):
    points = noisy(true_joints())
    points[6:9, :, 2] = 0.0  # nothing
    points[11, 2:] = np.nan  # two keypoints
    points[0] = points[15] = np.nan
    cameras = np.tile(CAMERA, (FRAMES, 1, 1))
    cameras[7] = np.nan
    result = fit(points, K=cameras)
    np.testing.assert_array_equal(np.flatnonzero(~result.fits.valid), [0, 15])
    assert list(result.fits.problems) == [0, 15]
    np.testing.assert_array_equal(np.flatnonzero(result.bridged), [6, 7, 8, 11])
    assert np.isfinite(result.fits.vertices[1:15]).all()
    # The hand goes on where it was going, and the fit knows that it was not seen.
    errors = 1e3 * np.linalg.norm(result.fits.joints - true_joints(), axis=-1).mean(1)
    assert errors[6:9].max() < errors[[5, 9]].mean() + 15.0
    assert result.fits.joint_std_m[7].mean() > result.fits.joint_std_m[4].mean()
    assert np.isnan(result.fits.residual_px[[6, 7, 8]]).all()


@pytest.mark.slow
def test_left_hands_are_mirror_images(fitted):
    points = noisy(true_joints()) * np.array([-1.0, 1.0, 1.0], np.float32)
    camera = CAMERA * np.array([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], np.float32)
    left = fit(points, "left", camera)
    np.testing.assert_allclose(left.fits.joints, mirror_points(jnp.asarray(fitted.fits.joints)), rtol=0.0, atol=1e-4)
    assert (left.fits.side == "left").all()


@pytest.mark.slow
def test_one_side_is_found_for_all_frames(fitted):
    result = fit(noisy(true_joints()), batch.AUTO)
    assert (result.fits.side == "right").all()
    np.testing.assert_allclose(result.fits.joints, fitted.fits.joints, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": None, "keypoints_3d": np.ones((2, 21, 4)), "K": None}, "image keypoints alone"),
        ({"side": ("left", "right")}, "one side, got"),
        ({"keypoints": np.full((2, 21, 3), np.nan)}, "no frame of 2 can be fitted"),
    ],
)
def test_sequences_that_make_no_sense(change, message):
    fields = {
        "keypoints": np.ones((2, 21, 3)),
        "keypoints_3d": None,
        "K": np.tile(np.eye(3), (2, 1, 1)),
        "side": ("left", "left"),
    }
    with pytest.raises(ValueError, match=message):
        fit_sequence(models(), KeypointBatch(**{**fields, **change}))


def test_an_unknown_prior():
    with pytest.raises(ValueError, match="must be 'velocity' or 'position', got 'constant'"):
        SequenceOptions(prior="constant")
