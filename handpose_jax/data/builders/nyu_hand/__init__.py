"""NYU hand for TensorFlow Datasets: importing this registers the builder."""

from handpose_jax.data.builders.nyu_hand.nyu_hand_dataset_builder import Builder

__all__ = ["Builder"]
