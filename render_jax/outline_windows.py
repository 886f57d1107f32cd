"""Distance of each pixel to the outline, in windows around the contour edges; see `silhouette_windows` for the loop."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from render_jax.mesh_corners import add_runs
from render_jax.native_batching import varying_like
from render_jax.outline_segments import end_gradient, is_outline, pack_segments, segment_sums, segment_terms
from render_jax.silhouette_faces import CUTOFF, distance
from render_jax.silhouette_windows import Items, Windows, count_windows, list_items, window_indices

SEQUENTIAL_BLOCK = 128
SCATTER_BLOCK = 2048


def _window(image_size: tuple[int, int]) -> tuple[int, int]:
    """Edge of a window, and the pixel-long pieces of an edge that its pixels can see (its diagonal, both ends cut)."""
    return (8, 16) if max(image_size) <= 320 else (16, 32)


def _set_up(segments: Array, weight: Array, sigma: Array, image_size: tuple[int, int]) -> tuple[Array, Windows]:
    batch, edges = weight.shape
    flat = segments.reshape(-1, 2, 2)
    radius = jnp.sqrt(CUTOFF * jnp.broadcast_to(sigma[:, None], (batch, edges)).reshape(-1, 1))
    window, _ = _window(image_size)
    low, high = flat.min(axis=1) - radius, flat.max(axis=1) + radius
    windows = count_windows(low, high, weight.reshape(-1) != 0, image_size, window)
    return pack_segments(flat, weight.reshape(-1)), windows


def _squared_distance(table: Array, items: Items, covered: Array, edges: int, margin: int, window: int, pieces: int):
    """d² of each pixel of the windows to their edge, and whether the nearest piece of it is on the outline."""
    rows_of_table = lax.optimization_barrier(table[items.entry])
    terms = segment_terms(rows_of_table, items.row, items.column, (window, window))
    edge = distance(terms)
    # along is affine: its least value in the window is at a corner, and the pieces seen are the ones from there.
    least = jnp.minimum(terms.along_row[:, 0], terms.along_row[:, -1]) + jnp.minimum(
        terms.along_column[:, :, 0], terms.along_column[:, :, -1]
    )
    length = jnp.maximum(terms.length[:, :, 0], 0)
    first = lax.optimization_barrier(jnp.floor(jnp.clip(least, 0, length)).astype(jnp.int32))
    image = jnp.minimum(items.entry // edges, covered.shape[0] - 1)
    piece = first + lax.iota(jnp.int32, pieces)[None]
    outline = is_outline(rows_of_table, piece, image, covered, margin)
    outline = lax.optimization_barrier(outline)
    bits = (outline.astype(jnp.int32) << lax.iota(jnp.int32, pieces)[None]).sum(axis=1, dtype=jnp.int32)
    nearest_piece = jnp.floor(jnp.maximum(edge.clipped, 0)).astype(jnp.int32) - first[:, :, None]
    visible = (bits[:, None, None] >> jnp.clip(nearest_piece, 0, pieces - 1)) & 1
    return edge.squared, visible == 1


def _merge_sequential(items: Items, count: Array, squared, visible, covered, nearest, index):
    shape = squared.shape[1:]

    def seen(item, at):
        return jnp.where(visible[item] | ~lax.dynamic_slice(covered, at, shape), squared[item], jnp.inf)

    # Two loops, since a loop that updates two buffers, one by the other, copies them whole at each step.
    def minimum(item, nearest):
        at = (items.buffer_row[item], items.column[item])
        return lax.dynamic_update_slice(nearest, jnp.minimum(lax.dynamic_slice(nearest, at, shape), seen(item, at)), at)

    before = nearest
    nearest = lax.fori_loop(jnp.int32(0), count, minimum, nearest)

    def owner(item, index):
        at = (items.buffer_row[item], items.column[item])
        now = lax.dynamic_slice(nearest, at, shape)
        # Of equally near edges the first keeps the pixel; one of an earlier block cannot be equalled by `<`.
        free = (lax.dynamic_slice(before, at, shape) > now) & (seen(item, at) == now)
        mine = lax.dynamic_slice(index, at, shape)
        return lax.dynamic_update_slice(index, jnp.where(free, items.entry[item], mine), at)

    # Backwards, so that the first of equals writes last.
    return nearest, lax.fori_loop(jnp.int32(0), count, lambda k, index: owner(count - 1 - k, index), index)


def _merge_scatter(items: Items, count: Array, squared, visible, covered, nearest, index):
    del count  # what is past the last window is infinitely far
    rows, columns = (jnp.broadcast_to(i, squared.shape) for i in window_indices(items, squared.shape[1]))
    value = lax.optimization_barrier(jnp.where(visible | ~covered[rows, columns], squared, jnp.inf))
    now = nearest.at[rows, columns].min(value)
    none = jnp.iinfo(jnp.int32).max
    index = jnp.where((now < nearest) | (index < 0), none, index)
    wins = (value == now[rows, columns]) & (value < jnp.inf)
    index = index.at[rows, columns].min(jnp.where(wins, items.entry[:, None, None], none))
    return now, jnp.where(index == none, -1, index)


def _nearest(segments, weight, sigma, covered, *, image_size, margin, sequential):
    batch, edges = weight.shape
    table, windows = _set_up(segments, weight, sigma, image_size)
    window, pieces = _window(image_size)
    stride = image_size[0] + window
    shape = (batch * stride, image_size[1] + window)
    inner = covered[:, margin : margin + image_size[0], margin : margin + image_size[1]]
    inner = jnp.pad(inner, ((0, 0), (0, window), (0, window))).reshape(shape)
    limit = jnp.pad(jnp.broadcast_to(CUTOFF * sigma[:, None], (batch, edges)).reshape(-1), ((0, 1),))
    block = SEQUENTIAL_BLOCK if sequential else SCATTER_BLOCK
    merge = _merge_sequential if sequential else _merge_scatter
    total = windows.ends[-1]

    def step(carry):
        start, nearest, index = carry
        items = list_items(windows, start, block, window, edges, stride)
        squared, visible = _squared_distance(table, items, covered, edges, margin, window, pieces)
        squared = jnp.where(squared <= limit[items.entry][:, None, None], squared, jnp.inf)
        count = jnp.minimum(block, total - start)
        return start + block, *merge(items, count, squared, visible, inner, nearest, index)

    start = (jnp.int32(0), jnp.full(shape, jnp.inf, segments.dtype), jnp.full(shape, -1, jnp.int32))
    _, nearest, index = lax.while_loop(lambda carry: carry[0] < total, step, varying_like(segments, start))
    nearest, index = (
        buffer.reshape(batch, stride, -1)[:, : image_size[0], : image_size[1]] for buffer in (nearest, index)
    )
    own = index - (lax.iota(jnp.int32, batch) * edges)[:, None, None]
    return nearest, jnp.where(index < 0, -1, own)


def _gradient(segments, weight, sigma, index, cotangent, *, image_size, sequential, deterministic):
    batch, edges = weight.shape
    table, windows = _set_up(segments, weight, sigma, image_size)
    window, _ = _window(image_size)
    stride = image_size[0] + window
    shape = (batch * stride, image_size[1] + window)
    entry = jnp.where(index < 0, -1, index + (lax.iota(jnp.int32, batch) * edges)[:, None, None])
    padding = ((0, 0), (0, window), (0, window))
    entry = jnp.pad(entry, padding, constant_values=-1).reshape(shape)
    cotangent = jnp.pad(cotangent, padding).reshape(shape)
    block = SEQUENTIAL_BLOCK if sequential else SCATTER_BLOCK
    total = windows.ends[-1]

    def step(carry):
        start, sums = carry
        items = list_items(windows, start, block, window, edges, stride)
        if sequential:

            def copy(item, pixels):
                at = (items.buffer_row[item], items.column[item])
                mine = lax.dynamic_slice(entry, at, (window, window)) == items.entry[item]
                piece = jnp.where(mine, lax.dynamic_slice(cotangent, at, (window, window)), 0)
                return lax.dynamic_update_slice(pixels, piece[None], (item, jnp.int32(0), jnp.int32(0)))

            pixels = varying_like(segments, jnp.zeros((block, window, window), cotangent.dtype))
            pixels = lax.fori_loop(jnp.int32(0), jnp.minimum(block, total - start), copy, pixels)
        else:
            at = window_indices(items, window)
            pixels = jnp.where(entry[at] == items.entry[:, None, None], cotangent[at], 0)
        values = segment_sums(segment_terms(table[items.entry], items.row, items.column, (window, window)), pixels)
        if deterministic and not sequential:
            return start + block, add_runs(sums, items.entry, values)
        return start + block, sums.at[items.entry].add(values)

    start = (jnp.int32(0), jnp.zeros((table.shape[0], 4), segments.dtype))
    _, sums = lax.while_loop(lambda carry: carry[0] < total, step, varying_like(segments, start))
    return end_gradient(table[:-1], sums[:-1]).reshape(segments.shape)


def _choose(merge: str | None, function: Callable, *arrays: Array) -> Any:
    sequential, scatter = (functools.partial(function, sequential=value) for value in (True, False))
    if merge is not None:
        return (sequential if merge == "sequential" else scatter)(*arrays)
    return lax.platform_dependent(*arrays, cpu=sequential, default=scatter)


def nearest_outline(
    segments: Float[Array, "batch edges 2 2"],
    weight: Int[Array, "batch edges"],
    sigma: Float[Array, "batch"],
    covered: Bool[Array, "batch rows columns"],
    *,
    image_size: tuple[int, int],
    margin: int,
    merge: str | None = None,
) -> tuple[Float[Array, "batch height width"], Int[Array, "batch height width"]]:
    """Squared distance (pixels squared) to the outline, infinite beyond the cutoff; number of the nearest edge, or -1.

    Args:
      segments: ends (u, v) of each edge.
      weight: 0 for edges that are no contour, see `contour_weights`.
      sigma: of each image, pixels squared.
      covered: the image and a margin around it.
      image_size: (height, width).
      margin: in pixels.
      merge: "sequential" or "scatter"; by default the first on a CPU, the second elsewhere. Same result.
    """
    function = functools.partial(_nearest, image_size=image_size, margin=margin)
    return _choose(merge, function, segments, weight, sigma, covered)


def outline_gradient(
    segments: Float[Array, "batch edges 2 2"],
    weight: Int[Array, "batch edges"],
    sigma: Float[Array, "batch"],
    index: Int[Array, "batch height width"],
    cotangent: Float[Array, "batch height width"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
    merge: str | None = None,
) -> Float[Array, "batch edges 2 2"]:
    """Gradient of sum(cotangent d²) to the ends of the edges; `index` is the nearest edge of each pixel, or -1."""
    function = functools.partial(_gradient, image_size=image_size, deterministic=deterministic)
    return _choose(merge, function, segments, weight, sigma, index, cotangent)
