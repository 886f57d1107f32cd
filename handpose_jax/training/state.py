"""All that a step of training changes, and the update that every system shares: guarded, averaged, counted."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree, UInt32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What a checkpoint holds. With the config it decides all that follows.

    Attributes:
      step: batches seen.
      params: what gradients train.
      batch_stats: running statistics of batch normalisation; an empty dict where there are none.
      optimizer: state of the optax optimiser.
      averaged: "params" and "batch_stats", exponentially averaged over the steps: what is evaluated and released.
      seed: all randomness is a function of it and of `step`.
      skipped: updates left out so far because a number was not finite.
      skipped_in_a_row: of these, the latest uninterrupted ones.
    """

    step: Int[Array, ""]
    params: PyTree
    batch_stats: PyTree
    optimizer: PyTree
    averaged: dict[str, PyTree]
    seed: UInt32[Array, ""]
    skipped: Int[Array, ""]
    skipped_in_a_row: Int[Array, ""]

    @property
    def variables(self) -> dict[str, Any]:
        """What Flax's `apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def new_state(params: PyTree, batch_stats: PyTree, optimizer: optax.GradientTransformation, seed: Any) -> TrainState:
    """The state before the first step."""

    def zero() -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    return TrainState(
        step=zero(),
        params=params,
        batch_stats=batch_stats,
        optimizer=optimizer.init(params),
        # Copies: a donated state must not hold one array twice.
        averaged=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}),
        seed=jnp.asarray(seed, jnp.uint32),
        skipped=zero(),
        skipped_in_a_row=zero(),
    )


def starting_from(state: TrainState, variables: dict[str, Any]) -> TrainState:
    """A new state with the parameters and statistics of trained weights, on the same devices.

    Args:
      state: of `new_state`.
      variables: "params" and "batch_stats" of the same shapes.
    """
    placed = jax.tree.map(lambda old, new: jax.device_put(new, old.sharding), state.variables, variables)
    averaged = jax.tree.map(jnp.copy, placed)
    return dataclasses.replace(state, **placed, averaged=averaged)


def step_key(seed: UInt32[Array, ""], step: Int[Array, ""]) -> Array:
    """The key of a step's data: a function of seed and step alone, so that a resumed run sees what it would have."""
    return jax.random.fold_in(jax.random.key(seed), step)


def apply_gradients(
    state: TrainState,
    gradients: PyTree,
    loss: Float[Array, ""],
    batch_stats: PyTree,
    optimizer: optax.GradientTransformation,
    average_decay: float,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """One update; where the loss, a gradient or a statistic is not finite, only the counters move.

    Args:
      state: before.
      gradients: of `params`.
      loss: of the batch.
      batch_stats: after the batch.
      optimizer: as the state was made with.
      average_decay: of the exponential average, from 0 (none) to below 1. Early on it is (1 + n) / (10 + n) after n
        steps if that is less, so that the random start is soon forgotten (as TensorFlow's moving average does).

    Returns:
      The state after, and the metrics gradient_norm (before clipping), update_norm and skipped (1 or 0).
    """
    norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    finite &= jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(batch_stats)], bool).all()
    # NaN times zero is NaN: replaced before the optimiser sees it.
    safe = jax.tree.map(lambda gradient: jnp.where(finite, gradient, 0), gradients)
    updates, optimizer_state = optimizer.update(safe, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)

    count = (state.step - state.skipped).astype(jnp.float32)
    decay = jnp.minimum(average_decay, (1.0 + count) / (10.0 + count))
    averaged = jax.tree.map(
        lambda old, new: old + (1.0 - decay).astype(old.dtype) * (new - old),
        state.averaged,
        {"params": params, "batch_stats": batch_stats},
    )

    def kept(new: PyTree, old: PyTree) -> PyTree:
        return jax.tree.map(lambda one, other: jnp.where(finite, one, other), new, old)

    bad = (~finite).astype(jnp.int32)
    after = TrainState(
        step=state.step + 1,
        params=kept(params, state.params),
        batch_stats=kept(batch_stats, state.batch_stats),
        optimizer=kept(optimizer_state, state.optimizer),
        averaged=kept(averaged, state.averaged),
        seed=state.seed,
        skipped=state.skipped + bad,
        skipped_in_a_row=(state.skipped_in_a_row + bad) * bad,
    )
    update_norm = optax.tree.norm(updates)
    metrics = {"gradient_norm": norm, "update_norm": update_norm, "skipped": bad.astype(jnp.float32)}
    return after, metrics
