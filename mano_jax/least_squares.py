"""Levenberg-Marquardt for small dense problems: one problem a call, thousands at once under `vmap`.

The caller gives the normal equations, not the residuals: a prior whose curvature is constant, or a term whose Jacobian
is sparse or known in closed form, then costs what it costs and not the rows of a dense Jacobian. `from_residuals` makes
them from a residual function by forward-mode differentiation where that does not matter.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mano_jax.rotations import PRECISION

SMALLEST_DAMPING, LARGEST_DAMPING = 1e-7, 1e8


class NormalEquations(NamedTuple):
    """A cost and its Gauss-Newton model at a point: cost = |r|^2 / 2, gradient = J' r, curvature = J' J."""

    cost: Float[Array, ""]
    gradient: Float[Array, "parameters"]
    curvature: Float[Array, "parameters parameters"]


class Solution(NamedTuple):
    """Where the solver stopped. `curvature` is undamped, at `parameters`; its inverse is the parameters' covariance."""

    parameters: Float[Array, "parameters"]
    cost: Float[Array, ""]
    curvature: Float[Array, "parameters parameters"]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


class _State(NamedTuple):
    parameters: Float[Array, "parameters"]
    equations: NormalEquations
    damping: Float[Array, ""]
    growth: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def levenberg_marquardt(
    normal_equations: Callable[[Float[Array, "parameters"]], NormalEquations],
    start: Float[Array, "parameters"],
    *,
    max_iterations: int | Int[Array, ""] = 20,
    relative_tolerance: float = 1e-4,
    initial_damping: float = 1e-3,
) -> Solution:
    """Minimise a sum of squares; a step is kept only if it lowers the cost, so the result is never worse than `start`.

    Damping scales the diagonal of the curvature (Marquardt), which must be positive: give every parameter a prior,
    however weak. It follows the ratio of actual to predicted decrease (Nielsen 1999). Under `vmap` problems that have
    stopped keep their result while the others go on.

    Args:
      normal_equations: cost and Gauss-Newton model at a point. A cost that is not finite rejects the step.
      start: initial parameters.
      max_iterations: trial steps, rejected ones counted in.
      relative_tolerance: stop when an accepted step lowers the cost by less than this share of it; below 0: never stop,
        so that `max_iterations` trials are timed.
      initial_damping: first damping, relative to the curvature's diagonal.

    Source: Levenberg 1944, Marquardt 1963; damping rule: Nielsen, "Damping parameter in Marquardt's method", 1999.
    """

    def proceed(state: _State) -> Bool[Array, ""]:
        return (state.iterations < max_iterations) & ~state.converged

    def iterate(state: _State) -> _State:
        # The first pass evaluates the start, by a step of zero: the equations are then compiled once, not twice.
        first = state.iterations < 0
        cost, gradient, curvature = state.equations
        diagonal = jnp.diagonal(curvature)
        factor = jnp.linalg.cholesky(curvature + jnp.diag(state.damping * diagonal), symmetrize_input=False)
        step = -jax.scipy.linalg.cho_solve((factor, True), gradient)
        candidate = state.parameters + step
        trial = normal_equations(candidate)
        # Decrease that the model predicts: -g's - s'As/2 with (A + D) s = -g.
        predicted = 0.5 * jnp.sum(step * (state.damping * diagonal * step - gradient))
        decrease = cost - trial.cost
        accepted = jnp.isfinite(trial.cost) & (decrease > 0.0)
        gain = decrease / jnp.where(predicted > 0.0, predicted, 1.0)
        damping, growth = next_damping(state.damping, state.growth, accepted, gain)
        stop = (accepted & (decrease <= relative_tolerance * cost)) | (damping >= LARGEST_DAMPING)
        stop = stop & (relative_tolerance >= 0.0)
        keep = lambda new, old: jnp.where(accepted | first, new, old)  # noqa: E731
        return _State(
            parameters=keep(candidate, state.parameters),
            equations=jax.tree.map(keep, trial, state.equations),
            damping=jnp.where(first, state.damping, damping),
            growth=jnp.where(first, 2.0, growth),
            iterations=state.iterations + 1,
            converged=jnp.where(first, ~jnp.isfinite(trial.cost), stop),
        )

    state = _State(
        parameters=start,
        equations=NormalEquations(
            cost=jnp.zeros((), start.dtype),
            gradient=jnp.zeros_like(start),
            curvature=jnp.eye(start.shape[0], dtype=start.dtype),
        ),
        damping=jnp.asarray(initial_damping, start.dtype),
        growth=jnp.asarray(2.0, start.dtype),
        iterations=jnp.asarray(-1, jnp.int32),
        converged=jnp.asarray(False),
    )
    state = jax.lax.while_loop(proceed, iterate, state)
    return Solution(
        parameters=state.parameters,
        cost=state.equations.cost,
        curvature=state.equations.curvature,
        iterations=state.iterations,
        converged=state.converged & jnp.isfinite(state.equations.cost),
    )


def next_damping(
    damping: Float[Array, ""], growth: Float[Array, ""], accepted: Bool[Array, ""], gain: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Nielsen's rule: the damping after a step, and the factor by which the next rejected one raises it.

    Args:
      damping: of the step.
      growth: factor of a rejected step.
      accepted: whether the step was.
      gain: actual by predicted decrease.
    """
    shrink = jnp.clip(1.0 - (2.0 * gain - 1.0) ** 3, 1.0 / 3.0, 1.0)
    damping = jnp.clip(damping * jnp.where(accepted, shrink, growth), SMALLEST_DAMPING, LARGEST_DAMPING)
    return damping, jnp.where(accepted, 2.0, jnp.minimum(2.0 * growth, 1e3))


def from_residuals(
    residuals: Callable[[Float[Array, "parameters"]], Float[Array, "residuals"]],
) -> Callable[[Float[Array, "parameters"]], NormalEquations]:
    """Normal equations of a residual function, its Jacobian by forward-mode differentiation."""

    def normal_equations(parameters: Float[Array, "parameters"]) -> NormalEquations:
        def with_value(point):
            value = residuals(point)
            return value, value

        jacobian, value = jax.jacfwd(with_value, has_aux=True)(parameters)
        return NormalEquations(
            cost=0.5 * jnp.sum(value * value),
            gradient=jnp.einsum("rp,r->p", jacobian, value, precision=PRECISION),
            curvature=jnp.einsum("rp,rq->pq", jacobian, jacobian, precision=PRECISION),
        )

    return normal_equations
