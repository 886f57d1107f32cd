"""ICVL for TensorFlow Datasets: importing this registers the builder."""

from handpose_jax.data.builders.icvl.icvl_dataset_builder import Builder

__all__ = ["Builder"]
