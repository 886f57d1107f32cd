"""From light to a photograph's pixels: lens blur, white balance, noise. And a detector's keypoints."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from handpose_jax.synthesis.options import SynthesisOptions

_BLUR_RADIUS = 3


def photograph(key: PRNGKeyArray, image: Float[Array, "s s 3"], options: SynthesisOptions) -> Float[Array, "s s 3"]:
    """A picture as a small camera takes it, display values in [0, 1]."""
    draw_key, noise_key = jax.random.split(key)
    draws = jax.random.uniform(draw_key, (6,))
    low, high = options.blur
    image = blurred(image, options.image_size / 256.0 * (low + (high - low) * draws[0]))
    balance = 1.0 + 0.12 * (draws[1:4] - 0.5)
    image = image * ((0.88 + 0.22 * draws[4]) * balance)[None, None]
    level = options.noise[0] + (options.noise[1] - options.noise[0]) * draws[5]
    # Photon noise grows with the root of the light; half of it is left in the dark.
    strength = level * (0.5 + 0.7 * jnp.sqrt(jnp.clip(image, 0.0, 1.0)))
    return jnp.clip(image + strength * jax.random.normal(noise_key, image.shape), 0.0, 1.0)


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
