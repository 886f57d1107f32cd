"""Readers of keypoint files, one format a file; `handpose_jax.data.keypoint_files` chooses among them."""
