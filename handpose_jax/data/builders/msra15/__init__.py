"""MSRA15 for TensorFlow Datasets: importing this registers the builder."""

from handpose_jax.data.builders.msra15.msra15_dataset_builder import Builder

__all__ = ["Builder"]
