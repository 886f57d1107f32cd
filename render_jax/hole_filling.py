"""Colours for pixels that have none, from a pyramid of the known ones ("pull-push").

Gortler et al., "The Lumigraph", 1996. Means of the known pixels are taken at half, a quarter, ... of the
resolution; going back up, each unknown pixel is given the colour of the finest level that knows one near it.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from render_jax.planes import interleaved


def fill_holes(
    image: Float[Array, "height width channels"], weight: Float[Array, "height width"]
) -> Float[Array, "height width channels"]:
    """The image with pixels of weight 0 filled smoothly from the others, the nearest counting most.

    Differentiable with respect to the image and to positive weights. All zeros where no pixel is known.

    Args:
      image: colours; what pixels of weight 0 hold plays no part (it must be finite).
      weight: how much each pixel counts in the means, >= 0. Known pixels keep their colour whatever their weight.
    """
    if image.ndim != 3 or weight.shape != image.shape[:2]:
        raise ValueError(
            f"expected an image (height, width, channels) and a weight a pixel, not {image.shape} and {weight.shape}"
        )
    return interleaved(fill_planes(jnp.moveaxis(image * weight[..., None], -1, 0), weight))


def fill_planes(
    sums: Float[Array, "channels height width"], weight: Float[Array, "height width"]
) -> Float[Array, "channels height width"]:
    """`fill_holes` of channels apart and already multiplied by the weight."""
    known = (weight > 0)[None]
    means = jnp.where(known, sums / jnp.where(known, weight[None], 1), 0)
    if max(weight.shape) == 1:
        return means
    coarse = fill_planes(_halved(sums), _halved(weight[None])[0])
    return jnp.where(known, means, _doubled(coarse, weight.shape))


def _halved(planes: Float[Array, "channels height width"]) -> Float[Array, "channels half_height half_width"]:
    """Means over squares of 2 x 2 pixels; beyond the border are zeros."""
    _, height, width = planes.shape
    padded = jnp.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)))
    rows = padded[:, ::2] + padded[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def _doubled(planes: Array, shape: tuple[int, ...]) -> Float[Array, "channels height width"]:
    """Twice the resolution, bilinear, cut to the shape."""
    channels, height, width = planes.shape
    padded = jnp.pad(planes, ((0, 0), (1, 1), (0, 0)), mode="edge")
    both = 0.25 * padded[:, :-2] + 0.75 * planes, 0.75 * planes + 0.25 * padded[:, 2:]
    planes = jnp.stack(both, axis=2).reshape(channels, 2 * height, width)
    padded = jnp.pad(planes, ((0, 0), (0, 0), (1, 1)), mode="edge")
    both = 0.25 * padded[:, :, :-2] + 0.75 * planes, 0.75 * planes + 0.25 * padded[:, :, 2:]
    return jnp.stack(both, axis=3).reshape(channels, 2 * height, 2 * width)[:, : shape[0], : shape[1]]
