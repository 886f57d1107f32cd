"""Synthetic photographs of hands in pure JAX: functions of a key and frozen options, one image each."""

from handpose_jax.synthesis.images import SyntheticHand, keys_of, synthesis_tables, synthetic_batch, synthetic_hand
from handpose_jax.synthesis.options import SynthesisOptions
from handpose_jax.synthesis.sampling import HandSample, sample_hand

__all__ = [
    "HandSample",
    "SynthesisOptions",
    "SyntheticHand",
    "keys_of",
    "sample_hand",
    "synthesis_tables",
    "synthetic_batch",
    "synthetic_hand",
]
