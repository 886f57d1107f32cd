"""One contour edge and one pixel of an outline silhouette: what its backends share.

A covered pixel must not see a contour that has the mesh on both sides, such as a finger's before the palm. So each edge
is looked at in pieces of one pixel: a piece is on the outline where, close to its outer side, some pixel centre is not
covered. A pixel that is not covered needs no such test: whatever contour is nearest to it bounds the empty space.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from render_jax.silhouette_faces import EdgeTerms

# Distances from a contour to the points whose pixel is looked up. Half the diagonal of a pixel is 0.71: for a straight
# contour the centre of the farther point's pixel is surely outside; the nearer one finds gaps of a pixel.
OUTER_DISTANCES = (0.4, 0.8)

# Columns of the table: start, direction, length, side of the mesh.
_START, _DIRECTION, _LENGTH, _SIDE = slice(0, 2), slice(2, 4), 4, 5


def pack_segments(segments: Float[Array, "edges 2 2"], weight: Int[Array, "edges"]) -> Float[Array, "entries 6"]:
    """Table of the edges, then one entry that no pixel sees; so are edges of weight 0."""
    step = segments[:, 1] - segments[:, 0]
    squared = step[:, 0] * step[:, 0] + step[:, 1] * step[:, 1]
    length = jnp.sqrt(jnp.where(squared > 0, squared, 1))[:, None]
    contour = (weight != 0)[:, None]
    direction = jnp.where(contour, step / length, 0)
    length = jnp.where(contour, jnp.where(squared[:, None] > 0, length, 0), -1e9)
    side = jnp.sign(weight)[:, None].astype(segments.dtype)
    table = jnp.concatenate([jnp.where(contour, segments[:, 0], 0), direction, length, side], axis=1)
    nothing = jnp.zeros((1, 6), table.dtype).at[:, _LENGTH].set(-1e9)
    return jnp.concatenate([table, nothing])


def segment_terms(
    rows_of_table: Float[Array, "items 6"],
    row: Int[Array, "items"],
    column: Int[Array, "items"],
    window: tuple[int, int],
) -> EdgeTerms:
    """Each item's edge, seen from the window of (rows, columns) whose first pixel is given; in pixels."""
    dtype = rows_of_table.dtype
    v, u = (
        first.astype(dtype)[:, None] + (lax.iota(jnp.int32, size).astype(dtype)[None] + 0.5)
        for first, size in zip((row, column), window, strict=True)
    )
    start, direction = rows_of_table[:, _START], rows_of_table[:, _DIRECTION]
    du, dv, side = u - start[:, 0, None], v - start[:, 1, None], rows_of_table[:, _SIDE, None]
    along_u, along_v = direction[:, 0, None], direction[:, 1, None]
    return lax.optimization_barrier(
        EdgeTerms(
            along_row=(along_v * dv)[:, :, None],
            along_column=(along_u * du)[:, None, :],
            across_row=(side * along_u * dv)[:, :, None],
            across_column=(-side * along_v * du)[:, None, :],
            length=rows_of_table[:, _LENGTH, None, None],
        )
    )


def is_outline(
    rows_of_table: Float[Array, "items 6"],
    piece: Int[Array, "items pieces"],
    image: Int[Array, "items"],
    covered: Bool[Array, "batch rows columns"],
    margin: int,
) -> Bool[Array, "items pieces"]:
    """Whether pixel-long pieces (number k: from k to k + 1 pixels along the edge) are on the outline.

    Args:
      rows_of_table: of each item's edge.
      piece: numbers of pieces.
      image: of each item in `covered`.
      covered: pixels of the images and a margin around them.
      margin: in pixels.
    """
    start, direction = rows_of_table[:, _START], rows_of_table[:, _DIRECTION]
    length, side = rows_of_table[:, _LENGTH, None], rows_of_table[:, _SIDE, None]
    along = jnp.clip(piece.astype(start.dtype) + 0.5, 0, jnp.maximum(length, 0))
    u, v = (start[:, axis, None] + along * direction[:, axis, None] + margin for axis in range(2))
    outwards_u, outwards_v = side * direction[:, 1, None], -side * direction[:, 0, None]
    found = jnp.zeros(piece.shape, bool)
    _, rows, columns = covered.shape
    flat = covered.reshape(-1)
    for distance in OUTER_DISTANCES:
        row = jnp.clip(jnp.floor(v + distance * outwards_v), 0, rows - 1).astype(jnp.int32)
        column = jnp.clip(jnp.floor(u + distance * outwards_u), 0, columns - 1).astype(jnp.int32)
        found |= ~flat[(image[:, None] * rows + row) * columns + column]
    return found


def segment_sums(terms: EdgeTerms, weight: Float[Array, "items rows columns"]) -> Float[Array, "items 4"]:
    """Sums over pixels from which `end_gradient` makes the gradient of sum(weight d²); d² is to the item's own edge."""
    along = terms.along_row + terms.along_column
    clipped = jnp.minimum(jnp.maximum(along, 0), terms.length)
    overshoot, across = along - clipped, weight * (terms.across_row + terms.across_column)
    values = (
        across,
        across * clipped,
        weight * jnp.minimum(overshoot, 0),
        weight * jnp.maximum(overshoot, 0),
    )
    return jnp.stack([value.sum(axis=1).sum(axis=1) for value in values], axis=1)


def end_gradient(table: Float[Array, "edges 6"], sums: Float[Array, "edges 4"]) -> Float[Array, "edges 2 2"]:
    """Gradient with respect to the two ends, from the sums of each edge."""
    direction, length, side = table[:, _DIRECTION], table[:, _LENGTH], table[:, _SIDE, None]
    inward = side * jnp.stack([-direction[:, 1], direction[:, 0]], axis=1)
    usable = length > 0
    end = jnp.where(usable, sums[:, 1] / jnp.where(usable, length, 1), 0)[:, None]
    to_start = inward * (sums[:, :1] - end) + direction * sums[:, 2:3]
    to_end = inward * end + direction * sums[:, 3:4]
    return -2 * jnp.stack([to_start, to_end], axis=1)
