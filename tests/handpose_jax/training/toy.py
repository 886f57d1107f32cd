"""A problem small enough to train in a test: a line through noisy points, with a running mean as batch statistics."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from handpose_jax.training import OptimizerOptions, TrainState, apply_gradients, make_optimizer, new_state

OPTIONS = OptimizerOptions(learning_rate=0.2, warmup_steps=3, decay_steps=100, average_decay=0.9)
OPTIMIZER = make_optimizer(OPTIONS)
TRUTH = np.array([[2.0], [-1.0], [0.5]], np.float32)
BAD_STEP = 7
"""The batch of this step of `poisoned_source` holds a NaN."""


def fresh_state() -> TrainState:
    params = {"layer": {"kernel": jnp.zeros((3, 1)), "bias": jnp.ones((1,))}}
    return new_state(params, {"mean": jnp.zeros(3)}, OPTIMIZER, 5)


@jax.jit
def _batch(key: jax.Array) -> dict[str, jax.Array]:
    inputs = jax.random.normal(key, (8, 3))
    return {"inputs": inputs, "outputs": inputs @ TRUTH}


def source(step: int, key: jax.Array) -> dict[str, jax.Array]:
    return _batch(key)


@jax.jit
def _poisoned(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {**batch, "inputs": batch["inputs"].at[0, 0].set(jnp.nan)}


def poisoned_source(step: int, key: jax.Array) -> dict[str, jax.Array]:
    batch = _batch(key)
    return _poisoned(batch) if step == BAD_STEP else batch


def step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, dict[str, Any]]:
    def loss_of(params: Any) -> jax.Array:
        predicted = batch["inputs"] @ params["layer"]["kernel"] + params["layer"]["bias"][None]
        return jnp.mean((predicted - batch["outputs"]) ** 2)

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    statistics = {"mean": 0.9 * state.batch_stats["mean"] + 0.1 * batch["inputs"].mean(axis=0)}
    after, metrics = apply_gradients(state, gradients, loss, statistics, OPTIMIZER, OPTIONS.average_decay)
    return after, {"loss": loss, **metrics}


train_step = functools.partial(jax.jit(step, donate_argnums=0))


def assert_equal(found: TrainState, expected: TrainState) -> None:
    """Bit for bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), jax.device_get(expected))
