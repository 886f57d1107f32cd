"""Pictures as separate planes [height, width], worked on in chunks: what makes deferred shading fast on a CPU.

XLA's CPU compiler fuses a chain of elementwise operations into its last one. If that interleaves channels
([height, width, 3]), every pixel's whole chain is computed once a channel in scalar code: shading then takes ten to
thirty times as long. A loop is the one thing it does not fuse across, hence `in_chunks`, which also keeps the
intermediate planes in the cache.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

CHUNK_PIXELS = 4000


def in_chunks(function: Callable[..., Sequence[Array]], planes: Sequence[Array]) -> list[Array]:
    """`function(*planes)` for a function of pixels that do not see each other, some thousand pixels at a time.

    Args:
      function: takes as many arrays of one axis as there are planes, returns a sequence of such arrays.
      planes: arrays [height, width]. The last chunk is filled up with zeros.
    """
    shape, pixels = planes[0].shape, planes[0].size
    # A loop that runs once would be dissolved, so there are at least two chunks.
    chunks = max(2, math.ceil(pixels / CHUNK_PIXELS))
    size = math.ceil(pixels / chunks)
    padded = [jnp.pad(plane.reshape(-1), (0, chunks * size - pixels)).reshape(chunks, size) for plane in planes]
    results = lax.map(jax.checkpoint(lambda parts: tuple(function(*parts)), prevent_cse=False), tuple(padded))
    return [result.reshape(-1)[:pixels].reshape(shape) for result in results]


def interleaved(planes: Float[Array, "channels height width"]) -> Float[Array, "height width channels"]:
    """Planes as an image.

    Not `jnp.moveaxis`: XLA's CPU compiler (jaxlib 0.10.2) silently gives every channel the values of the first where a
    batch of such images is weighted and summed in one program.
    """
    return jnp.stack(jnp.unstack(planes), axis=-1)


def at_pixels(values: Float[Array, "faces"], face_index: Int[Array, "*pixels"]) -> Float[Array, "*pixels"]:
    """A number of each pixel's face; any of them where the index is -1.

    One number a face at a time: such gathers fuse with what follows, those of rows do not.
    """
    return jnp.take(values, face_index, mode="clip")


def pixel_centres(image_size: Sequence[int], dtype) -> tuple[Array, Array]:
    """u and v of every pixel's centre, each [height, width]."""
    height, width = shape = tuple(image_size)
    u, v = jnp.arange(width, dtype=dtype) + 0.5, jnp.arange(height, dtype=dtype) + 0.5
    return jnp.broadcast_to(u[None, :], shape), jnp.broadcast_to(v[:, None], shape)


def interpolate_planes(
    face_index: Int[Array, "*pixels"],
    weights: Sequence[Float[Array, "*pixels"]],
    corner_attributes: Float[Array, "faces 3 channels"],
) -> list[Float[Array, "*pixels"]]:
    """Attributes of the faces' corners, weighted: one plane a channel, 0 where the index is -1."""

    def channel_plane(channel):
        one, two, three = (at_pixels(corner_attributes[:, corner, channel], face_index) for corner in range(3))
        # Not left to the weights, which are 0 there: what is gathered may be NaN.
        return jnp.where(face_index >= 0, weights[0] * one + weights[1] * two + weights[2] * three, 0)

    return [channel_plane(channel) for channel in range(corner_attributes.shape[2])]
