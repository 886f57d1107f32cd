"""The terms of a keypoint fit: derivatives against automatic differentiation, invariances, the pose prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handpose_jax.refinement import terms
from mano_jax import anatomy
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.least_squares import NormalEquations
from mano_jax.pose_prior import PosePrior
from tests.handpose_jax.random_hands import models

LIMITS = anatomy.joint_limits()


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
