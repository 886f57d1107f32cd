"""The keypoint fit: recovery of known hands, robustness, covariance, limits, batches."""

import numpy as np
import pytest

from handpose_jax.evaluation.metrics import mean_joint_errors_mm
from handpose_jax.refinement import FitOptions, KeypointBatch, batch, fit_hands
from mano_jax import anatomy, forward, mirror_points, mirror_rotations
from tests.handpose_jax.random_hands import (
    CAMERA,
    hard_problems,
    keypoints,
    models,
    random_hands,
    seen,
    with_confidence,
)

CHUNK = 64
LIMITS = anatomy.joint_limits()


@pytest.fixture(autouse=True)
def one_chunk_size(monkeypatch):
    """One compiled program for all batches of this file."""
    monkeypatch.setattr(batch, "CHUNK_SIZES", (CHUNK,))


def fit_image(points, sides="right", K=CAMERA, options=None) -> batch.HandFits:
    sides = (sides,) * len(points) if isinstance(sides, str) else tuple(sides)
    return fit_hands(models(), KeypointBatch(points, None, np.tile(K, (len(points), 1, 1)), sides), options)


def fit_space(points, sides="right", options=None) -> batch.HandFits:
    sides = (sides,) * len(points) if isinstance(sides, str) else tuple(sides)
    return fit_hands(models(), KeypointBatch(None, points, None, sides), options)


def procrustes_mm(fits, truth) -> float:
    return mean_joint_errors_mm(fits.joints, truth)["procrustes"]


def assert_within_limits(fits) -> None:
    for side in ("left", "right"):
        angles = np.asarray(anatomy.joint_angles(models()[side], fits.pose[fits.valid & (fits.side == side)]))
        assert (angles <= LIMITS[..., 1] + 1e-5).all()
        assert (angles >= LIMITS[..., 0] - 1e-5).all()
    assert (np.abs(fits.shape[fits.valid]) <= 3.0).all()


# Recovery of known hands


@pytest.mark.parametrize("side", ["right", "left"])
def test_exact_image_keypoints(side):
    """What is left is what the prior must decide: depth along the line of sight. A mean hand is 20 mm off."""
    hands = random_hands(CHUNK, 1, side)
    fits = fit_image(seen(hands.joints), side)
    assert fits.valid.all()
    assert procrustes_mm(fits, hands.joints) < 6.0
    assert np.mean(fits.residual_px) < 2.5
    assert (fits.side == side).all()
    assert_within_limits(fits)
    # The parameters are those of the side's own model.
    mesh = forward(models()[side], fits.pose, fits.shape, fits.rotation, fits.translation)
    np.testing.assert_allclose(fits.vertices, mesh.vertices, rtol=0.0, atol=1e-5)
    again = keypoints(models()[side], fits.pose, fits.shape, fits.rotation, fits.translation)
    np.testing.assert_allclose(fits.joints, again, rtol=0.0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_exact_space_keypoints(side):
    hands = random_hands(CHUNK, 2, side)
    fits = fit_space(with_confidence(hands.joints), side, FitOptions(metre_sigma=0.0005))
    distances = np.linalg.norm(fits.joints - hands.joints, axis=-1).mean(axis=1)
    assert distances.mean() < 0.0005
    assert distances.max() < 0.001
    assert_within_limits(fits)


def test_mirrored_problems_have_mirrored_results():
    hands = random_hands(CHUNK, 3)
    points = seen(hands.joints)
    right = fit_image(points)
    mirrored_camera = CAMERA * np.array([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], np.float32)
    left = fit_image(points * np.array([-1.0, 1.0, 1.0], np.float32), "left", mirrored_camera)
    for name, mirrored in [
        ("joints", mirror_points),
        ("vertices", mirror_points),
        ("pose", mirror_rotations),
        ("rotation", mirror_rotations),
        ("translation", mirror_points),
        ("shape", lambda shape: shape),
        ("joint_std_m", lambda deviation: deviation),
    ]:
        np.testing.assert_allclose(
            getattr(left, name), mirrored(getattr(right, name)), rtol=0.0, atol=1e-5, err_msg=name
        )
    signs = np.outer([-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0])
    np.testing.assert_allclose(left.joint_covariance_m2, right.joint_covariance_m2 * signs, rtol=1e-4, atol=1e-10)


@pytest.mark.slow
def test_batches_are_fitted_as_hands_alone(monkeypatch):
    """Chunks, padding and neighbours change a fit by rounding only."""
    points = hard_problems(CHUNK + 6, 4)
    together = fit_image(points)
    part = fit_image(points[:5])  # padded up to a chunk
    monkeypatch.setattr(batch, "CHUNK_SIZES", (1,))
    alone = fit_image(points[-6:])
    for name in ("joints", "vertices"):
        np.testing.assert_allclose(getattr(together, name)[:5], getattr(part, name), rtol=0.0, atol=1e-4)
        np.testing.assert_allclose(getattr(together, name)[-6:], getattr(alone, name), rtol=0.0, atol=5e-4)


def test_cameras_with_two_focal_lengths():
    camera = np.array([[700.0, 0.0, 300.0], [0.0, 450.0, 260.0], [0.0, 0.0, 1.0]], np.float32)
    hands = random_hands(CHUNK, 5)
    fits = fit_image(seen(hands.joints, camera), K=camera)
    assert procrustes_mm(fits, hands.joints) < 6.0
    one_focal_length = np.array([[575.0, 0.0, 300.0], [0.0, 575.0, 260.0], [0.0, 0.0, 1.0]], np.float32)
    wrong = fit_image(seen(hands.joints, camera), K=one_focal_length)
    assert procrustes_mm(wrong, hands.joints) > procrustes_mm(fits, hands.joints) + 1.0


# Bad keypoints


def test_missing_keypoints_do_not_count():
    hands = random_hands(CHUNK, 6)
    points = seen(hands.joints)
    missing = [3, 8, 15, 20]
    absent, unknown, elsewhere = points.copy(), points.copy(), points.copy()
    absent[:, missing, 2] = 0.0
    unknown[:, missing, :2] = np.nan
    elsewhere[:, missing] = [1e5, -3e4, 0.0]
    fits = [fit_image(variant) for variant in (absent, unknown, elsewhere)]
    assert procrustes_mm(fits[0], hands.joints) < 8.0
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].joints, other.joints)
        np.testing.assert_array_equal(fits[0].residual_px, other.residual_px)
    # Unseen joints are less certain than seen ones.
    everything = fit_image(points)
    # Across the line of sight: along it the distance of the whole hand hides what is known of its parts.
    across = [np.sqrt(np.einsum("nkaa->nk", f.joint_covariance_m2[..., :2, :2])) for f in (fits[0], everything)]
    assert (np.median(across[0][:, missing], axis=0) > np.median(across[1][:, missing], axis=0)).all()


def test_confidence_weighs():
    hands = random_hands(CHUNK, 7)
    points = seen(hands.joints)
    points[:, 12, :2] += 40.0
    trusted, doubted = fit_image(points), points.copy()
    doubted[:, 12, 2] = 0.1
    assert procrustes_mm(fit_image(doubted), hands.joints) < procrustes_mm(trusted, hands.joints)


def test_outliers_are_resisted():
    hands = random_hands(CHUNK, 8)
    points = seen(hands.joints)
    random = np.random.default_rng(8)
    clean = procrustes_mm(fit_image(points), hands.joints)
    rows = np.arange(CHUNK)
    angle = random.uniform(0.0, 2.0 * np.pi, CHUNK)
    points[rows, random.integers(5, 21, CHUNK), :2] += 100.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert procrustes_mm(fit_image(points), hands.joints) < clean + 4.0


def check_hard_problems(count: int) -> np.ndarray:
    points = hard_problems(count, 9)
    fits = fit_image(points)
    assert fits.valid.all()
    assert not fits.problems
    for name in ("vertices", "joints", "pose", "shape", "rotation", "translation", "joint_covariance_m2"):
        assert np.isfinite(getattr(fits, name)).all(), name
    assert_within_limits(fits)
    assert (np.linalg.eigvalsh(fits.joint_covariance_m2) > 0.0).all()
    assert (fits.joints[..., 2].mean(axis=1) > 0.0).all()
    return points


def test_hard_problems():
    check_hard_problems(2_000)


@pytest.mark.slow
def test_ten_thousand_hard_problems():
    """No NaN, limits hold, and none is worse than the better of its starts by its own cost."""
    points = check_hard_problems(10_000)
    rows, model = np.arange(len(points)), models()["right"]
    problems = KeypointBatch(points, None, np.tile(CAMERA, (len(points), 1, 1)), ("right",) * len(points))
    # Without a step allowed the cost is that of the start.
    costs = [
        batch.fit_side(model, problems, rows, options, None).cost
        for options in (FitOptions(), FitOptions(start_iterations=0, max_iterations=0))
    ]
    assert np.isfinite(costs).all()
    assert (costs[0] <= costs[1]).all()


# Scale and uncertainty


@pytest.mark.slow
def test_a_known_hand_length_fixes_the_scale():
    shape = np.array([1.5, -0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], np.float32)
    hands = random_hands(CHUNK, 10, shape=shape)
    length = 1e3 * flat_lengths(shape[None])[0]
    assert abs(length - 1e3 * flat_lengths(np.zeros((1, 10), np.float32))[0]) > 5.0
    free = fit_image(seen(hands.joints))
    known = fit_image(seen(hands.joints), options=FitOptions(hand_length_mm=float(length)))
    np.testing.assert_allclose(1e3 * flat_lengths(known.shape), length, rtol=0.0, atol=2.0)
    errors = [np.linalg.norm(fits.joints - hands.joints, axis=-1).mean() for fits in (free, known)]
    assert errors[1] < 0.6 * errors[0]
    # It is more certain, too.
    assert known.joint_std_m.mean() < 0.6 * free.joint_std_m.mean()


def flat_lengths(shape) -> np.ndarray:
    points = np.asarray(keypoints(models()["right"], np.zeros((len(shape), 45)), shape, np.zeros(3), np.zeros(3)))
    return np.linalg.norm(points[:, 12] - points[:, 0], axis=-1)


def test_covariance_predicts_the_error():
    """Truth from the prior, noise as the options state it: errors in units of their predicted deviation.

    Medians and shares, not the root mean square: a hand in a hundred ends in another minimum (the palm for the back),
    of which the curvature at its own knows nothing.
    """
    hands = random_hands(4 * CHUNK, 11)
    points = seen(hands.joints)
    random = np.random.default_rng(11)
    box = (points[..., :2].max(axis=1) - points[..., :2].min(axis=1)).max(axis=1)
    options = FitOptions()
    noise = options.pixel_sigma_share * box[:, None, None] * random.normal(size=(len(points), 21, 2))
    noise[:, :2] /= np.sqrt(options.base_weight)
    points[..., :2] += noise
    fits = fit_image(points, options=options)
    covariance = fits.joint_covariance_m2.astype(np.float64)
    np.testing.assert_allclose(covariance, covariance.swapaxes(-1, -2), rtol=1e-4, atol=1e-10)
    assert (np.linalg.eigvalsh(covariance) > 0.0).all()
    np.testing.assert_allclose(fits.joint_std_m, np.sqrt(np.trace(covariance, axis1=-2, axis2=-1) / 3.0), rtol=1e-4)
    deviations = np.sqrt(np.einsum("nkaa->nka", covariance))
    errors = np.abs(fits.joints - hands.joints) / deviations
    median_of_normal = 0.6745
    np.testing.assert_allclose(np.median(errors, axis=(0, 1)), median_of_normal, rtol=0.25)
    np.testing.assert_allclose((errors < 1.0).mean(axis=(0, 1)), 0.683, rtol=0.0, atol=0.1)
    np.testing.assert_allclose((errors < 2.0).mean(axis=(0, 1)), 0.954, rtol=0.0, atol=0.1)
    assert (errors > 4.0).mean() < 0.03
    # Depth is what one camera knows least, by far.
    assert (deviations[..., 2].mean() > 3.0 * deviations[..., :2].mean(axis=(0, 1))).all()


# Batches and sides


def test_bad_rows_are_nan_and_named():
    points = seen(random_hands(6, 12).joints)
    cameras = np.tile(CAMERA, (6, 1, 1))
    points[1, :, :2] = np.nan
    points[2, :, 2] = 0.0
    points[3, 3:, 2] = 0.0
    cameras[4, 0, 0] = -600.0
    calls = []
    fits = fit_hands(
        models(),
        KeypointBatch(points, None, cameras, ("right",) * 6),
        on_progress=lambda done, total: calls.append((done, total)),
    )
    np.testing.assert_array_equal(fits.valid, [True, False, False, False, False, True])
    assert list(fits.problems) == [1, 2, 3, 4]
    assert "0 keypoints are seen" in fits.problems[1]
    assert "3 keypoints are seen" in fits.problems[3]
    assert "positive focal lengths" in fits.problems[4]
    assert np.isnan(fits.vertices[1:5]).all()
    assert np.isfinite(fits.vertices[[0, 5]]).all()
    assert np.isnan(fits.residual_px[1:5]).all()
    assert calls[-1] == (2, 2)
    nothing = fit_image(np.full((2, 21, 3), np.nan, np.float32))
    assert not nothing.valid.any()
    assert list(nothing.problems) == [0, 1]


def test_unknown_sides_are_found():
    sides = ["left", "right"] * (CHUNK // 2)
    joints = np.stack([random_hands(CHUNK, 13, side).joints for side in ("left", "right")], axis=1)
    joints = joints[np.arange(CHUNK), np.arange(CHUNK) % 2]
    # Near the camera perspective tells the sides apart.
    fits = fit_image(seen(joints), batch.AUTO)
    assert fits.valid.all()
    assert (fits.side == sides).mean() > 0.85
    space = fit_space(with_confidence(joints), batch.AUTO, FitOptions(metre_sigma=0.0005))
    assert (space.side == sides).mean() > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints_3d": np.zeros((2, 21, 4))}, "either keypoints or keypoints_3d"),
        ({"keypoints": None}, "either keypoints or keypoints_3d"),
        ({"keypoints": np.zeros((2, 20, 3))}, r"\[hands, 21, 3\], got \(2, 20, 3\)"),
        ({"keypoints": np.zeros((21, 3))}, r"\[hands, 21, 3\], got \(21, 3\)"),
        ({"keypoints": None, "keypoints_3d": np.zeros((2, 21, 3))}, r"\[hands, 21, 4\], got \(2, 21, 3\)"),
        ({"K": None}, "need camera matrices"),
        ({"estimate": np.zeros((2, 20, 3))}, r"must have shape \[2, 21, 3\], got \(2, 20, 3\)"),
        ({"K": np.zeros((3, 3))}, r"K must have shape \[2, 3, 3\]"),
        ({"side": ("left",)}, "one side for each of 2 hands, got 1"),
        ({"side": ("left", "Right")}, "got 'Right'"),
    ],
)
def test_batches_that_make_no_sense(change, message):
    fields = {
        "keypoints": np.zeros((2, 21, 3)),
        "keypoints_3d": None,
        "K": np.zeros((2, 3, 3)),
        "side": ("left", "right"),
    }
    with pytest.raises(ValueError, match=message):
        KeypointBatch(**{**fields, **change})


def test_chunk_sizes_waste_little(monkeypatch):
    monkeypatch.setattr(batch, "CHUNK_SIZES", (1, 32, 256))
    expected = {1: 1, 8: 1, 25: 32, 32: 32, 100: 32, 128: 32, 250: 256, 256: 256, 300: 32, 1024: 256}
    assert {count: batch._chunk_size(count) for count in expected} == expected


def test_a_side_without_a_model():
    points = seen(random_hands(1, 14).joints)
    with pytest.raises(ValueError, match=r"row 0 asks for a left hand: give models\['left'\]"):
        fit_hands({"right": models()["right"]}, KeypointBatch(points, None, CAMERA[None], ("auto",)))
