"""The guarded update against optax and a NumPy average, and the keys of steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from handpose_jax.training import OptimizerOptions, apply_gradients, learning_rate_schedule, make_optimizer
from handpose_jax.training.state import step_key
from tests.handpose_jax.training.toy import OPTIMIZER, fresh_state


def test_updates_are_those_of_optax_and_the_average_follows():
    state = fresh_state()
    params: Any = state.params
    optimizer_state = state.optimizer
    average = np.asarray(params["layer"]["kernel"], np.float64)
    for count in range(4):
        gradients = jax.tree.map(lambda leaf, count=count: jnp.full_like(leaf, 3.0 + count), params)
        state, metrics = apply_gradients(state, gradients, jnp.ones(()), {"mean": jnp.ones(3)}, OPTIMIZER, 0.25)
        updates, optimizer_state = OPTIMIZER.update(gradients, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        jax.tree.map(np.testing.assert_array_equal, state.params, params)
        decay = min(0.25, (1 + count) / (10 + count))
        average = decay * average + (1 - decay) * np.asarray(params["layer"]["kernel"], np.float64)
        np.testing.assert_allclose(state.averaged["params"]["layer"]["kernel"], average, rtol=1e-6)
        np.testing.assert_allclose(metrics["gradient_norm"], 2.0 * (3.0 + count), rtol=1e-6)
    assert int(state.step) == 4


@pytest.mark.parametrize("where", ["loss", "gradient", "statistic"])
def test_nothing_moves_but_the_counters_where_a_number_is_not_finite(where: str):
    state, bad = fresh_state(), jnp.asarray(jnp.inf)
    gradients = jax.tree.map(jnp.ones_like, state.params)
    if where == "gradient":
        gradients["layer"]["bias"] = gradients["layer"]["bias"] * jnp.nan
    statistics = {"mean": jnp.ones(3).at[1].set(bad if where == "statistic" else 1.0)}
    loss = bad if where == "loss" else jnp.ones(())
    after, metrics = apply_gradients(state, gradients, loss, statistics, OPTIMIZER, 0.9)
    for name in ("params", "batch_stats", "optimizer", "averaged"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))
    assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (1, 1, 1)
    assert metrics["skipped"] == 1.0


def test_keys_are_a_function_of_seed_and_step():
    keys = {(seed, step): step_key(jnp.uint32(seed), jnp.int32(step)) for seed in (0, 1) for step in (0, 1)}
    data = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys.values()}
    assert len(data) == 4
    again = jax.random.fold_in(jax.random.key(1), 1)
    np.testing.assert_array_equal(jax.random.key_data(keys[1, 1]), jax.random.key_data(again))


def test_learning_rate():
    options = OptimizerOptions(learning_rate=0.1, warmup_steps=10, decay_steps=110, final_share=0.5)
    rate = learning_rate_schedule(options)
    # Half-way down the cosine the rate is half-way between the highest and the last; after its end it stays.
    for step, expected in ((0, 0.0), (5, 0.05), (10, 0.1), (60, 0.075), (110, 0.05), (1000, 0.05)):
        np.testing.assert_allclose(rate(step), expected, atol=1e-7)
    np.testing.assert_allclose(learning_rate_schedule(OptimizerOptions(warmup_steps=0))(0), 1e-3)


def test_weight_decay_spares_biases_and_clipping_can_be_off():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    optimizer = make_optimizer(OptimizerOptions(warmup_steps=0, weight_decay=0.1, clip_norm=0.0))
    updates: Any
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -1e-3 * 0.1, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0.0)


@pytest.mark.parametrize(
    "settings", [{"learning_rate": 0.0}, {"warmup_steps": 50_000}, {"average_decay": 1.0}, {"clip_norm": -1.0}]
)
def test_impossible_options(settings):
    with pytest.raises(ValueError, match=r"expected|must be"):
        OptimizerOptions(**settings)
