"""Dexter+Object for TensorFlow Datasets: importing this registers the builder."""

from handpose_jax.data.builders.dexter_object.dexter_object_dataset_builder import Builder

__all__ = ["Builder"]
