"""A binary mask blurred as the outline silhouette blurs a mesh, so that like is compared with like.

Against the binary mask itself a blurred one loses by curvature: a convex outline of radius r px comes out smaller, at
sigma 1.25 by 1.2 % for r = 20 and 0.2 % for r = 69 (squared differences), however exact its 0.5 level is: the pixels
that are too bright outside outnumber those too dark inside. So this is how a mask of a photograph should be compared.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from render_jax.native_batching import varying_like
from render_jax.silhouette_faces import CUTOFF, probability


def soften_mask(
    mask: Bool[Array, "height width"] | Float[Array, "height width"], sigma: float
) -> Float[Array, "height width"]:
    """sigmoid(±d² / sigma) with d the distance of a pixel centre to the border of the mask's pixels.

    The target for `soft_silhouette(..., mode="outline")` of the same sigma; 0 and 1 beyond the same cutoff. Beyond the
    image the mask is taken to go on as at its border. No gradient.

    Args:
      mask: True (or above 0.5) where the object is.
      sigma: pixels squared, > 0, known when traced.

    Raises:
      ValueError: not one mask, or sigma <= 0.
    """
    if mask.ndim != 2:
        raise ValueError(f"expected a mask of shape (height, width), not {mask.shape}; use jax.vmap for a batch")
    if not 0 < float(sigma) < math.inf:
        raise ValueError(f"expected sigma > 0 in pixels squared, not {sigma}")
    covered = mask if mask.dtype == bool else mask > 0.5
    dtype = mask.dtype if jnp.issubdtype(mask.dtype, jnp.floating) else jnp.float32
    reach = math.ceil(math.sqrt(CUTOFF * float(sigma)) + 0.5)
    padded = jnp.pad(covered, reach, mode="edge")
    width = 2 * reach + 1

    def look(number, squared):
        down, right = number // width, number % width
        other = lax.dynamic_slice(padded, (down, right), covered.shape)
        # From a pixel's centre to the nearest point of another pixel's square.
        apart = [jnp.maximum(jnp.abs(step - reach).astype(dtype) - 0.5, 0) for step in (down, right)]
        return jnp.where(other != covered, jnp.minimum(squared, apart[0] ** 2 + apart[1] ** 2), squared)

    far = varying_like(covered.astype(dtype), jnp.full(covered.shape, jnp.inf, dtype))
    squared = lax.fori_loop(jnp.int32(0), jnp.int32(width**2), look, far)
    squared = jnp.where(squared <= CUTOFF * float(sigma), squared, jnp.inf)
    return probability(jnp.where(covered, squared, -squared) / float(sigma))
