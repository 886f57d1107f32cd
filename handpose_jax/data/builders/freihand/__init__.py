"""FreiHAND v2 for TensorFlow Datasets: importing this registers the builder."""

from handpose_jax.data.builders.freihand.freihand_dataset_builder import Builder

__all__ = ["Builder"]
