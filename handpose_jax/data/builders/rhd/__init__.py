"""RHD for TensorFlow Datasets: importing this registers the builder."""

from handpose_jax.data.builders.rhd.rhd_dataset_builder import Builder

__all__ = ["Builder"]
