"""Distance of each pixel to the outline, in windows around the contour edges; see `window_loop`."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from render_jax.mesh_corners import add_rows
from render_jax.outline_segments import end_gradient, is_outline, pack_segments, segment_sums, segment_terms
from render_jax.silhouette_faces import CUTOFF, distance
from render_jax.window_loop import (
    Items,
    Layout,
    Windows,
    bounds,
    by_platform,
    count_windows,
    cut_windows,
    for_all_windows,
    update_windows,
    window_indices,
)

# Pixels of windows evaluated together.
SEQUENTIAL_PIXELS = 512 * 8**2
SCATTER_PIXELS = 2048 * 8**2


def _window(image_size: tuple[int, int]) -> tuple[int, int]:
    """Edge of a window, and the pixel-long pieces of an edge that its pixels can see (its diagonal, both ends cut)."""
    return (8, 16) if max(image_size) <= 320 else (16, 32)


def least_margin(image_size: tuple[int, int]) -> int:
    """Pixels around the image that windows at its border reach into."""
    return _window(image_size)[0] - 1


class _Setup(NamedTuple):
    table: Array
    windows: Windows
    layout: Layout


def _set_up(segments: Array, weight: Array, sigma: Array, image_size: tuple[int, int]) -> _Setup:
    batch, edges = weight.shape
    flat = segments.reshape(-1, 2, 2)
    radius = jnp.sqrt(CUTOFF * jnp.broadcast_to(sigma[:, None], (batch, edges)).reshape(-1, 1))
    layout = Layout(_window(image_size)[0], edges, batch, image_size)
    windows = count_windows(*bounds(flat, radius), weight.reshape(-1) != 0, image_size, layout.window)
    return _Setup(pack_segments(flat, weight.reshape(-1)), windows, layout)


def _squared_distance(table: Array, items: Items, covered: Array, margin: int, window: int, pieces: int):
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
    piece = first + lax.iota(jnp.int32, pieces)[None]
    outline = is_outline(rows_of_table, piece, items.image, covered, margin)
    outline = lax.optimization_barrier(outline)
    bits = (outline.astype(jnp.int32) << lax.iota(jnp.int32, pieces)[None]).sum(axis=1, dtype=jnp.int32)
    nearest_piece = jnp.floor(jnp.maximum(edge.clipped, 0)).astype(jnp.int32) - first[:, :, None]
    visible = (bits[:, None, None] >> jnp.clip(nearest_piece, 0, pieces - 1)) & 1
    return edge.squared, visible == 1


def _merge_sequential(items: Items, count: Array, squared: Array, nearest: Array, index: Array):
    shape = squared.shape[1:]

    # Two loops, since a loop that updates two buffers, one by the other, copies them whole at each step.
    before = nearest
    nearest = update_windows(nearest, items, squared, count, jnp.minimum)

    def owner(item, index):
        at = (items.buffer_row[item], items.column[item])
        now = lax.dynamic_slice(nearest, at, shape)
        # Of equally near edges the first keeps the pixel; one of an earlier block cannot be equalled by `<`.
        free = (lax.dynamic_slice(before, at, shape) > now) & (squared[item] == now)
        mine = lax.dynamic_slice(index, at, shape)
        return lax.dynamic_update_slice(index, jnp.where(free, items.entry[item], mine), at)

    # Backwards, so that the first of equals writes last.
    return nearest, lax.fori_loop(jnp.int32(0), count, lambda k, index: owner(count - 1 - k, index), index)


def _merge_scatter(items: Items, count: Array, squared: Array, nearest: Array, index: Array):
    del count  # what is past the last window is infinitely far
    rows, columns = (jnp.broadcast_to(i, squared.shape) for i in window_indices(items, squared.shape[1]))
    squared = lax.optimization_barrier(squared)
    now = nearest.at[rows, columns].min(squared)
    none = jnp.iinfo(jnp.int32).max
    index = jnp.where((now < nearest) | (index < 0), none, index)
    wins = (squared == now[rows, columns]) & (squared < jnp.inf)
    index = index.at[rows, columns].min(jnp.where(wins, items.entry[:, None, None], none))
    return now, jnp.where(index == none, -1, index)


def _nearest(segments, weight, sigma, covered, *, image_size, margin, sequential):
    if margin < least_margin(image_size):
        raise ValueError(f"expected a margin of {least_margin(image_size)} pixels or more, not {margin}")
    batch, edges = weight.shape
    table, windows, layout = _set_up(segments, weight, sigma, image_size)
    window, pieces = _window(image_size)
    _, rows, columns = covered.shape
    limit = jnp.pad(jnp.broadcast_to(CUTOFF * sigma[:, None], (batch, edges)).reshape(-1), ((0, 1),))
    block = layout.block(SEQUENTIAL_PIXELS if sequential else SCATTER_PIXELS)
    merge = _merge_sequential if sequential else _merge_scatter

    def body(items, count, state):
        squared, visible = _squared_distance(table, items, covered, margin, window, pieces)
        in_covered = items._replace(buffer_row=items.image * rows + items.row + margin, column=items.column + margin)
        seen = visible | ~cut_windows(covered.reshape(-1, columns), in_covered, window)
        seen &= squared <= limit[items.entry][:, None, None]
        return merge(items, count, jnp.where(seen, squared, jnp.inf), *state)

    nothing = jnp.full(layout.shape, jnp.inf, segments.dtype), jnp.full(layout.shape, -1, jnp.int32)
    nearest, index = map(layout.unstack, for_all_windows(windows, layout, block, body, nothing, segments))
    own = index - (lax.iota(jnp.int32, batch) * edges)[:, None, None]
    return nearest, jnp.where(index < 0, -1, own)


def _gradient(segments, weight, sigma, index, cotangent, *, image_size, sequential, deterministic):
    batch, edges = weight.shape
    table, windows, layout = _set_up(segments, weight, sigma, image_size)
    window = layout.window
    entry = layout.stack(jnp.where(index < 0, -1, index + (lax.iota(jnp.int32, batch) * edges)[:, None, None]), -1)
    cotangent = layout.stack(cotangent)
    block = layout.block(SEQUENTIAL_PIXELS if sequential else SCATTER_PIXELS)

    def body(items, count, sums):
        del count  # no pixel belongs to what is past the last window
        mine = cut_windows(entry, items, window) == items.entry[:, None, None]
        pixels = jnp.where(mine, cut_windows(cotangent, items, window), 0)
        values = segment_sums(segment_terms(table[items.entry], items.row, items.column, (window, window)), pixels)
        return add_rows(sums, items.entry, values, in_order=deterministic and not sequential)

    sums = jnp.zeros((table.shape[0], 4), segments.dtype)
    sums = for_all_windows(windows, layout, block, body, sums, segments)
    return end_gradient(table[:-1], sums[:-1]).reshape(segments.shape)


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
      margin: in pixels; `least_margin` or more.
      merge: "sequential" or "scatter"; by default the first on a CPU, the second elsewhere. Same result.
    """
    function = functools.partial(_nearest, image_size=image_size, margin=margin)
    return by_platform(merge, function, segments, weight, sigma, covered)


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
    return by_platform(merge, function, segments, weight, sigma, index, cotangent)
