"""The keypoint fit: derivatives, recovery of known hands, robustness, covariance, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handpose_jax.evaluation.metrics import mean_joint_errors_mm
from handpose_jax.refinement import FitOptions, KeypointBatch, batch, fit_hands, terms
from handpose_jax.refinement.sides import choose_sides
from mano_jax import anatomy, forward, mirror_points, mirror_rotations
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.least_squares import NormalEquations
from mano_jax.pose_prior import PosePrior
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


# Derivatives


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def random_parameters(seed: int) -> jax.Array:
    random = np.random.default_rng(seed)
    angles = random.uniform(LIMITS[..., 0], LIMITS[..., 1]).reshape(45)
    place = [*random.normal(size=3), *random.uniform([-0.1, -0.1, 0.4], [0.1, 0.1, 0.8])]
    return jnp.asarray(np.concatenate([place, random.normal(size=10), angles]))


@pytest.fixture
def hand(double_precision) -> KeypointModel:
    return KeypointModel.of(models()["right"].astype(jnp.float64), "745")


@pytest.mark.parametrize("flat", [False, True])
def test_jacobian_in_closed_form(hand, flat):
    parameters = random_parameters(0)
    parameters = parameters.at[jnp.array([0, 1, 2, *range(6, 61)])].set(0.0) if flat else parameters
    points, jacobian = hand.points_and_jacobian(HandParameters.unflatten(parameters))
    expected = jax.jit(jax.jacfwd(lambda x: hand.points(HandParameters.unflatten(x))))(parameters)
    np.testing.assert_allclose(points, hand.points(HandParameters.unflatten(parameters)), rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(jacobian[..., :6], expected[..., :6], rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(jacobian[..., 6:16], expected[..., 6:16], rtol=0.0, atol=1e-3)
    # Joints are rigid, fingertips are skinned and corrected: metres a radian.
    tips = np.arange(4, 21, 4)
    others = np.setdiff1d(np.arange(21), tips)
    np.testing.assert_allclose(jacobian[others], expected[others], rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(jacobian[tips], expected[tips], rtol=0.0, atol=1e-3)


TERMS = {
    "pose prior": lambda hand: lambda p: terms.pose_prior(p, PosePrior.of(models()["right"].astype(jnp.float64)), 0.7),
    "angle limits": lambda hand: lambda p: terms.angle_limits(p, 0.02),
    "shape prior": lambda hand: lambda p: terms.shape_prior(p, 1.3, 0.5, 0.02),
    "hand length": lambda hand: lambda p: terms.hand_length(p, jnp.asarray(0.18), jnp.arange(10.0) * 1e-3, 0.19, 1e-3),
    "image": lambda hand: lambda p: terms.image_keypoints(*exact_points(hand, p), image_points(), 2.0),
    "space": lambda hand: lambda p: terms.space_keypoints(*exact_points(hand, p), space_points(), 2.0),
    "estimate": lambda hand: lambda p: terms.estimated_points(*exact_points(hand, p), space_points(), 2.0),
    "together": lambda hand: lambda p: terms.total(terms.angle_limits(p, 0.02), terms.shape_prior(p, 1.0, 3.0, 0.02)),
}


def exact_points(hand, parameters):
    return hand.points(parameters), jax.jacfwd(lambda x: hand.points(HandParameters.unflatten(x)))(parameters.flatten())


def image_points() -> terms.ImagePoints:
    random = np.random.default_rng(5)
    return terms.ImagePoints(
        pixels=jnp.asarray(random.uniform(100.0, 500.0, (21, 2))),
        weights=jnp.asarray(random.uniform(size=21)).at[3].set(0.0),
        focal=jnp.asarray([600.0, 550.0]),
        principal=jnp.asarray([320.0, 240.0]),
        sigma=jnp.asarray(30.0),
    )


def space_points() -> terms.SpacePoints:
    random = np.random.default_rng(6)
    points = jnp.asarray(random.normal(size=(21, 3)) * 0.1 + [0.0, 0.0, 0.6])
    return terms.SpacePoints(points, jnp.asarray(random.uniform(size=21)).at[0].set(0.0), jnp.asarray(0.05))


def equations_and_gradient(term, parameters) -> tuple[NormalEquations, jax.Array]:
    """A term's normal equations, and the gradient of its cost by automatic differentiation."""
    flat_term = lambda x: term(HandParameters.unflatten(x))  # noqa: E731
    return jax.jit(lambda x: (flat_term(x), jax.grad(lambda y: flat_term(y).cost)(x)))(parameters)


@pytest.mark.parametrize("name", TERMS)
def test_gradient_of_each_term_is_that_of_its_cost(hand, name):
    term = TERMS[name](hand)
    # Beyond limits here and there, so that walls act.
    parameters = random_parameters(1).at[20:30].multiply(1.7).at[6].set(1.5)
    equations, expected = equations_and_gradient(term, parameters)
    assert float(equations.cost) > 0.0
    np.testing.assert_allclose(equations.gradient, expected, rtol=1e-8, atol=1e-8 * float(jnp.max(jnp.abs(expected))))
    curvature = np.asarray(equations.curvature)
    np.testing.assert_allclose(curvature, curvature.T, rtol=1e-9, atol=1e-9 * np.abs(curvature).max())
    assert np.linalg.eigvalsh(curvature).min() >= -1e-9 * np.abs(curvature).max()


@pytest.mark.parametrize("name", ["pose prior", "angle limits", "shape prior", "hand length"])
def test_curvature_of_quadratic_terms_is_their_hessian(hand, name):
    term = TERMS[name](hand)
    parameters = random_parameters(2).at[20:30].multiply(1.7).at[6].set(1.5)
    expected = jax.hessian(lambda x: term(HandParameters.unflatten(x)).cost)(parameters)
    curvature = term(HandParameters.unflatten(parameters)).curvature
    np.testing.assert_allclose(curvature, expected, rtol=1e-8, atol=1e-8 * float(jnp.max(jnp.abs(expected))))


def test_an_estimate_is_compared_up_to_its_place(hand):
    parameters, moved = random_parameters(4), random_parameters(4).at[3:6].add(jnp.asarray([0.2, -0.1, 0.3]))
    term = TERMS["estimate"](hand)
    here, there = (term(HandParameters.unflatten(flat)) for flat in (parameters, moved))
    np.testing.assert_allclose(here.cost, there.cost, rtol=1e-9)
    np.testing.assert_allclose(here.gradient[3:6], 0.0, atol=1e-9)


def test_points_behind_the_camera_have_a_finite_cost_and_no_depth_slope(hand):
    parameters = random_parameters(3).at[5].set(-0.3)
    term = TERMS["image"](hand)
    equations, expected = equations_and_gradient(term, parameters)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in equations)
    np.testing.assert_allclose(equations.gradient[5], 0.0, atol=1e-9)
    np.testing.assert_allclose(equations.gradient, expected, rtol=1e-8, atol=1e-8 * float(jnp.max(jnp.abs(expected))))


def test_pose_prior_is_the_models_own_distribution():
    """Its precision inverts the covariance of the model's pose samples, as angles."""
    model = models()["right"]
    prior = PosePrior.of(model)
    axes = np.asarray(anatomy.joint_axes(model), np.float64)
    scaled = np.asarray(model.pose_standard_deviations, np.float64)[:, None] * np.asarray(model.pose_basis, np.float64)
    scaled = np.einsum("jab,kjb->kja", axes, scaled.reshape(45, 15, 3)).reshape(45, 45)
    precision = np.asarray(prior.precision, np.float64)
    np.testing.assert_allclose(precision @ scaled.T @ scaled, np.eye(45), rtol=0.0, atol=5e-3)
    np.testing.assert_allclose(prior.mean, np.asarray(anatomy.joint_angles(model, model.pose_mean)).ravel(), atol=1e-6)


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
    assert (fits[0].joint_std_m[:, missing].mean(0) > everything.joint_std_m[:, missing].mean(0)).all()


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


def check_hard_problems(count: int) -> None:
    fits = fit_image(hard_problems(count, 9))
    assert fits.valid.all()
    assert not fits.problems
    for name in ("vertices", "joints", "pose", "shape", "rotation", "translation", "joint_covariance_m2"):
        assert np.isfinite(getattr(fits, name)).all(), name
    assert_within_limits(fits)
    assert (np.linalg.eigvalsh(fits.joint_covariance_m2) > 0.0).all()
    assert (fits.joints[..., 2].mean(axis=1) > 0.0).all()


def test_hard_problems():
    check_hard_problems(2_000)


@pytest.mark.slow
def test_ten_thousand_hard_problems():
    check_hard_problems(10_000)


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


class TestChooseSides:
    def test_one_hand_goes_to_the_cheaper_side(self):
        for margin in (1e-3, 0.5, 20.0):
            np.testing.assert_array_equal(choose_sides(np.array([5.0]), np.array([5.0 + margin])), ["left"])
            np.testing.assert_array_equal(choose_sides(np.array([5.0 + margin]), np.array([5.0])), ["right"])

    def test_a_mixed_batch_is_decided_hand_by_hand(self):
        left = np.array([10.0, 1.0, 10.0, 2.0, 3.0, 12.0])
        np.testing.assert_array_equal(choose_sides(left, 13.0 - left), np.where(left < 6.5, "left", "right"))

    def test_clear_hands_decide_the_unclear_ones_of_their_batch(self):
        margins = np.full(20, 8.0)
        margins[7] = -1.0  # alone it would be a right hand
        np.testing.assert_array_equal(choose_sides(np.zeros(20), margins), ["left"] * 20)
        margins[7] = -30.0  # but not against clear evidence
        assert choose_sides(np.zeros(20), margins).tolist() == ["left"] * 7 + ["right"] + ["left"] * 12

    def test_a_side_that_could_not_be_fitted_loses(self):
        left, right = np.array([np.inf, 3.0, 1.0]), np.array([2.0, np.inf, 2.0])
        np.testing.assert_array_equal(choose_sides(left, right)[:2], ["right", "left"])
        # Neither takes part in the estimate for the others.
        np.testing.assert_array_equal(choose_sides(left, right)[2], choose_sides(left[2:], right[2:])[0])

    def test_neither_side_fitted(self):
        assert choose_sides(np.array([np.inf]), np.array([np.inf])).shape == (1,)
        assert choose_sides(np.zeros(0), np.zeros(0)).shape == (0,)


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
