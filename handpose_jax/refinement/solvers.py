"""Solvers of one problem, all of the same cost: each a function of a start, each step recorded.

First-order ones walk in coordinates in which every parameter is of order one (`SCALES`): a step of the same length in
radians, metres and standard deviations would be no method at all.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from handpose_jax.refinement.image_fit import Equations
from mano_jax.keypoint_model import ANGLES
from mano_jax.least_squares import levenberg_marquardt

ROTATION, TRANSLATION, SHAPE, ANGLE = 0.2, 0.02, 1.0, 0.3
"""Natural sizes of a change: radians, metres, standard deviations, radians."""


class Path(NamedTuple):
    """Where a solver went: entries before the first step and after each."""

    parameters: Float[Array, "steps+1 parameters"]
    cost: Float[Array, "steps+1"]


def scales(parameters: int) -> Float[np.ndarray, "parameters"]:
    """Natural size of each of the flat `HandParameters`."""
    shapes = parameters - 6 - ANGLES
    sizes = (np.full(3, ROTATION), np.full(3, TRANSLATION), np.full(shapes, SHAPE), np.full(ANGLES, ANGLE))
    return np.concatenate(sizes).astype(np.float32)


def gradient_descent(
    equations: Equations, start: Float[Array, "parameters"], steps: int, step_size: float | Array
) -> Path:
    """Plain gradient descent, the paper's rule: x <- x - γ ∂cost/∂x; where a gradient is not finite it stays."""
    return _walk(equations, start, steps, optax.sgd(step_size))


def adam(equations: Equations, start: Float[Array, "parameters"], steps: int, step_size: float | Array) -> Path:
    """Adam; otherwise as `gradient_descent`."""
    return _walk(equations, start, steps, optax.adam(step_size))


def lbfgs(equations: Equations, start: Float[Array, "parameters"], steps: int) -> Path:
    """L-BFGS with a zoom line search (optax): several evaluations a step."""
    cost = scaled_cost(equations, start)
    rule = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(cost)

    def step(carry, _):
        point, state = carry
        value, gradient = value_and_grad(point, state=state)
        update, state = rule.update(gradient, state, point, value=value, grad=gradient, value_fn=cost)
        return (optax.apply_updates(point, update), state), (point, value)

    zero = jnp.zeros_like(start)
    _, (points, costs) = jax.lax.scan(step, (zero, rule.init(zero)), None, length=steps + 1)
    return Path(start[None] + points * scales(start.shape[0])[None], jnp.asarray(costs))


def gauss_newton(equations: Equations, start: Float[Array, "parameters"], steps: int) -> Path:
    """Levenberg-Marquardt, of whose trial steps only better ones are kept."""

    def after(count: Array) -> tuple[Array, Array]:
        found = levenberg_marquardt(equations, start, max_iterations=count, relative_tolerance=-1.0)
        return found.parameters, found.cost

    # The solver keeps no history: it is run again for each length, which only a study of convergence needs.
    return Path(*jax.lax.map(after, jnp.arange(steps + 1)))


def scaled_cost(
    equations: Equations, start: Float[Array, "parameters"]
) -> Callable[[Float[Array, "parameters"]], Float[Array, ""]]:
    """The cost as a function of steps from the start, in natural sizes; its gradient is the equations' own."""
    size = jnp.asarray(scales(start.shape[0]), start.dtype)

    @jax.custom_vjp
    def cost(point: Float[Array, "parameters"]) -> Float[Array, ""]:
        return equations(start + size * point).cost

    def forward(point):
        found = equations(start + size * point)
        return found.cost, size * found.gradient

    cost.defvjp(forward, lambda gradient, change: (change * gradient,))
    return cost


def _walk(
    equations: Equations, start: Float[Array, "parameters"], steps: int, rule: optax.GradientTransformation
) -> Path:
    value_and_grad = jax.value_and_grad(scaled_cost(equations, start))

    def step(carry, _):
        point, state = carry
        value, gradient = value_and_grad(point)
        usable = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        update, state = rule.update(jnp.where(usable, gradient, 0.0), state)
        return (point + jnp.where(usable, jnp.asarray(update), 0.0), state), (point, value)

    zero = jnp.zeros_like(start)
    _, (points, costs) = jax.lax.scan(step, (zero, rule.init(zero)), None, length=steps + 1)
    return Path(start[None] + points * scales(start.shape[0])[None], jnp.asarray(costs))
