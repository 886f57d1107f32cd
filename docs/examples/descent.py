"""Gradient descent as all the examples use it: Adam, with a step size for each parameter."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Parameters = Any  # any pytree of arrays


def descend(
    loss: Callable[[Parameters, Int[Array, ""]], Float[Array, ""]],
    start: Parameters,
    step_sizes: Sequence[float],
    steps: int,
) -> tuple[Parameters, Parameters]:
    """Adam on a pytree of parameters.

    Adam makes all gradients alike in size, so a step size says how far a parameter moves in one step, in its own unit.
    All of them fall along half a cosine, to a twentieth.

    Args:
      loss: of the parameters and the number of the step, by which it may go from coarse to fine.
      start: where to begin.
      step_sizes: one number for each leaf of `start`, in their order.
      steps: how many.

    Returns:
      The parameters after the last step; the parameters before each step, stacked.
    """
    adam = optax.adam(optax.cosine_decay_schedule(1.0, steps, alpha=0.05))
    sizes = jax.tree.unflatten(jax.tree.structure(start), step_sizes)

    def step(state, number):
        parameters, moments = state
        updates, moments = adam.update(jax.grad(loss)(parameters, number), moments)
        moved = jax.tree.map(lambda value, update, size: value + size * update, parameters, updates, sizes)
        return (moved, moments), parameters

    (found, _), path = jax.lax.scan(step, (start, adam.init(start)), jnp.arange(steps))
    return found, path
