"""The loop over all windows of a batch, whose length is known at run time only; for faces and for edges of outlines.

A box around each entry (a face, an edge), clipped to the image, is cut into square windows. Window number i belongs to
the entry that the cumulated counts say, and a `while_loop` goes through all windows in blocks. So there are no bins, no
capacity and no limit of entries per pixel. A batch is one tall image: one loop over all windows of all images.

On a CPU the windows of a block are merged into the image one after the other, in place. Elsewhere they are scattered
all at once.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from render_jax.native_batching import varying_like
from render_jax.window_pass import pixels_between


class Windows(NamedTuple):
    """All windows of a batch, not yet listed."""

    ends: Int[Array, "entries"]  # cumulated number of windows; entries count over the batch
    first_row: Int[Array, "one_more"]
    first_column: Int[Array, "one_more"]
    across: Int[Array, "one_more"]


class Layout(NamedTuple):
    """Where the windows of a batch lie: in one tall image, a stride of rows for each, that they may stand out of.

    Windows may stand out over the right and the lower border: the tall image is that much larger.
    """

    window: int
    entries_per_image: int
    batch: int
    image_size: tuple[int, int]

    @property
    def stride(self) -> int:
        return self.image_size[0] + self.window

    @property
    def shape(self) -> tuple[int, int]:
        return self.batch * self.stride, self.image_size[1] + self.window

    def block(self, pixels: int) -> int:
        """Number of windows that have so many pixels together."""
        return max(pixels // self.window**2, 16)

    def stack(self, images: Shaped[Array, "batch height width"], fill: float = 0) -> Shaped[Array, "rows columns"]:
        """The tall image of a batch."""
        padding = ((0, 0), (0, self.window), (0, self.window))
        return jnp.pad(images, padding, constant_values=fill).reshape(self.shape)

    def unstack(self, tall: Shaped[Array, "rows columns"]) -> Shaped[Array, "batch height width"]:
        """The batch of a tall image."""
        images = tall.reshape(self.batch, self.stride, -1)
        return images[:, : self.image_size[0], : self.image_size[1]]


class Items(NamedTuple):
    """Consecutive windows; those past the last one have the entry that no pixel sees."""

    entry: Int[Array, "block"]
    image: Int[Array, "block"]
    row: Int[Array, "block"]  # in their own image
    column: Int[Array, "block"]
    buffer_row: Int[Array, "block"]  # in the tall image


def window_size(image_size: tuple[int, int], face_count: int) -> int:
    """Edge of a window in pixels: small enough to waste few of them, large enough that int32 counts all windows."""
    height, width = image_size
    size = 8 if max(height, width) <= 320 else 16 if max(height, width) <= 960 else 32
    while face_count * math.ceil(height / size) * math.ceil(width / size) > 2**31 - 2**16 and size < max(height, width):
        size *= 2
    return size


def bounds(
    corners: Float[Array, "entries corners 2"], radius: Float[Array, "entries 1"]
) -> tuple[Float[Array, "entries 2"], Float[Array, "entries 2"]]:
    """Lowest and highest (u, v) within the radius. (One by one: on a CPU, reductions over short axes are slow.)"""
    one_by_one = jnp.unstack(corners, axis=1)
    return functools.reduce(jnp.minimum, one_by_one) - radius, functools.reduce(jnp.maximum, one_by_one) + radius


def count_windows(
    low: Float[Array, "entries 2"],
    high: Float[Array, "entries 2"],
    drawn: Bool[Array, "entries"],
    image_size: tuple[int, int],
    window: int,
) -> Windows:
    """Windows of boxes given by their corners (u, v) in pixels."""
    first_column, last_column = pixels_between(low[:, 0], high[:, 0], image_size[1])
    first_row, last_row = pixels_between(low[:, 1], high[:, 1], image_size[0])
    # lax.div, since `//` of numbers that could be negative costs a CPU four times as much.
    across, down = (
        lax.div(jnp.maximum(last - first + window, 0), jnp.int32(window))
        for first, last in ((first_column, last_column), (first_row, last_row))
    )
    ends = jnp.cumsum(jnp.where(drawn, across * down, 0), dtype=jnp.int32)
    last = ((0, 1),)
    return Windows(ends, *(jnp.pad(array, last) for array in (first_row, first_column, across)))


def list_items(windows: Windows, start: Array, block: int, layout: Layout) -> Items:
    """Windows start ... start + block - 1."""
    item = start + lax.iota(jnp.int32, block)
    entry = jnp.searchsorted(windows.ends, item, side="right").astype(jnp.int32)
    before = jnp.where(entry > 0, windows.ends[jnp.maximum(entry - 1, 0)], 0)
    inside = entry < windows.ends.shape[0]
    number, across = jnp.where(inside, item - before, 0), jnp.maximum(windows.across[entry], 1)
    down = lax.div(number, across)
    row = windows.first_row[entry] + down * layout.window
    column = windows.first_column[entry] + (number - down * across) * layout.window
    image = jnp.where(inside, lax.div(entry, jnp.int32(layout.entries_per_image)), 0)
    return Items(entry, image, row, column, row + image * layout.stride)


def update_windows(
    buffer: Array, items: Items, values: Array, count: Array, operation: Callable[[Array, Array], Array]
) -> Array:
    """Window after window, updating the buffer in place: the fast way on a CPU."""

    def merge(item, buffer):
        at = (items.buffer_row[item], items.column[item])
        return lax.dynamic_update_slice(
            buffer, operation(lax.dynamic_slice(buffer, at, values.shape[1:]), values[item]), at
        )

    return lax.fori_loop(jnp.int32(0), count, merge, buffer)


def window_indices(items: Items, window: int) -> tuple[Array, Array]:
    """Rows and columns of the buffer, each [block, window, window] after broadcasting."""
    offsets = lax.iota(jnp.int32, window)
    return items.buffer_row[:, None, None] + offsets[None, :, None], items.column[:, None, None] + offsets[None, None]


def cut_windows(
    images: Shaped[Array, "rows columns"], items: Items, window: int
) -> Shaped[Array, "block window window"]:
    """The windows of a tall image that has room for all of them."""
    return lax.gather(
        images,
        jnp.stack([items.buffer_row, items.column], axis=1),
        lax.GatherDimensionNumbers(offset_dims=(1, 2), collapsed_slice_dims=(), start_index_map=(0, 1)),
        slice_sizes=(window, window),
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )


def scatter_add(buffer: Array, items: Items, values: Array) -> Array:
    """All windows at once: the fast way where there are thousands of threads."""
    rows, columns = (jnp.broadcast_to(index, values.shape) for index in window_indices(items, values.shape[1]))
    return buffer.at[rows, columns].add(values)


def for_all_windows(
    windows: Windows,
    layout: Layout,
    block: int,
    body: Callable[[Items, Array, Any], Any],
    state: Any,
    reference: Array,
) -> Any:
    """body(items, how many of them are windows, state) -> state, over all blocks; `reference` as for `varying_like`."""
    total = windows.ends[-1]

    def step(carry):
        start, state = carry
        items = list_items(windows, start, block, layout)
        return start + block, body(items, jnp.minimum(block, total - start), state)

    carry = varying_like(reference, (jnp.int32(0), state))
    return lax.while_loop(lambda carry: carry[0] < total, step, carry)[1]


def by_platform(merge: str | None, function: Callable[..., Any], *arrays: Array) -> Any:
    """function(*arrays, sequential=...): True where `merge` is "sequential", or by default on a CPU."""
    sequential, scatter = (functools.partial(function, sequential=value) for value in (True, False))
    if merge is not None:
        return (sequential if merge == "sequential" else scatter)(*arrays)
    return lax.platform_dependent(*arrays, cpu=sequential, default=scatter)
