"""Crops cut out of images, as TensorFlow operations: enlarged or averaged, mirrored, turned.

TensorFlow is imported by the functions that need it, by way of `tensorflow`, and nowhere else in the project.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

LARGEST_PLAIN_STEP = 1.25
"""Image pixels a crop pixel up to which two by two pixels tell enough; coarser crops average first."""


@functools.cache
def tensorflow() -> Any:
    """The module, which is told to leave accelerators to JAX."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError:
        raise ValueError("reading data sets needs TensorFlow: pip install 'handpose-jax[data]'") from None
    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    return tf


def seen_region(row: Mapping[str, Any], shape: Any, size: int) -> tuple[Any, Any]:
    """First and last + 1 (row, column) of the part of an image of a shape that a crop can see; never empty.

    Args:
      row: "centre", "to_image" (see `CropBatch`), "step" (image pixels a crop pixel).
      shape: (rows, columns) of the image.
      size: edge of the crop.
    """
    tf = tensorflow()
    reach = 0.5 * size * tf.reduce_sum(tf.abs(row["to_image"]), axis=1) + 2.0 * tf.maximum(row["step"], 1.0) + 2.0
    first = tf.cast(tf.math.floor(row["centre"] - reach), tf.int32)[::-1]
    last = tf.cast(tf.math.ceil(row["centre"] + reach), tf.int32)[::-1]
    # A crop beside the image is given a line of pixels which its square does not reach.
    first = tf.clip_by_value(first, 0, shape - 1)
    return first, tf.clip_by_value(last, first + 1, shape)


def resampled(part: Any, first: Any, last: Any, row: Mapping[str, Any], size: int, nearest: bool = False) -> Any:
    """The crop [size, size, channels], float32, of an image; 0 outside the image.

    Upright crops are those of `render_jax.Crop.image_to_crop`: bilinear, widened to a triangle of one crop pixel where
    the crop is coarser. Turned ones are bilinear, of an image that was first averaged if the crop is coarser.

    Args:
      part: the image's `seen_region`, [rows, columns, channels], any type.
      first, last: where it lies.
      row: as `seen_region`; and "mirrored", "upright".
      size: edge of the crop.
      nearest: the nearest pixel instead: for depth, in which a mean of hand and background is neither.
    """
    tf = tensorflow()
    part = tf.cast(part, tf.float32)
    # The picture itself is mirrored, so that a left hand's crop is, bit for bit, that of its mirror image.
    part = tf.cond(row["mirrored"], lambda: part[:, ::-1], lambda: part)
    centre = row["centre"] - tf.cast(first[::-1], tf.float32)
    width = tf.cast(last[1] - first[1], tf.float32)
    centre = tf.stack([tf.where(row["mirrored"], width - centre[0], centre[0]), centre[1]])
    if nearest:
        return _turned(part, centre, row["to_image"], size, "NEAREST")
    return tf.cond(
        row["upright"],
        lambda: _upright(part, centre, row["step"], size),
        lambda: _turned(*_averaged(part, centre, row["to_image"], row["step"]), size, "BILINEAR"),
    )


def _upright(image: Any, centre: Any, step: Any, size: int) -> Any:
    tf = tensorflow()
    # Beyond a border of zeros as wide as two triangles nothing of the image is in reach.
    border = 2 * tf.cast(tf.math.ceil(tf.maximum(step, 1.0)), tf.int32) + 1
    padded = tf.pad(image, [[border, border], [border, border], [0, 0]])
    factor = 1.0 / step
    corner = centre - 0.5 * size * step + tf.cast(border, tf.float32)
    return tf.raw_ops.ScaleAndTranslate(
        images=padded[None],
        size=[size, size],
        scale=tf.stack([factor, factor]),
        translation=-corner[::-1] * factor,
        kernel_type="triangle",
        antialias=True,
    )[0]


def _averaged(image: Any, centre: Any, to_image: Any, step: Any) -> tuple[Any, Any, Any]:
    """The whole image at the crop's coarseness, with centre and matrix of it; as it is where the crop is finer."""
    tf = tensorflow()

    def smaller() -> tuple[Any, Any, Any]:
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        pixels = tf.cast(tf.math.ceil(shape / step), tf.int32)
        small = tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=pixels,
            scale=tf.stack([1.0 / step, 1.0 / step]),
            translation=tf.zeros(2),
            kernel_type="triangle",
            antialias=True,
        )[0]
        return small, centre / step, to_image / step

    return tf.cond(step > LARGEST_PLAIN_STEP, smaller, lambda: (image, centre, to_image))


def _turned(image: Any, centre: Any, to_image: Any, size: int, interpolation: str) -> Any:
    tf = tensorflow()
    # The operation counts from pixel centres, which lie at + 0.5.
    start = centre + tf.linalg.matvec(to_image, tf.fill([2], 0.5 - 0.5 * size)) - 0.5
    numbers = tf.stack(
        [to_image[0, 0], to_image[0, 1], start[0], to_image[1, 0], to_image[1, 1], start[1], 0.0, 0.0], axis=0
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=numbers[None],
        output_shape=[size, size],
        interpolation=interpolation,
        fill_mode="CONSTANT",
        fill_value=0.0,
    )[0]
