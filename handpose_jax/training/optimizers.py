"""The optimiser: Adam with clipped gradients and a learning rate that warms up and falls along a cosine."""

import dataclasses

import jax
import optax
from jaxtyping import PyTree


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """All [ours]; no paper of the three gives more than a rate.

    Attributes:
      learning_rate: the highest.
      warmup_steps: over which it rises from 0.
      decay_steps: at which it has fallen to `final_share` of the highest; it stays there. Apart from the number of
        steps to be trained, so that a run may be prolonged without changing what it has done.
      final_share: see there.
      weight_decay: decoupled (AdamW), of kernels; not of biases and norms.
      clip_norm: gradients longer than this are shortened to it; 0 clips nothing.
      average_decay: of the exponential average of the parameters.
    """

    learning_rate: float = 1e-3
    warmup_steps: int = 500
    decay_steps: int = 50_000
    final_share: float = 0.01
    weight_decay: float = 1e-4
    clip_norm: float = 10.0
    average_decay: float = 0.999

    def __post_init__(self):
        if not self.learning_rate > 0.0 or not 0 <= self.warmup_steps < self.decay_steps:
            raise ValueError(
                "expected learning_rate > 0 and 0 <= warmup_steps < decay_steps, got "
                f"{self.learning_rate}, {self.warmup_steps}, {self.decay_steps}"
            )
        if not 0.0 <= self.average_decay < 1.0 or not 0.0 <= self.final_share <= 1.0:
            raise ValueError(
                "expected average_decay in [0, 1) and final_share in [0, 1], got "
                f"{self.average_decay}, {self.final_share}"
            )
        if self.clip_norm < 0.0 or self.weight_decay < 0.0:
            raise ValueError(f"clip_norm and weight_decay must be >= 0, got {self.clip_norm}, {self.weight_decay}")


def learning_rate_schedule(options: OptimizerOptions) -> optax.Schedule:
    """Number of updates made -> learning rate."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if options.warmup_steps else options.learning_rate,
        peak_value=options.learning_rate,
        warmup_steps=options.warmup_steps,
        decay_steps=options.decay_steps,
        end_value=options.final_share * options.learning_rate,
    )


def make_optimizer(options: OptimizerOptions) -> optax.GradientTransformation:
    """The optimiser of these options."""

    def kernels(params: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    adam = optax.adamw(learning_rate_schedule(options), weight_decay=options.weight_decay, mask=kernels)
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), adam) if options.clip_norm else adam
