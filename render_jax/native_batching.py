"""What keeps loops fast under `vmap`, `shard_map` and XLA's fusion.

`vmap` of a function that already takes a batch is one call on a longer batch, not a loop in lockstep.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool


def natively_batched(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose `vmap` (also nested) calls it once on all batches merged into one.

    Args:
      function: takes arrays, and returns an array or a pytree of arrays, that all have the batch as their first axis.

    A plain `vmap` of a `while_loop` runs every image as long as the longest; the function, called once, can go through
    all there is to do in one loop. It can still not be differentiated in forward mode if it contains such a loop.
    """
    wrapped = jax.custom_batching.custom_vmap(function)

    @wrapped.def_vmap
    def _(axis_size: int, in_batched: Sequence[bool], *arrays):
        stacked = [
            array if is_batched else jnp.broadcast_to(array, (axis_size, *array.shape))
            for array, is_batched in zip(arrays, in_batched, strict=True)
        ]
        inner = stacked[0].shape[1]
        result = wrapped(*(array.reshape(axis_size * inner, *array.shape[2:]) for array in stacked))
        result = jax.tree.map(lambda array: array.reshape(axis_size, inner, *array.shape[1:]), result)
        return result, jax.tree.map(lambda _: True, result)

    return wrapped


def varying_like(reference: Array, tree: Any) -> Any:
    """The same numbers, typed to differ by device where the (finite) reference does.

    Under `shard_map`, what a loop starts with must be typed so. The public name of that type changes between versions
    of JAX; adding a zero made of the reference works in all.
    """
    zero = 0 * reference.reshape(-1)[0]
    return jax.tree.map(lambda array: array + zero.astype(array.dtype), tree)


def computed_apart(always: Bool[Array, ""], function: Callable[..., Any], arrays: Any) -> Any:
    """function(arrays), stored before anything uses it.

    XLA's CPU compiler computes a value that several loops use in each of them anew, however much it costs, and its
    `optimization_barrier` is gone by then. Nothing is moved over the border of a conditional, though.

    Args:
      always: true, but not known to be when compiled.
      function: of `arrays`, a pytree of one or more arrays.
    """
    kinds = jax.eval_shape(function, arrays)
    reference = jax.tree.leaves(arrays)[0]

    def never(arrays):
        del arrays
        return varying_like(reference, jax.tree.map(lambda kind: jnp.zeros(kind.shape, kind.dtype), kinds))

    return lax.cond(always, function, never, arrays)
