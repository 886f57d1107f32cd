"""The loop of every training: source, step, and now and then a line of metrics, a picture, a checkpoint."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from handpose_jax.training.checkpoints import Checkpoints
from handpose_jax.training.metrics_writer import MetricsWriter
from handpose_jax.training.state import TrainState, step_key

Metrics = dict[str, Any]

MOST_SKIPPED_IN_A_ROW = 50
"""Batches without a finite update after which training is given up."""


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """How long, and what how often (in steps). Free to differ when a run is resumed: none changes the numbers.

    Attributes:
      steps: batches to train on in all.
      log_every: metrics are means over so many steps.
      checkpoint_every: the last step is saved too.
      keep_checkpoints: the newest, others are deleted.
      evaluate_every: 0 for never.
      picture_every: 0 for never.
    """

    steps: int = 50_000
    log_every: int = 50
    checkpoint_every: int = 500
    keep_checkpoints: int = 3
    evaluate_every: int = 1000
    picture_every: int = 1000

    def __post_init__(self):
        if min(self.steps, self.log_every, self.checkpoint_every, self.keep_checkpoints) < 1:
            raise ValueError(
                "steps, log_every, checkpoint_every and keep_checkpoints must be at least 1, got "
                f"{self.steps}, {self.log_every}, {self.checkpoint_every}, {self.keep_checkpoints}"
            )
        if min(self.evaluate_every, self.picture_every) < 0:
            raise ValueError(
                f"evaluate_every and picture_every must be >= 0, got {self.evaluate_every}, {self.picture_every}"
            )


@dataclasses.dataclass(frozen=True)
class Hook:
    """Something done every so many steps, and after the last.

    Attributes:
      every: steps; 0 for never.
      run: (state, step) -> metrics to be written, or None. It must not donate the state.
    """

    every: int
    run: Callable[[TrainState, int], Metrics | None]

    def due(self, step: int, last: int) -> bool:
        return self.every > 0 and (step % self.every == 0 or step == last)


def train(
    state: TrainState,
    train_step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    source: Callable[[int, jax.Array], Any],
    options: LoopOptions,
    checkpoints: Checkpoints,
    writer: MetricsWriter,
    images_per_step: int,
    hooks: Sequence[Hook] = (),
    stop: Callable[[], bool] = lambda: False,
) -> TrainState:
    """Trains from `state.step` to `options.steps`, or until `stop` says so; the last step is in a checkpoint then.

    Deterministic: a step's batch is `source(step, key)` with the key folded from seed and step, so a run that was
    stopped and resumed does what an uninterrupted one does; on a CPU bit for bit.

    Args:
      state: fresh or restored; it is donated.
      train_step: (state, batch) -> state and scalar metrics.
      source: (step, key) -> batch.
      options: when.
      checkpoints: where the state is saved.
      writer: where metrics go.
      images_per_step: for the rate.
      hooks: pictures, evaluation.
      stop: asked before each step.

    Returns:
      The last state; its `step` is less than `options.steps` if it was stopped.

    Raises:
      ValueError: MOST_SKIPPED_IN_A_ROW batches gave no finite update.
    """
    key_of = jax.jit(step_key)
    step = saved = int(state.step)
    window: list[dict[str, jax.Array]] = []
    meter = _Meter(images_per_step)
    while step < options.steps and not stop():
        # What moves to a device here is moved explicitly, or it would be moved again at every step.
        with jax.transfer_guard("disallow"):
            batch = source(step, key_of(state.seed, state.step))
            meter.fed()
            state, metrics = train_step(state, batch)
        if window:
            jax.block_until_ready(window[-1])  # at most one step runs ahead of the host
        window.append(metrics)
        step += 1
        meter.stepped()
        last = step == options.steps
        if step % options.log_every == 0 or last:
            jax.block_until_ready(metrics)
            writer.write(step, {**means(window), **meter.read(), "skipped_in_all": int(state.skipped)})
            window = []
            _check_not_diverged(state)
        for hook in hooks:
            if hook.due(step, options.steps):
                results = hook.run(state, step)
                if results:
                    writer.write(step, results)
        if step % options.checkpoint_every == 0 or last:
            checkpoints.save(step, state)
            saved = step
        meter.resume()
    if saved != step:
        checkpoints.save(step, state)
    checkpoints.wait()
    return state


def means(window: Sequence[dict[str, jax.Array]]) -> dict[str, float]:
    """Mean of each metric over steps, leaving out values that are not finite; NaN where none is."""
    host = jax.device_get(list(window))
    result = {}
    for name in host[0]:
        values = np.array([step[name] for step in host], np.float64)
        values = values[np.isfinite(values)]
        result[name] = float(values.mean()) if len(values) else math.nan
    return result


def _check_not_diverged(state: TrainState) -> None:
    if int(state.skipped_in_a_row) >= MOST_SKIPPED_IN_A_ROW:
        raise ValueError(
            f"training diverged: the last {int(state.skipped_in_a_row)} batches gave a loss or gradient that is not "
            "finite; lower optimizer.learning_rate or optimizer.clip_norm, and go on from the last checkpoint"
        )


class _Meter:
    """Images a second and the share of waiting for data since the last reading, without hooks and checkpoints."""

    def __init__(self, images_per_step: int):
        self._images_per_step = images_per_step
        self._first = True
        self._begin = time.perf_counter()
        self._waited = self._elapsed = 0.0
        self._steps = 0

    def fed(self) -> None:
        self._waited += time.perf_counter() - self._begin

    def stepped(self) -> None:
        self._elapsed += time.perf_counter() - self._begin
        self._begin = time.perf_counter()
        self._steps += 1

    def resume(self) -> None:
        """After hooks and checkpoints, whose time does not count."""
        self._begin = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Includes the wait for the last step; the first reading contains compilation and says so by its name."""
        self._elapsed += time.perf_counter() - self._begin
        rate = self._steps * self._images_per_step / self._elapsed
        name = "images_per_second_with_compilation" if self._first else "images_per_second"
        result = {name: rate, "data_wait_share": self._waited / self._elapsed}
        self._first, self._waited, self._elapsed, self._steps = False, 0.0, 0.0, 0
        self._begin = time.perf_counter()
        return result
