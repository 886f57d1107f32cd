"""Levenberg-Marquardt against SciPy, closed forms and its own promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from mano_jax.least_squares import NormalEquations, Solution, from_residuals, levenberg_marquardt
from mano_jax.triangular import inverse_factor

TIMES = np.linspace(0.0, 2.0, 15)


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def rosenbrock(x):
    return jnp.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def powell_singular(x):
    """Powell 1962: the Jacobian loses rank at the solution, 0."""
    return jnp.stack(
        [
            x[0] + 10.0 * x[1],
            np.sqrt(5.0).astype(x.dtype) * (x[2] - x[3]),
            (x[1] - 2.0 * x[2]) ** 2,
            np.sqrt(10.0).astype(x.dtype) * (x[0] - x[3]) ** 2,
        ]
    )


def exponential(data, x):
    """Amplitude, rate and offset of a decay, a noisy sample of which is given."""
    return x[0] * jnp.exp(-x[1] * TIMES.astype(x.dtype)) + x[2] - data


@functools.partial(jax.jit, static_argnames=("residuals", "iterations", "tolerance"))
def solve(residuals, start, iterations=200, tolerance=0.0) -> Solution:
    return levenberg_marquardt(
        from_residuals(residuals), start, max_iterations=iterations, relative_tolerance=tolerance
    )


@functools.partial(jax.jit, static_argnames=("iterations", "tolerance", "vectorised"))
def fit_exponential(data, start, iterations=60, tolerance=1e-4, vectorised=False) -> Solution:
    def one(data, start):
        return levenberg_marquardt(
            from_residuals(functools.partial(exponential, data)),
            start,
            max_iterations=iterations,
            relative_tolerance=tolerance,
        )

    return (jax.vmap(one) if vectorised else one)(data, start)


def exponential_problems(count, dtype, seed=0):
    random = np.random.default_rng(seed)
    truth = random.uniform([0.5, 0.3, -1.0], [3.0, 3.0, 1.0], (count, 3))
    data = truth[:, :1] * np.exp(-truth[:, 1:2] * TIMES) + truth[:, 2:] + 0.02 * random.normal(size=(count, 15))
    starts = truth + random.uniform(-0.3, 0.3, (count, 3))
    return jnp.asarray(data, dtype), jnp.asarray(starts, dtype)


@pytest.mark.parametrize(
    ("residuals", "start", "solution", "within"),
    [
        (rosenbrock, [-1.2, 1.0], [1.0, 1.0], 1e-9),
        # The cost falls with the fourth power of the distance; SciPy stops at 1e-4 of it too.
        (powell_singular, [3.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], 1e-3),
    ],
)
def test_reaches_the_known_minimum(double_precision, residuals, start, solution, within):
    start = jnp.asarray(start, jnp.float64)
    found = solve(residuals, start)
    np.testing.assert_allclose(found.parameters, solution, rtol=0.0, atol=within)
    reference = scipy.optimize.least_squares(lambda x: np.asarray(residuals(jnp.asarray(x))), start, method="lm")
    assert float(found.cost) <= max(reference.cost, 1e-14)


def test_exponential_fits_agree_with_scipy(double_precision):
    data, starts = exponential_problems(12, jnp.float64)
    found = fit_exponential(data, starts, tolerance=1e-13, vectorised=True)
    for row in range(len(data)):

        def residuals(x, row=row):
            return x[0] * np.exp(-x[1] * TIMES) + x[2] - np.asarray(data[row])

        reference = scipy.optimize.least_squares(residuals, starts[row], xtol=1e-14, ftol=1e-14, gtol=1e-14)
        np.testing.assert_allclose(found.cost[row], reference.cost, rtol=1e-9)
        np.testing.assert_allclose(found.parameters[row], reference.x, rtol=0.0, atol=2e-6)
        # The undamped curvature at the solution, whose inverse is the covariance.
        np.testing.assert_allclose(found.curvature[row], reference.jac.T @ reference.jac, rtol=1e-4, atol=1e-4)
    assert bool(jnp.all(found.converged))


def test_float32_reaches_the_solution_to_its_precision():
    data, starts = exponential_problems(12, jnp.float32)
    found = fit_exponential(data, starts, vectorised=True)
    assert found.parameters.dtype == found.cost.dtype == found.curvature.dtype == jnp.float32
    with jax.enable_x64(True):
        wide = exponential_problems(12, jnp.float64)
        reference = fit_exponential(*wide, tolerance=1e-13, vectorised=True)
    np.testing.assert_allclose(found.cost, reference.cost, rtol=2e-3)
    assert bool(jnp.all(found.converged))


def test_linear_problem_in_two_steps(double_precision):
    """Without damping one step solves it; with damping of 1e-9 a second changes nothing that matters."""
    random = np.random.default_rng(3)
    matrix, right = random.normal(size=(9, 5)), random.normal(size=9)
    equations = from_residuals(lambda x: jnp.asarray(matrix) @ x - jnp.asarray(right))
    found = levenberg_marquardt(
        equations, jnp.zeros(5), max_iterations=20, relative_tolerance=1e-6, initial_damping=1e-9
    )
    expected, *_ = np.linalg.lstsq(matrix, right, rcond=None)
    np.testing.assert_allclose(found.parameters, expected, rtol=0.0, atol=1e-7)
    one_step = levenberg_marquardt(
        equations, jnp.zeros(5), max_iterations=1, relative_tolerance=1e-6, initial_damping=1e-9
    )
    np.testing.assert_allclose(one_step.parameters, expected, rtol=0.0, atol=1e-6)
    assert int(one_step.iterations) == 1
    np.testing.assert_allclose(found.curvature, matrix.T @ matrix, rtol=1e-12)


def test_no_iterations_return_the_start(double_precision):
    start = jnp.asarray([-1.2, 1.0])
    found = solve(rosenbrock, start, iterations=0)
    np.testing.assert_array_equal(found.parameters, start)
    np.testing.assert_allclose(found.cost, 0.5 * float(jnp.sum(rosenbrock(start) ** 2)), rtol=1e-14)
    assert int(found.iterations) == 0
    assert not bool(found.converged)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-50.0, 50.0, width=32, allow_subnormal=False), min_size=3, max_size=3),
    st.integers(0, 5),
    st.integers(0, 2**31),
)
def test_never_worse_than_the_start(start, iterations, seed):
    data = jnp.asarray(np.random.default_rng(seed).normal(size=15), jnp.float32)
    start = jnp.asarray(start, jnp.float32)
    found = fit_exponential(data, start, iterations=iterations)
    before = 0.5 * jnp.sum(exponential(data, start) ** 2)
    if bool(jnp.isfinite(before)):
        assert float(found.cost) <= float(before) * (1.0 + 1e-6)
        assert bool(jnp.all(jnp.isfinite(found.parameters)))
        after = 0.5 * jnp.sum(exponential(data, found.parameters) ** 2)
        np.testing.assert_allclose(found.cost, after, rtol=1e-3, atol=1e-10)
    else:
        np.testing.assert_array_equal(found.parameters, start)
        assert not bool(found.converged)
    assert int(found.iterations) <= iterations


def test_steps_into_a_region_that_is_not_finite_are_rejected(double_precision):
    """The first full step lands below zero, where the logarithm is NaN; later, on an infinite cost beyond x = 1."""

    def residuals(x):
        return jnp.stack([10.0 * jnp.log(x[0]) + 40.0, 0.1 * (x[1] - 3.0)])

    start = jnp.asarray([1.0, 0.0])
    full_step = 1.0 - 40.0 / 10.0
    assert full_step < 0.0  # the first Gauss-Newton step leaves the domain
    found = solve(residuals, start, iterations=100, tolerance=1e-12)
    np.testing.assert_allclose(found.parameters, [np.exp(-4.0), 3.0], rtol=1e-5)

    def infinite_beyond_one(x):
        return jnp.where(x > 1.0, jnp.inf, x - 5.0)

    found = solve(infinite_beyond_one, jnp.asarray([0.0]), iterations=100)
    assert 0.9 < float(found.parameters[0]) <= 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_start_without_a_finite_cost_comes_back_as_it_was(bad):
    found = fit_exponential(jnp.full(15, bad, jnp.float32), jnp.ones(3, jnp.float32))
    np.testing.assert_array_equal(found.parameters, np.ones(3))
    assert not bool(jnp.isfinite(found.cost))
    assert not bool(found.converged)
    assert int(found.iterations) == 0


def test_a_start_at_the_minimum_stays_and_counts_as_converged(double_precision):
    found = solve(rosenbrock, jnp.asarray([1.0, 1.0]), iterations=50)
    np.testing.assert_array_equal(found.parameters, [1.0, 1.0])
    assert bool(found.converged)


def test_vmap_is_the_loop_and_each_problem_stops_on_its_own(double_precision):
    data, starts = exponential_problems(16, jnp.float64, seed=4)
    data = data.at[1].set(jnp.nan)  # stops at once
    together = fit_exponential(data, starts, vectorised=True)
    assert len(set(np.asarray(together.iterations).tolist())) > 2
    for row in range(len(data)):
        alone = fit_exponential(data[row], starts[row])
        assert int(together.iterations[row]) == int(alone.iterations)
        assert bool(together.converged[row]) == bool(alone.converged)
        # The compiler may order the sums of another batch size differently.
        for name in ("parameters", "cost", "curvature"):
            np.testing.assert_allclose(getattr(together, name)[row], getattr(alone, name), rtol=1e-9, atol=1e-12)
    # More iterations for the others change no bit of one that has stopped.
    longest = int(jnp.max(together.iterations))
    short = fit_exponential(data, starts, iterations=longest - 1, vectorised=True)
    stopped = np.asarray(together.iterations) < longest
    assert stopped.any()
    assert not stopped.all()
    for name in ("parameters", "cost", "curvature"):
        np.testing.assert_array_equal(getattr(short, name)[stopped], getattr(together, name)[stopped])


def test_jit_changes_nothing_that_matters():
    data, starts = exponential_problems(1, jnp.float32, seed=5)
    with jax.disable_jit():
        plain = levenberg_marquardt(
            from_residuals(functools.partial(exponential, data[0])), starts[0], max_iterations=60
        )
    compiled = fit_exponential(data[0], starts[0])
    np.testing.assert_allclose(plain.parameters, compiled.parameters, rtol=1e-3)
    np.testing.assert_allclose(plain.cost, compiled.cost, rtol=1e-4)


def test_from_residuals_are_the_normal_equations(double_precision):
    """Against a Jacobian written by hand."""
    x = jnp.asarray([0.7, -0.4])
    equations = from_residuals(rosenbrock)(x)
    residual = np.array([10.0 * (-0.4 - 0.49), 0.3])
    jacobian = np.array([[-14.0, 10.0], [-1.0, 0.0]])
    assert isinstance(equations, NormalEquations)
    np.testing.assert_allclose(equations.cost, 0.5 * residual @ residual, rtol=1e-14)
    np.testing.assert_allclose(equations.gradient, jacobian.T @ residual, rtol=1e-14)
    np.testing.assert_allclose(equations.curvature, jacobian.T @ jacobian, rtol=1e-14)
    np.testing.assert_allclose(equations.gradient, jax.grad(lambda x: 0.5 * jnp.sum(rosenbrock(x) ** 2))(x), rtol=1e-13)


@pytest.mark.parametrize("size", [1, 2, 3, 45, 61, 64])
def test_inverse_factor(double_precision, size):
    random = np.random.default_rng(size)
    samples = random.normal(size=(size, 2 * size + 1)) * 10.0 ** random.uniform(-3, 3, (size, 1))
    matrix = samples @ samples.T
    factor = np.asarray(jax.jit(inverse_factor)(jnp.asarray(matrix)))
    np.testing.assert_array_equal(np.triu(factor, 1), 0.0)
    np.testing.assert_allclose(factor @ matrix @ factor.T, np.eye(size), rtol=0.0, atol=1e-10)
    np.testing.assert_allclose(factor, np.linalg.inv(np.linalg.cholesky(matrix)), rtol=1e-8, atol=1e-9)


def test_inverse_factor_of_an_indefinite_matrix_is_nan():
    assert bool(jnp.any(jnp.isnan(inverse_factor(jnp.asarray([[1.0, 2.0], [2.0, 1.0]], jnp.float32)))))
