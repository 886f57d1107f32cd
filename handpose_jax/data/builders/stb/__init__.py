"""STB for TensorFlow Datasets: importing this registers the builder."""

from handpose_jax.data.builders.stb.stb_dataset_builder import Builder

__all__ = ["Builder"]
