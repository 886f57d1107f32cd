"""What a wing hands to the launcher: everything that is particular to it, behind functions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from handpose_jax.training.loop import Hook
from handpose_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class System:
    """A system ready to train.

    Attributes:
      abstract_state: shapes, types and shardings of the state; costs no computation.
      abstract_batch: the same of what the source gives.
      initial_state: makes the state before the first step.
      source: (step, key) -> batch on the devices.
      train_step: (state, batch) -> state and metrics; the state that goes in is donated.
      lower: the step as JAX's lowered program, for `--dry_run`.
      hooks: what else happens now and then.
      images_per_step: of a batch.
    """

    abstract_state: Callable[[], TrainState]
    abstract_batch: Callable[[], Any]
    initial_state: Callable[[], TrainState]
    source: Callable[[int, jax.Array], Any]
    train_step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    lower: Callable[[], jax.stages.Lowered]
    hooks: tuple[Hook, ...]
    images_per_step: int
