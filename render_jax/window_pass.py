"""The index pass: which face is nearest at every pixel centre. Piecewise constant, so it has no gradient.

Every face's clipped bounding box is cut into square windows. Window number i belongs to the face that the cumulated
window counts say, and a `while_loop` whose trip count is known only at run time goes through all of them in blocks.
There are no bins, no capacity and no limit of faces per pixel, so nothing can overflow and no face can be lost.

The nearest face is found in two steps per block, first the closeness, then the index of the face that has it. A packed
key (depth bits above, face bits below) is faster by a third, but 1,538 faces leave it 20 bits of depth, and a mesh of
a million faces 11; two steps keep every bit of depth for every mesh. Maxima and minima do not depend on the order of
the windows, so the result is the same in every run and on every device, up to the rounding of the closeness itself.

A batch is one tall image, so `vmap` runs one loop over all the windows there are, not the longest loop for each image.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

# A pixel centre within these many rounding errors of an edge counts as inside. Each of the two products of the edge
# function is right to 1.5 times eps and adding the tolerance costs another half, so a centre that is inside in exact
# arithmetic is never lost: shared edges and vertices have no holes. The outline grows by some 1e-6 of a face's size.
EDGE_TOLERANCE_IN_EPS = 4

# Windows evaluated together; bounds the temporaries (256 windows of 16x16 pixels: 256 KiB), not the mesh.
SEQUENTIAL_BLOCK = 256
SCATTER_BLOCK = 8192


class FaceTable(NamedTuple):
    """What the loop reads of each face; `faces` counts over the whole batch, the highest index first (see `_table`)."""

    corners: Float[Array, "faces 3 2"]  # pixels
    edges: Float[Array, "faces 3 2"]  # from each corner to the next, turned so that the inside is positive
    closeness: Float[Array, "faces 3"]  # at the first corner, and its slopes along u and v
    closeness_range: Float[Array, "faces 2"]
    first_row: Int[Array, "faces"]
    first_column: Int[Array, "faces"]
    windows_across: Int[Array, "faces"]
    windows: Int[Array, "faces"]


class Block(NamedTuple):
    """Consecutive windows, evaluated: closeness is -inf where the face does not cover the pixel centre."""

    face: Int[Array, "block"]  # in its own image
    row: Int[Array, "block"]  # of the tall image
    column: Int[Array, "block"]
    closeness: Float[Array, "block window window"]


def window_size(image_size: tuple[int, int], face_count: int) -> int:
    """Edge of a window in pixels: small enough to waste few of them, large enough that int32 counts all windows."""
    height, width = image_size
    size = 8 if max(height, width) <= 160 else 16 if max(height, width) <= 640 else 32
    while face_count * math.ceil(height / size) * math.ceil(width / size) > 2**31 - 2**16 and size < max(height, width):
        size *= 2
    return size


def pixels_between(low: Array, high: Array, pixels: int) -> tuple[Array, Array]:
    """First and last of the pixels whose centre lies in [low, high]; first > last where there is none."""
    first = jnp.clip(jnp.ceil(low - 0.5), 0, pixels).astype(jnp.int32)
    last = jnp.clip(jnp.floor(high - 0.5), -1, pixels - 1).astype(jnp.int32)
    return first, last


def _table(triangles: Array, drawn: Array, image_size: tuple[int, int], window: int) -> FaceTable:
    """Faces that are not drawn must hold zeros; they get no windows.

    Faces are stored last first: of faces that are equally near, the loop keeps the one it meets last, the lowest index.
    """
    triangles, drawn = triangles[::-1], drawn[::-1]
    height, width = image_size
    corners, closeness = triangles[:, :, :2], triangles[:, :, 2]
    low, high = corners.min(axis=1), corners.max(axis=1)
    first_column, last_column = pixels_between(low[:, 0], high[:, 0], width)
    first_row, last_row = pixels_between(low[:, 1], high[:, 1], height)
    across = jnp.maximum((last_column - first_column + window) // window, 0)
    down = jnp.maximum((last_row - first_row + window) // window, 0)

    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    divisor = jnp.where(drawn, area, 1)
    rise_one, rise_two = closeness[:, 1] - closeness[:, 0], closeness[:, 2] - closeness[:, 0]
    slope_u = (rise_one * two[:, 1] - rise_two * one[:, 1]) / divisor
    slope_v = (rise_two * one[:, 0] - rise_one * two[:, 0]) / divisor
    return FaceTable(
        corners=corners,
        edges=jnp.where(area[:, None, None] < 0, -1, 1) * (jnp.roll(corners, -1, axis=1) - corners),
        closeness=jnp.stack([closeness[:, 0], slope_u, slope_v], axis=-1),
        closeness_range=jnp.stack([closeness.min(axis=1), closeness.max(axis=1)], axis=-1),
        first_row=first_row,
        first_column=first_column,
        windows_across=across,
        windows=jnp.where(drawn, across * down, 0),
    )


def _evaluate(
    table: FaceTable, ends: Array, start: Array, block: int, window: int, faces: int, buffer_size: tuple[int, int]
) -> Block:
    """Closeness in windows start ... start + block - 1; those past the last window repeat the last face, harmlessly."""
    item = start + lax.iota(jnp.int32, block)
    entry = jnp.searchsorted(ends, item, side="right").astype(jnp.int32)
    entry = jnp.minimum(entry, ends.shape[0] - 1)
    corners, edges, closeness, closeness_range, first_row, first_column, across, windows = (
        array[entry] for array in table
    )
    index = item - (ends[entry] - windows)
    across = jnp.maximum(across, 1)
    # A window that would leave the image is moved back into it: it sees some pixels twice, which a maximum forgives.
    height, width = buffer_size
    row = jnp.clip(first_row + index // across * window, 0, height - window)
    column = jnp.clip(first_column + index % across * window, 0, width - window)

    dtype = corners.dtype
    centres = lax.iota(jnp.int32, window).astype(dtype) + 0.5
    v = (row[:, None].astype(dtype) + centres[None])[:, None] - corners[:, :, 1, None]
    u = (column[:, None].astype(dtype) + centres[None])[:, None] - corners[:, :, 0, None]
    # The edge function is a term of the row minus a term of the column, so a pixel costs one comparison an edge.
    row_term, column_term = edges[:, :, 0, None] * v, edges[:, :, 1, None] * u
    tolerance = EDGE_TOLERANCE_IN_EPS * float(jnp.finfo(dtype).eps)
    row_term, column_term = row_term + tolerance * jnp.abs(row_term), column_term - tolerance * jnp.abs(column_term)
    inside = functools.reduce(
        jnp.logical_and, [row_term[:, edge, :, None] >= column_term[:, edge, None, :] for edge in range(3)]
    )
    along_v = closeness[:, 0, None] + closeness[:, 2, None] * v[:, 0]
    along_u = closeness[:, 1, None] * u[:, 0]
    low, high = closeness_range[:, 0, None, None], closeness_range[:, 1, None, None]
    # Clipped, since the slopes of a sliver are mostly rounding; the comparison drops a NaN of overflowing slopes.
    value = jnp.clip(along_v[:, :, None] + along_u[:, None, :], low, high)
    value = jnp.where(inside & (value >= low), value, -jnp.inf)

    count = table.windows.shape[0]
    image, face = jnp.divmod(count - 1 - entry, faces)
    return Block(face=face, row=row + image * height, column=column, closeness=value)


def _merge_sequential(block: Block, count: Array, depth: Array, index: Array) -> tuple[Array, Array]:
    """Window after window, updating the buffers in place: the fast way on a CPU."""
    shape = block.closeness.shape[1:]

    def nearest(item, depth):
        at = (block.row[item], block.column[item])
        return lax.dynamic_update_slice(
            depth, jnp.maximum(lax.dynamic_slice(depth, at, shape), block.closeness[item]), at
        )

    depth = lax.fori_loop(jnp.int32(0), count, nearest, depth)

    def owner(item, index):
        at = (block.row[item], block.column[item])
        closeness = block.closeness[item]
        wins = (closeness == lax.dynamic_slice(depth, at, shape)) & (closeness > -jnp.inf)
        return lax.dynamic_update_slice(
            index, jnp.where(wins, block.face[item], lax.dynamic_slice(index, at, shape)), at
        )

    return depth, lax.fori_loop(jnp.int32(0), count, owner, index)


def _merge_scatter(block: Block, count: Array, depth: Array, index: Array) -> tuple[Array, Array]:
    """All windows of the block at once: the fast way where there are thousands of threads."""
    # The barrier keeps the compiler from computing the closeness twice, rounded differently each time.
    closeness = lax.optimization_barrier(block.closeness)
    items, window, _ = closeness.shape
    closeness = jnp.where((lax.iota(jnp.int32, items) < count)[:, None, None], closeness, -jnp.inf)
    offsets = lax.iota(jnp.int32, window)
    rows = jnp.broadcast_to(block.row[:, None, None] + offsets[None, :, None], closeness.shape)
    columns = jnp.broadcast_to(block.column[:, None, None] + offsets[None, None, :], closeness.shape)
    nearest = depth.at[rows, columns].max(closeness)
    none = jnp.iinfo(jnp.int32).max
    index = jnp.where((nearest > depth) | (index < 0), none, index)
    wins = (closeness == nearest[rows, columns]) & (closeness > -jnp.inf)
    index = index.at[rows, columns].min(jnp.where(wins, block.face[:, None, None], none))
    return nearest, jnp.where(index == none, -1, index)


def _loop(
    triangles: Array, drawn: Array, *, image_size: tuple[int, int], sequential: bool, window: int
) -> Int[Array, "batch height width"]:
    batch, faces = drawn.shape
    height, width = max(image_size[0], window), max(image_size[1], window)
    merge = _merge_sequential if sequential else _merge_scatter
    table = _table(triangles.reshape(-1, 3, 3), drawn.reshape(-1), image_size, window)
    ends = jnp.cumsum(table.windows, dtype=jnp.int32)
    total = ends[-1]
    block = SEQUENTIAL_BLOCK if sequential else SCATTER_BLOCK

    def body(state):
        start, depth, index = state
        windows = _evaluate(table, ends, start, block, window, faces, (height, width))
        return start + block, *merge(windows, jnp.minimum(block, total - start), depth, index)

    depth = jnp.full((batch * height, width), -jnp.inf, triangles.dtype)
    index = jnp.full((batch * height, width), -1, jnp.int32)
    _, _, index = lax.while_loop(lambda state: state[0] < total, body, (jnp.int32(0), depth, index))
    return index.reshape(batch, height, width)[:, : image_size[0], : image_size[1]]


def nearest_faces(
    triangles: Float[Array, "faces 3 3"],
    drawn: Bool[Array, "faces"],
    image_size: tuple[int, int],
    merge: str | None = None,
) -> Int[Array, "height width"]:
    """Index of the nearest face at each pixel centre, -1 where there is none; of equally near faces the lowest index.

    Args:
      triangles: corners (u, v, closeness) in pixels; the closeness is affine over the image and larger when nearer.
        Must hold zeros where `drawn` is False.
      drawn: faces that take part.
      image_size: (height, width).
      merge: "sequential" or "scatter"; by default the first on a CPU and the second elsewhere. Same result.

    `vmap`, also nested, runs one loop over the windows of all images.
    """
    window = window_size(image_size, triangles.shape[0])

    @jax.custom_batching.custom_vmap
    def batched(triangles, drawn):
        window_now = window_size(image_size, drawn.shape[0] * drawn.shape[1])
        loop = functools.partial(_loop, image_size=image_size, window=max(window, window_now))
        if merge is not None:
            return loop(triangles, drawn, sequential=merge == "sequential")
        return lax.platform_dependent(
            triangles,
            drawn,
            cpu=functools.partial(loop, sequential=True),
            default=functools.partial(loop, sequential=False),
        )

    @batched.def_vmap
    def _(axis_size: int, in_batched: Sequence[bool], triangles, drawn):
        arrays = [
            array if is_batched else jnp.broadcast_to(array, (axis_size, *array.shape))
            for array, is_batched in zip((triangles, drawn), in_batched, strict=True)
        ]
        inner = arrays[1].shape[1]
        merged = [array.reshape(axis_size * inner, *array.shape[2:]) for array in arrays]
        index = batched(*merged)
        return index.reshape(axis_size, inner, *index.shape[1:]), True

    return batched(triangles[None], drawn[None])[0]
