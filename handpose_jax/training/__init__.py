"""Training that knows no system: state, loop, sharding, checkpoints, metrics. Each wing brings a step and a source."""

from handpose_jax.training.checkpoints import Checkpoints
from handpose_jax.training.loop import Hook, LoopOptions, train
from handpose_jax.training.metrics_writer import MetricsWriter
from handpose_jax.training.optimizers import OptimizerOptions, learning_rate_schedule, make_optimizer
from handpose_jax.training.sharding import batch_sharding, data_mesh, replicated_sharding
from handpose_jax.training.state import TrainState, apply_gradients, new_state, starting_from
from handpose_jax.training.stopping import stop_on_signals
from handpose_jax.training.system import System

__all__ = [
    "Checkpoints",
    "Hook",
    "LoopOptions",
    "MetricsWriter",
    "OptimizerOptions",
    "System",
    "TrainState",
    "apply_gradients",
    "batch_sharding",
    "data_mesh",
    "learning_rate_schedule",
    "make_optimizer",
    "new_state",
    "replicated_sharding",
    "starting_from",
    "stop_on_signals",
    "train",
]
