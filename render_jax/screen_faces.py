"""Which faces a silhouette counts."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from render_jax.rasterization import MINIMUM_DOUBLED_AREA


def countable(triangles: Float[Array, "faces 3 3"]) -> Bool[Array, "faces"]:
    """True for faces that are finite, before the camera and not degenerate.

    Finite means, of u and v, small enough that the square of a distance is finite too (2e18 px in float32). The doubled
    area must exceed 1e-9 px².
    """
    largest = 0.125 * float(jnp.finfo(triangles.dtype).max) ** 0.5
    depth = triangles[:, :, 2]
    # A comparison with NaN is False.
    sane = (jnp.abs(triangles[:, :, :2]) < largest).all(axis=(1, 2))
    sane &= ((depth > 0) & (depth < jnp.inf)).all(axis=1)
    corners = jnp.where(sane[:, None, None], triangles[:, :, :2], 0)
    return jnp.abs(doubled_area(corners)) > MINIMUM_DOUBLED_AREA


def doubled_area(corners: Float[Array, "faces 3 2"]) -> Float[Array, "faces"]:
    """Twice the signed area, positive where the corners run clockwise on the picture (v points down)."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
