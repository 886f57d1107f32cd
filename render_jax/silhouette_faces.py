"""One face and one pixel of a soft silhouette: what all backends share.

With d the distance of a pixel centre to the nearest edge segment, x = +d²/sigma inside the face and -d²/sigma outside,
the face covers the pixel with probability p = sigmoid(x); the silhouette is alpha = 1 - prod(1 - p), its complement the
transparency T = prod(1 - p). A pair outside counts only while d² <= sigma ln(1/1e-4 - 1), that is while p >= 1e-4.
(Liu et al., "Soft Rasterizer", ICCV 2019, equations 1 and 6, with distances in pixels.)

Each edge has a frame: `along` runs from its start (0) to its end (length), `across` is positive inside the face. With
`overshoot` = along - clip(along, 0, length), d² = across² + overshoot². All are divided by sqrt(sigma), so x = ±d².

The gradient needs no division: dT/dx = -T p, and d² moves only with the ends of the nearest edge: with its nearest
point q = a + t (b - a), d(d²)/da = -2 (1 - t) (pixel - q), d(d²)/db = -2 t (pixel - q), since q is optimal.
"""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

# d² / sigma beyond which a pixel outside a face does not see it: sigmoid(-CUTOFF) = 1e-4.
CUTOFF = math.log(1 / 1e-4 - 1)

# Columns of the packed table, one row a face: a gather of one row is faster than of many arrays.
_START, _DIRECTION, _LENGTH, _ORIENTATION = slice(0, 6), slice(6, 12), slice(12, 15), 15


class EdgeTerms(NamedTuple):
    """An edge as seen by a block of windows: along = along_row + along_column, across likewise."""

    along_row: Float[Array, "items rows 1"]
    along_column: Float[Array, "items 1 columns"]
    across_row: Float[Array, "items rows 1"]
    across_column: Float[Array, "items 1 columns"]
    length: Float[Array, "items 1 1"]


class EdgeDistance(NamedTuple):
    """An edge as seen by pixels, in units of sqrt(sigma)."""

    across: Array
    clipped: Array  # along, clipped to the segment
    overshoot: Array
    squared: Array


def pack(
    triangles: Float[Array, "faces 3 2"], valid: Bool[Array, "faces"], sigma: Float[Array, "faces"]
) -> Float[Array, "entries 16"]:
    """Table of the faces, then one entry that no pixel sees; so are faces that are not valid, which must hold zeros."""
    edges = jnp.roll(triangles, -1, axis=1) - triangles
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    squared = (edges * edges).sum(axis=-1)
    length = jnp.sqrt(jnp.where(squared > 0, squared, 1))
    scale = lax.rsqrt(sigma)[:, None]
    direction = edges / length[:, :, None] * scale[:, :, None]
    orientation = jnp.where(valid, jnp.where(area < 0, -1, 1), 0).astype(triangles.dtype)
    # A segment whose end lies far before its start, with no direction: every pixel overshoots it by far.
    length = jnp.where(valid[:, None], jnp.where(squared > 0, length, 0) * scale, -1e9)
    count = triangles.shape[0]
    flat = [triangles.reshape(count, 6), direction.reshape(count, 6), length, orientation[:, None]]
    table = jnp.concatenate(flat, axis=1)
    nothing = jnp.zeros((1, 16), table.dtype).at[:, _LENGTH].set(-1e9)
    return jnp.concatenate([table, nothing])


def pack_image(
    triangles: Float[Array, "faces 3 2"], valid: Bool[Array, "faces"], sigma: Float[Array, ""]
) -> Float[Array, "entries 16"]:
    """Table of the faces of one image."""
    return pack(triangles, valid, jnp.broadcast_to(sigma, valid.shape))


def edge_terms(
    rows_of_table: Float[Array, "items 16"],
    row: Int[Array, "items"],
    column: Int[Array, "items"],
    window: tuple[int, int],
) -> list[EdgeTerms]:
    """The three edges of each item's face, seen from the window of (rows, columns) whose first pixel is given."""
    dtype = rows_of_table.dtype
    v, u = (
        first.astype(dtype)[:, None] + (lax.iota(jnp.int32, size).astype(dtype)[None] + 0.5)
        for first, size in zip((row, column), window, strict=True)
    )
    orientation = rows_of_table[:, _ORIENTATION, None]
    terms = []
    for edge in range(3):
        start, direction = rows_of_table[:, _START], rows_of_table[:, _DIRECTION]
        du, dv = u - start[:, 2 * edge, None], v - start[:, 2 * edge + 1, None]
        along_u, along_v = direction[:, 2 * edge, None], direction[:, 2 * edge + 1, None]
        terms.append(
            EdgeTerms(
                along_row=(along_v * dv)[:, :, None],
                along_column=(along_u * du)[:, None, :],
                across_row=(orientation * along_u * dv)[:, :, None],
                across_column=(-orientation * along_v * du)[:, None, :],
                length=rows_of_table[:, _LENGTH][:, edge, None, None],
            )
        )
    # Without the barrier the compiler computes these small arrays anew for every pixel.
    return lax.optimization_barrier(terms)


class EdgeFrame(NamedTuple):
    """along and across as affine functions near a point: value there, change by a row, change by a column."""

    along: tuple[Array, Array, Array]
    across: tuple[Array, Array, Array]


def edge_frames(
    rows_of_table: Float[Array, "items 16"], v: Float[Array, "items"], u: Float[Array, "items"]
) -> list[EdgeFrame]:
    """The three edges of each item's face, seen from a point of each."""
    orientation, frames = rows_of_table[:, _ORIENTATION], []
    for edge in range(3):
        start, direction = rows_of_table[:, _START], rows_of_table[:, _DIRECTION]
        du, dv = u - start[:, 2 * edge], v - start[:, 2 * edge + 1]
        along_u, along_v = direction[:, 2 * edge], direction[:, 2 * edge + 1]
        across_u, across_v = -orientation * along_v, orientation * along_u
        along, across = along_v * dv + along_u * du, across_v * dv + across_u * du
        frames.append(EdgeFrame((along, along_v, along_u), (across, across_v, across_u)))
    return frames


def distance(terms: EdgeTerms) -> EdgeDistance:
    """From the pixels of the windows to one edge."""
    along = terms.along_row + terms.along_column
    across = terms.across_row + terms.across_column
    clipped = jnp.minimum(jnp.maximum(along, 0), terms.length)
    overshoot = along - clipped
    return EdgeDistance(across, clipped, overshoot, across * across + overshoot * overshoot)


def signed_exponent(edges: list[EdgeDistance]) -> Array:
    """x of sigmoid(x), -inf where the pixel does not see the face."""
    nearest = functools.reduce(jnp.minimum, [edge.squared for edge in edges])
    inside = functools.reduce(jnp.minimum, [edge.across for edge in edges]) > 0
    return jnp.where(inside, nearest, jnp.where(nearest <= CUTOFF, -nearest, -jnp.inf))


def nearest_edge(edges: list[EdgeDistance]) -> Array:
    """Number of the nearest edge, the lowest where several are equally near.

    Pixels nearest to a corner are as near to two edges. They belong to the edge that starts there: an edge that ends
    there drops out, since the next one is at least as near. No tie is left for rounding to decide.
    """
    one, two, three = (jnp.where(edge.overshoot > 0, jnp.inf, edge.squared) for edge in edges)
    first, second = (one <= two) & (one <= three), two <= three
    return jnp.where(first, 0, jnp.where(second, 1, 2)).astype(jnp.int32)


def probability(exponent: Array) -> Array:
    """sigmoid; 0 at -inf."""
    return 1 / (1 + jnp.exp(-exponent))


def signed_slope(exponent: Array, weight: Array) -> Array:
    """weight d(-log(1 - p)) / d(d²), times sigma: the probability, negative outside the face."""
    p = probability(exponent)
    return weight * jnp.where(exponent >= 0, p, -p)


def gradient_sums(terms: list[EdgeTerms], weight: Float[Array, "items rows columns"]) -> Float[Array, "items 9"]:
    """Sums over the pixels of each window from which `corner_gradient` makes the gradient of sum(weight x).

    Args:
      terms: of the windows.
      weight: of each pixel's x, probability included.
    """
    edges = [distance(edge) for edge in terms]
    exponent = signed_exponent(edges)
    slope = signed_slope(exponent, weight)
    # Nine sums follow; behind the barrier each of them needs one edge only, not everything again.
    slope, nearest = lax.optimization_barrier((slope, nearest_edge(edges)))
    sums = []
    for number, edge_term in enumerate(terms):
        edge = distance(edge_term)
        mine = jnp.where(nearest == number, slope, 0)
        across, overshoot = mine * edge.across, mine * edge.overshoot
        # Only the start moves the distance of pixels that overshoot it; none overshoot the end, see `nearest_edge`.
        sums += [value.sum(axis=1).sum(axis=1) for value in (across, across * edge.clipped, overshoot)]
    return jnp.stack(sums, axis=1)


def corner_gradient(
    table: Float[Array, "faces 16"], sums: Float[Array, "faces 9"], sigma: Float[Array, "faces"]
) -> Float[Array, "faces 3 2"]:
    """Gradient with respect to the corners, in 1 / pixels, from the sums of each face over all its windows."""
    count = table.shape[0]
    direction = table[:, _DIRECTION].reshape(count, 3, 2)
    length, orientation = table[:, _LENGTH], table[:, _ORIENTATION]
    sums = sums.reshape(count, 3, 3)
    inward = jnp.stack([-direction[:, :, 1], direction[:, :, 0]], axis=-1) * orientation[:, None, None]
    usable = length > 0
    end = jnp.where(usable, sums[:, :, 1] / jnp.where(usable, length, 1), 0)
    start = sums[:, :, 0] - end
    # directions are unit vectors over sqrt(sigma), and so is what they are multiplied with
    to_start = -2 * (inward * start[:, :, None] + direction * sums[:, :, 2, None])
    to_end = -2 * inward * end[:, :, None]
    return to_start + jnp.roll(to_end, 1, axis=1)


def tangent_of_exponent(
    terms: list[EdgeTerms], tangent_along: Float[Array, "items 3 2"], tangent_across: Float[Array, "items 3 2"]
) -> Array:
    """p dx of each pixel, for `tangents_in_edge_frames` of each item's face."""
    edges = [distance(edge) for edge in terms]
    exponent = signed_exponent(edges)
    moves = []
    for number, (edge, term) in enumerate(zip(edges, terms, strict=True)):
        t = jnp.where(term.length > 0, edge.clipped / jnp.where(term.length > 0, term.length, 1), 0)
        ends = [values[:, number, :, None, None] for values in (tangent_along, tangent_across)]
        along, across = ((1 - t) * values[:, 0] + t * values[:, 1] for values in ends)
        moves.append(-2 * (edge.overshoot * along + edge.across * across))
    nearest = nearest_edge(edges)
    move = jnp.where(nearest == 0, moves[0], jnp.where(nearest == 1, moves[1], moves[2]))
    return jnp.where(exponent >= 0, move, -move) * probability(exponent)


def tangents_in_edge_frames(
    table: Float[Array, "entries 16"], tangents: Float[Array, "faces 3 2"]
) -> tuple[Float[Array, "entries 3 2"], Float[Array, "entries 3 2"]]:
    """Motion of both ends of each edge along and across it, in the table's units; 0 for the entry nobody sees."""
    count = table.shape[0]
    tangents = jnp.concatenate([tangents, jnp.zeros((1, 3, 2), tangents.dtype)])
    direction = table[:, _DIRECTION].reshape(count, 3, 1, 2)
    ends = jnp.stack([tangents, jnp.roll(tangents, -1, axis=1)], axis=2)
    along = (ends * direction).sum(axis=-1)
    across = ends[..., 1] * direction[..., 0] - ends[..., 0] * direction[..., 1]
    return along, across * table[:, _ORIENTATION, None, None]
