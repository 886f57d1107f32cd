"""The gradient of a window as a few moments of its pixels: one small matrix product instead of nine passes over them.

What a pixel pulls at is affine in its row and column (`along`, `across`) or a product of two such: so the sums that
`corner_gradient` needs follow from sum(slope (1, r, c, r², r c, c²)), taken apart by the part of the face that a pixel
is nearest to: the inner part of one of its three edges, or the corner where the edge starts. r and c are counted from
the window's middle, which keeps them small and the sums exact to rounding.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from render_jax.silhouette_faces import (
    EdgeTerms,
    distance,
    edge_frames,
    nearest_edge,
    signed_exponent,
    signed_slope,
)

PARTS = 6  # of a face: its three edges' inner parts (even numbers) and the corners where they start (odd ones)


class Pulls(NamedTuple):
    """How strongly each pixel of the windows moves its face's x, and by which part of the face."""

    slope: Float[Array, "items rows columns"]
    part: Int[Array, "items rows columns"]


def pulls(terms: list[EdgeTerms], weight: Float[Array, "items rows columns"]) -> Pulls:
    """Of the pixels, for the gradient of sum(weight x); `weight` is each pixel's own."""
    edges = [distance(edge) for edge in terms]
    nearest = nearest_edge(edges)
    overshoot = [edge.overshoot for edge in edges]
    overshoot = jnp.where(nearest == 0, overshoot[0], jnp.where(nearest == 1, overshoot[1], overshoot[2]))
    # None overshoots the end of its nearest edge, see `nearest_edge`.
    part = 2 * nearest + (overshoot < 0).astype(jnp.int32)
    return Pulls(signed_slope(signed_exponent(edges), weight), part.astype(jnp.int8))


def _monomials(window: int) -> Float[np.ndarray, "pixels 6"]:
    row, column = np.indices((window, window)).reshape(2, -1) - (window - 1) / 2
    return np.stack([np.ones_like(row), row, column, row * row, row * column, column * column], axis=1)


def gradient_sums_by_moments(
    rows_of_table: Float[Array, "items 16"],
    row: Int[Array, "items"],
    column: Int[Array, "items"],
    pulls: Pulls,
) -> Float[Array, "items 9"]:
    """The same sums as `silhouette_faces.gradient_sums`, of square windows whose first pixel is given."""
    items, window, _ = pulls.slope.shape
    dtype = rows_of_table.dtype
    slope, part = (array.reshape(items, 1, window * window) for array in pulls)
    apart = jnp.where(part == lax.iota(jnp.int8, PARTS)[None, :, None], slope, 0)
    moments = jnp.matmul(apart, jnp.asarray(_monomials(window), dtype), precision=lax.Precision.HIGHEST)
    # [edge, inner part or start, monomial, item]: every step below is over a long axis.
    moments = moments.reshape(items, 3, 2, 6).transpose(1, 2, 3, 0)

    frames = edge_frames(rows_of_table, row.astype(dtype) + window / 2, column.astype(dtype) + window / 2)
    sums = []
    for (inner, start), frame in zip(moments, frames, strict=True):
        one, r, c, rr, rc, cc = inner
        # (along, r along, c along), summed; what follows has a factor 0 where no pixel pulls, never 0 times infinity.
        along = [_affine(frame.along, three) for three in ((one, r, c), (r, rr, rc), (c, rc, cc))]
        sums += [
            _affine(frame.across, inner + start),
            _affine(frame.across, along),
            _affine(frame.along, start),
        ]
    return jnp.stack(sums, axis=1)


def _affine(coefficients: tuple[Array, Array, Array], moments) -> Float[Array, "items"]:
    constant, by_row, by_column = coefficients
    return constant * moments[0] + by_row * moments[1] + by_column * moments[2]
