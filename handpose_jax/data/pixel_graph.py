"""What a data pipeline does to pixels, as TensorFlow operations on one crop: read, decode, colour; and all of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from handpose_jax.data.pixels import DECODERS
from handpose_jax.data.records import RECORD_MARK, read_record
from handpose_jax.data.resampling_graph import resampled, seen_region, tensorflow

NOTHING, TENSORFLOW, PYTHON, IN_RECORD = 0, 1, 2, 4
"""Who decodes a row's file; IN_RECORD is added where its bytes are in a record."""
_PLAIN = ("rgb", "labels", "mask_picture")
_GREY_PNG = b"\x08\x00"
"""Bytes 24 and 25 of a PNG file: 8 bits, one channel that is no index into a palette."""
BLUR_RADIUS = 4
"""Taps on each side of the blur's middle."""


def coloured(image: Any, row: Mapping[str, Any]) -> Any:
    """Colours changed, blurred, a rectangle hidden; values in [0, 255].

    Args:
      image: [size, size, 3], float32.
      row: "colour", "blur", "cut_out", "cut_out_colour" of `Augmentation`.
    """
    tf = tensorflow()
    size = image.shape[0]
    image = tf.reshape(tf.matmul(tf.reshape(image, [-1, 3]), row["colour"][:, :3], transpose_b=True), [size, size, 3])
    image += row["colour"][:, 3]
    image = tf.cond(row["blur"] > 0.0, lambda: _blurred(image, row["blur"]), lambda: image)
    left, top, right, bottom = tf.unstack(row["cut_out"])

    def hidden() -> Any:
        place = (tf.range(size, dtype=tf.float32) + 0.5) / size
        columns, rows = (place > left) & (place < right), (place > top) & (place < bottom)
        return tf.where((rows[:, None] & columns[None])[..., None], row["cut_out_colour"], image)

    return tf.cond(right > left, hidden, lambda: image)


def _blurred(image: Any, deviation: Any) -> Any:
    tf = tensorflow()
    away = tf.range(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=tf.float32)
    taps = tf.exp(-0.5 * (away / deviation) ** 2)
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None, None, None], [1, 1, 3, 1])
    # Mirrored at the border, or it would darken.
    r = BLUR_RADIUS
    image = tf.pad(image, [[r, r], [r, r], [0, 0]], "REFLECT")[None]
    image = tf.nn.depthwise_conv2d(image, taps, [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(image, tf.transpose(taps, [1, 0, 2, 3]), [1, 1, 1, 1], "VALID")[0]


def as_bytes(image: Any) -> Any:
    """Values in [0, 255], rounded, as uint8."""
    tf = tensorflow()
    return tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)


def reader_of(path: str, encoding: str) -> int:
    """Who decodes a file: TensorFlow the common pictures, `handpose_jax.data.pixels` the rest."""
    if not path:
        return NOTHING
    decoder = TENSORFLOW if encoding in _PLAIN and not path.lower().endswith((".tif", ".tiff", ".webp")) else PYTHON
    return decoder + (IN_RECORD if RECORD_MARK in path else 0)


def pixels_of(row: Mapping[str, Any], kind: str) -> Any:
    """[height, width, channels] of a row's file: uint8 colours, uint8 labels or float32 metres."""
    tf = tensorflow()
    channels = 3 if kind == "images" else 1
    kind_of_number = tf.float32 if kind == "depth" else tf.uint8
    path, encoding, reader = (row[f"{kind}_{name}"] for name in ("path", "encoding", "reader"))
    content = tf.cond(
        reader >= IN_RECORD, lambda: tf.numpy_function(_read_record, [path], tf.string), lambda: tf.io.read_file(path)
    )

    def by_tensorflow() -> Any:
        return tf.io.decode_image(content, channels=channels, expand_animations=False)

    def by_python() -> Any:
        return tf.numpy_function(_decoded, [content, encoding], kind_of_number)

    plain = reader % IN_RECORD == TENSORFLOW
    if kind == "masks":
        # Of a label image with a palette TensorFlow would give the colours.
        plain &= (encoding != b"labels") | (tf.strings.substr(content, 24, 2) == _GREY_PNG)
    # Depth is never TensorFlow's, whose decoded pictures have another type.
    image = by_python() if kind == "depth" else tf.cond(plain, by_tensorflow, by_python)
    return tf.ensure_shape(image, [None, None, channels])


def crop_dataset(
    make_places: Callable[[int], Mapping[str, np.ndarray]],
    first_step: int,
    steps: int | None,
    options: Any,
    colour: bool,
    workers: int,
) -> Any:
    """A tf.data.Dataset of the crops of each step's rows: what `options.pixels` names, uint8 (depth: float32).

    Args:
      make_places: what a step's rows need, see `HandTable.places`.
      first_step, steps: which steps; None: without end.
      options: `CropOptions`.
      colour: whether rows say what to do to colours.
      workers: rows at once; 0: one a core.
    """
    tf = tensorflow()
    workers = workers or _cores()
    example = make_places(first_step)
    rows = len(next(iter(example.values())))

    def places() -> Iterator[Mapping[str, np.ndarray]]:
        step = first_step
        while steps is None or step < first_step + steps:
            yield make_places(step)
            step += 1

    signature = {
        name: tf.TensorSpec((rows, *value.shape[1:]), tf.string if value.dtype == object else value.dtype)
        for name, value in example.items()
    }
    dataset = tf.data.Dataset.from_generator(places, output_signature=signature).unbatch()
    # Conditions are written out below: TensorFlow need not rewrite any Python.
    crop = tf.autograph.experimental.do_not_convert(functools.partial(_crop, options, colour))
    dataset = dataset.map(crop, num_parallel_calls=workers, deterministic=True)
    settings = tf.data.Options()
    settings.threading.private_threadpool_size = workers
    settings.threading.max_intra_op_parallelism = 1  # Whole crops are made side by side.
    settings.autotune.enabled = False
    return dataset.batch(rows, drop_remainder=True).prefetch(2).with_options(settings)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _crop(options: Any, colour: bool, row: Mapping[str, Any]) -> dict[str, Any]:
    tf = tensorflow()
    size, result = options.size, {}
    files = {kind: _pixels_or_none(row, kind) for kind in options.pixels}
    # One black pixel stands for no file.
    shape = tf.reduce_max(tf.stack([tf.shape(pixels)[:2] for pixels in files.values()]), axis=0)
    first, last = seen_region(row, shape, size)
    parts = {kind: _part(row, kind, pixels, first, last) for kind, pixels in files.items()}
    if "depth" in parts:
        low, high = tf.unstack(row["depth_limits"])
        depth = resampled(parts.pop("depth"), first, last, row, size, nearest=True)
        depth = tf.ensure_shape(depth, [size, size, 1])[..., 0]
        result["depth"] = tf.where((depth >= low) & (depth <= high), depth, 0.0)
    if parts:
        # Picture and mask at once: much of resampling is finding out where from.
        crop = resampled(tf.concat(list(parts.values()), axis=-1), first, last, row, size)
        crop = tf.ensure_shape(crop, [size, size, sum(part.shape[-1] for part in parts.values())])
        channel = 0
        for kind, part in parts.items():
            plane = crop[..., channel : channel + part.shape[-1]]
            channel += part.shape[-1]
            plane = as_bytes(coloured(plane, row) if colour and kind == "images" else plane)
            result[kind] = plane if kind == "images" else plane[..., 0]
    return result


def _channels_and_type(kind: str) -> tuple[int, Any]:
    tf = tensorflow()
    return (3 if kind == "images" else 1), (tf.float32 if kind == "depth" else tf.uint8)


def _pixels_or_none(row: Mapping[str, Any], kind: str) -> Any:
    tf = tensorflow()
    channels, number = _channels_and_type(kind)
    nothing = row[f"{kind}_reader"] == NOTHING
    found = tf.cond(nothing, lambda: tf.zeros([1, 1, channels], number), lambda: pixels_of(row, kind))
    return tf.ensure_shape(found, [None, None, channels])


def _part(row: Mapping[str, Any], kind: str, pixels: Any, first: Any, last: Any) -> Any:
    """The region of an image that is seen; masks as 0 and 255; zeros where there is no file."""
    tf = tensorflow()
    channels, number = _channels_and_type(kind)

    def cut() -> Any:
        part = pixels[first[0] : last[0], first[1] : last[1]]
        if kind != "masks":
            return part
        low, high = tf.unstack(tf.cast(row["mask_labels"], tf.uint8))
        return tf.where((part >= low) & (part <= high), tf.constant(255, tf.uint8), tf.constant(0, tf.uint8))

    shape = tf.concat([last - first, [channels]], axis=0)
    part = tf.cond(row[f"{kind}_reader"] == NOTHING, lambda: tf.zeros(shape, number), cut)
    return tf.ensure_shape(part, [None, None, channels])


def _read_record(path: bytes) -> bytes:
    return read_record(os.fsdecode(path))


def _decoded(content: bytes, encoding: bytes) -> np.ndarray:
    pixels = DECODERS[encoding.decode()](content)
    return pixels if pixels.ndim == 3 else pixels[..., None]
