"""From light to a photograph's pixels: lens blur, white balance, noise. And a detector's keypoints."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from handpose_jax.synthesis.options import SynthesisOptions
from mano_jax.rotations import PRECISION
from render_jax.planes import in_chunks

_BLUR_RADIUS = 3


def photograph(key: PRNGKeyArray, image: Float[Array, "s s 3"], options: SynthesisOptions) -> Float[Array, "s s 3"]:
    """A picture as a small camera takes it, display values in [0, 1]."""
    draw_key, noise_key = jax.random.split(key)
    deviation, gains, level = _camera(draw_key, options)
    image = blurred(image, deviation) * gains[None, None]
    strength = _noise_strength(level, image)
    return jnp.clip(image + strength * jax.random.normal(noise_key, image.shape), 0.0, 1.0)


def quick_photograph(
    key: PRNGKeyArray, planes: Sequence[Float[Array, "s s"]], options: SynthesisOptions
) -> Float[Array, "s s 3"]:
    """`photograph` of a picture in planes, with noise that is nearly normal and no wider blur than it takes."""
    draw_key, noise_key = jax.random.split(key)
    deviation, gains, level = _camera(draw_key, options)
    size = planes[0].shape[0]
    # Beyond three deviations there is nothing. The band of a matrix, since products of matrices are fast everywhere.
    offsets = np.abs(np.arange(size)[:, None] - np.arange(size)[None])
    near = offsets <= min(_BLUR_RADIUS, int(np.ceil(3.0 * options.blur[1] * size / 256.0)))
    band = jnp.exp(-0.5 * jnp.square(jnp.asarray(offsets * near, jnp.float32) / jnp.maximum(deviation, 1e-2))) * near
    band = band / band.sum(axis=1, keepdims=True)
    blurry = jnp.einsum("ia,cab,jb->cij", band, jnp.stack(planes), band, precision=PRECISION)
    bits = jax.random.bits(noise_key, (3, size, size), jnp.uint32)

    def expose(*parts: Array) -> list[Array]:
        exposed = [gain * plane for gain, plane in zip(jnp.unstack(gains), parts[:3], strict=True)]
        return [
            jnp.clip(plane + _noise_strength(level, plane) * nearly_normal(noise), 0.0, 1.0)
            for plane, noise in zip(exposed, parts[3:], strict=True)
        ]

    return jnp.stack(in_chunks(expose, [*blurry, *bits]), axis=-1)


def nearly_normal(bits: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    """The four bytes of random words, added up: mean 0, deviation 1, normal up to its ends at 3.5 deviations."""
    total = functools.reduce(jnp.add, [(bits >> shift) & 0xFF for shift in (0, 8, 16, 24)])
    # A byte's variance is (256² - 1) / 12. Through int32, whose conversion is fast.
    return (total.astype(jnp.int32).astype(jnp.float32) - 510.0) * np.float32(1.0 / np.sqrt((256**2 - 1) / 3.0))


def _camera(key: PRNGKeyArray, options: SynthesisOptions) -> tuple[Array, Array, Array]:
    """Deviation of the blur in pixels, gains of the channels, level of the noise."""
    draws = jax.random.uniform(key, (6,))
    low, high = options.blur
    deviation = options.image_size / 256.0 * (low + (high - low) * draws[0])
    balance = 1.0 + 0.12 * (draws[1:4] - 0.5)
    level = options.noise[0] + (options.noise[1] - options.noise[0]) * draws[5]
    return deviation, (0.88 + 0.22 * draws[4]) * balance, level


def _noise_strength(level: Array, image: Array) -> Array:
    """Photon noise grows with the root of the light; half of it is left in the dark."""
    return level * (0.5 + 0.7 * jnp.sqrt(jnp.clip(image, 0.0, 1.0)))


def blurred(image: Float[Array, "h w 3"], deviation: Float[Array, ""] | float) -> Float[Array, "h w 3"]:
    """Gaussian blur by a traced number of pixels, cut off at 3; edges repeat."""
    steps = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    weights = jnp.exp(-0.5 * jnp.square(jnp.asarray(steps, image.dtype) / jnp.maximum(deviation, 1e-2)))
    weights = weights / weights.sum()
    for axis in (0, 1):
        padding = [(_BLUR_RADIUS, _BLUR_RADIUS) if other == axis else (0, 0) for other in range(3)]
        padded = jnp.pad(image, padding, mode="edge")
        size = image.shape[axis]
        parts = [jax.lax.slice_in_dim(padded, int(i), int(i) + size, axis=axis) for i in range(len(steps))]
        image = sum((weights[i] * part for i, part in enumerate(parts[1:], 1)), start=weights[0] * parts[0])
    return image


def detected(key: PRNGKeyArray, keypoints: Float[Array, "21 2"], options: SynthesisOptions) -> Float[Array, "21 3"]:
    """Keypoints as a detector gives them: normal noise in proportion to the box, some missing (confidence 0).

    Args:
      key: decides everything.
      keypoints: true, pixels.
      options: `keypoint_noise`, `keypoint_missing`.
    """
    noise_key, miss_key = jax.random.split(key)
    box = (keypoints.max(axis=0) - keypoints.min(axis=0)).max()
    # The mean distance of a two-dimensional normal is its deviation times sqrt(pi / 2).
    deviation = options.keypoint_noise * box / np.sqrt(np.pi / 2)
    noisy = keypoints + deviation * jax.random.normal(noise_key, keypoints.shape, keypoints.dtype)
    draws = jax.random.uniform(miss_key, (21, 2), keypoints.dtype)
    confidence = jnp.where(draws[:, 0] < options.keypoint_missing, 0.0, 0.6 + 0.4 * draws[:, 1])
    return jnp.concatenate([noisy, confidence[:, None]], axis=1)
