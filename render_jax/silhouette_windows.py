"""The "windows" backend: each face visits the pixels near it, in square windows, in a loop of unknown length.

The bounding box of a face, wider by the distance beyond which it is not seen, is clipped to the image and cut into
windows. Window number i belongs to the face that the cumulated counts say, and a `while_loop` whose trip count is known
at run time only goes through all windows in blocks. So there are no bins, no capacity and no limit of faces per pixel.
A batch is one tall image: one loop over all windows of all images.

On a CPU the windows of a block are merged into the image one after the other, in place. Elsewhere they are scattered
all at once; the order of additions then differs from run to run, unless `deterministic` adds integers.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from render_jax.mesh_corners import add_runs
from render_jax.native_batching import varying_like
from render_jax.silhouette_faces import (
    CUTOFF,
    EdgeTerms,
    corner_gradient,
    distance,
    edge_terms,
    gradient_sums,
    pack,
    signed_exponent,
    tangent_of_exponent,
    tangents_in_edge_frames,
)
from render_jax.window_pass import pixels_between

# Windows evaluated together; bounds the temporaries, not the mesh.
SEQUENTIAL_BLOCK = 512
SCATTER_BLOCK = 8192

# Integers of the deterministic sums: a coarse one in units of 2^-10 and a fine one in units of 2^-24.
COARSE_BITS, FINE_BITS = 10, 24
# -log of a transparency too small for any float32 image to show; one pair adds no more than this.
OPAQUE = 40.0


class Windows(NamedTuple):
    """All windows of a batch, not yet listed."""

    ends: Int[Array, "faces"]  # cumulated number of windows; faces count over the batch
    first_row: Int[Array, "entries"]
    first_column: Int[Array, "entries"]
    across: Int[Array, "entries"]


class Items(NamedTuple):
    """Consecutive windows; those past the last one have the entry that no pixel sees."""

    entry: Int[Array, "block"]
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
    across = jnp.maximum((last_column - first_column + window) // window, 0)
    down = jnp.maximum((last_row - first_row + window) // window, 0)
    ends = jnp.cumsum(jnp.where(drawn, across * down, 0), dtype=jnp.int32)
    last = ((0, 1),)
    return Windows(ends, *(jnp.pad(array, last) for array in (first_row, first_column, across)))


def list_items(windows: Windows, start: Array, block: int, window: int, entries_per_image: int, stride: int) -> Items:
    """Windows start ... start + block - 1; `stride` is the number of buffer rows of an image."""
    item = start + lax.iota(jnp.int32, block)
    entry = jnp.searchsorted(windows.ends, item, side="right").astype(jnp.int32)
    before = jnp.where(entry > 0, windows.ends[jnp.maximum(entry - 1, 0)], 0)
    inside = entry < windows.ends.shape[0]
    number, across = jnp.where(inside, item - before, 0), jnp.maximum(windows.across[entry], 1)
    row = windows.first_row[entry] + number // across * window
    column = windows.first_column[entry] + number % across * window
    image = jnp.where(inside, entry // entries_per_image, 0)
    return Items(entry, row, column, row + image * stride)


def multiply_or_add_windows(
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


def scatter_add(buffer: Array, items: Items, values: Array) -> Array:
    """All windows at once: the fast way where there are thousands of threads."""
    rows, columns = (jnp.broadcast_to(index, values.shape) for index in window_indices(items, values.shape[1]))
    return buffer.at[rows, columns].add(values)


class _Setup(NamedTuple):
    table: Array
    windows: Windows
    window: int
    stride: int
    buffer_shape: tuple[int, int]
    face_sigma: Array

    def terms(self, items: Items) -> list[EdgeTerms]:
        return edge_terms(self.table[items.entry], items.row, items.column, (self.window, self.window))


def _set_up(triangles: Array, valid: Array, sigma: Array, image_size: tuple[int, int]) -> _Setup:
    batch, faces = valid.shape
    window = window_size(image_size, batch * faces)
    face_sigma = jnp.broadcast_to(sigma[:, None], (batch, faces)).reshape(-1)
    triangles, valid = triangles.reshape(-1, 3, 2), valid.reshape(-1)
    radius = jnp.sqrt(CUTOFF * face_sigma)[:, None]
    # Windows may stand out over the right and the lower border: the buffer is that much larger.
    stride = image_size[0] + window
    return _Setup(
        table=pack(triangles, valid, face_sigma),
        windows=count_windows(
            triangles.min(axis=1) - radius, triangles.max(axis=1) + radius, valid, image_size, window
        ),
        window=window,
        stride=stride,
        buffer_shape=(batch * stride, image_size[1] + window),
        face_sigma=face_sigma,
    )


def _for_all_windows(setup: _Setup, faces: int, block: int, body: Callable, state):
    """body(items, how many of them are windows, state) -> state, over all blocks."""
    total = setup.windows.ends[-1]

    def step(carry):
        start, state = carry
        items = list_items(setup.windows, start, block, setup.window, faces, setup.stride)
        return start + block, body(items, jnp.minimum(block, total - start), state)

    state = varying_like(setup.table, (jnp.int32(0), state))
    return lax.while_loop(lambda carry: carry[0] < total, step, state)[1]


def _crop(buffer: Array, batch: int, image_size: tuple[int, int]) -> Array:
    return buffer.reshape(batch, -1, buffer.shape[1])[:, : image_size[0], : image_size[1]]


def _pad(images: Array, setup: _Setup) -> Array:
    return jnp.pad(images, ((0, 0), (0, setup.window), (0, setup.window))).reshape(setup.buffer_shape)


def _transparency_sequential(triangles, valid, sigma, *, image_size):
    setup = _set_up(triangles, valid, sigma, image_size)

    def body(items, count, buffer):
        exponent = signed_exponent([distance(edge) for edge in setup.terms(items)])
        # The product of 1 / (1 - p): no division here, and infinity is right where nothing shines through.
        return multiply_or_add_windows(buffer, items, 1 + jnp.exp(exponent), count, jnp.multiply)

    buffer = jnp.ones(setup.buffer_shape, triangles.dtype)
    buffer = _for_all_windows(setup, valid.shape[1], SEQUENTIAL_BLOCK, body, buffer)
    return 1 / _crop(buffer, valid.shape[0], image_size)


def _transparency_scatter(triangles, valid, sigma, *, image_size, deterministic):
    setup = _set_up(triangles, valid, sigma, image_size)

    def body(items, count, buffers):
        del count  # what is past the last window adds 0
        exponent = signed_exponent([distance(edge) for edge in setup.terms(items)])
        # -log(1 - p) = log(1 + exp(x))
        opacity = jnp.maximum(exponent, 0) + jnp.log1p(jnp.exp(-jnp.abs(exponent)))
        opacity = jnp.minimum(opacity, OPAQUE)
        if not deterministic:
            return (scatter_add(buffers[0], items, opacity),)
        coarse = jnp.floor(opacity * 2**COARSE_BITS)
        fine = jnp.round(opacity * 2**FINE_BITS - coarse * 2 ** (FINE_BITS - COARSE_BITS))
        high, low = (
            scatter_add(buffer, items, part.astype(jnp.int32))
            for buffer, part in zip(buffers, (coarse, fine), strict=True)
        )
        # Within a block neither sum can overflow; after it the fine one is carried and the coarse one saturates.
        high = jnp.minimum(high + (low >> (FINE_BITS - COARSE_BITS)), 2**COARSE_BITS * 1000)
        return high, low & (2 ** (FINE_BITS - COARSE_BITS) - 1)

    dtypes = (jnp.int32, jnp.int32) if deterministic else (triangles.dtype,)
    buffers = tuple(jnp.zeros(setup.buffer_shape, dtype) for dtype in dtypes)
    parts = _for_all_windows(setup, valid.shape[1], SCATTER_BLOCK, body, buffers)
    parts = [_crop(part.astype(triangles.dtype), valid.shape[0], image_size) for part in parts]
    if not deterministic:
        return jnp.exp(-parts[0])
    return jnp.exp(-(parts[0] * 2**-COARSE_BITS + parts[1] * 2**-FINE_BITS))


def _gradient(triangles, valid, sigma, weight, *, image_size, sequential, deterministic):
    setup = _set_up(triangles, valid, sigma, image_size)
    weight, window = _pad(weight, setup), setup.window
    block = SEQUENTIAL_BLOCK if sequential else SCATTER_BLOCK

    def body(items, count, total):
        if sequential:

            def copy(item, windows):
                at = (items.buffer_row[item], items.column[item])
                piece = lax.dynamic_slice(weight, at, (window, window))
                return lax.dynamic_update_slice(windows, piece[None], (item, jnp.int32(0), jnp.int32(0)))

            windows = varying_like(weight, jnp.zeros((block, window, window), weight.dtype))
            windows = lax.fori_loop(jnp.int32(0), count, copy, windows)
        else:
            windows = weight[window_indices(items, window)]
        sums = gradient_sums(setup.terms(items), windows)
        if deterministic and not sequential:
            return add_runs(total, items.entry, sums)
        return total.at[items.entry].add(sums)

    total = jnp.zeros((setup.table.shape[0], 9), triangles.dtype)
    total = _for_all_windows(setup, valid.shape[1], block, body, total)
    return corner_gradient(setup.table[:-1], total[:-1], setup.face_sigma).reshape(triangles.shape)


def _tangent(triangles, valid, sigma, tangents, *, image_size, sequential):
    setup = _set_up(triangles, valid, sigma, image_size)
    frames = tangents_in_edge_frames(setup.table, tangents.reshape(-1, 3, 2))

    def body(items, count, buffer):
        moves = tangent_of_exponent(setup.terms(items), *(frame[items.entry] for frame in frames))
        if sequential:
            return multiply_or_add_windows(buffer, items, moves, count, jnp.add)
        return scatter_add(buffer, items, moves)

    buffer = jnp.zeros(setup.buffer_shape, triangles.dtype)
    block = SEQUENTIAL_BLOCK if sequential else SCATTER_BLOCK
    buffer = _for_all_windows(setup, valid.shape[1], block, body, buffer)
    return _crop(buffer, valid.shape[0], image_size)


def _choose(merge: str | None, sequential: Callable, scatter: Callable, *arrays: Array) -> Array:
    if merge is not None:
        return (sequential if merge == "sequential" else scatter)(*arrays)
    return lax.platform_dependent(*arrays, cpu=sequential, default=scatter)


def transparency(
    triangles: Float[Array, "batch faces 3 2"],
    valid: Bool[Array, "batch faces"],
    sigma: Float[Array, "batch"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
    merge: str | None = None,
) -> Float[Array, "batch height width"]:
    """The product of 1 - p over all faces.

    Args:
      triangles: corners (u, v) in pixels; zeros where not `valid`.
      valid: faces that count.
      sigma: of each image, pixels squared.
      image_size: (height, width).
      deterministic: the same bits in every run on every device; resolves -log of the result to 2^-24.
      merge: "sequential" or "scatter"; by default the first on a CPU, the second elsewhere.
    """
    return _choose(
        merge,
        functools.partial(_transparency_sequential, image_size=image_size),
        functools.partial(_transparency_scatter, image_size=image_size, deterministic=deterministic),
        triangles,
        valid,
        sigma,
    )


def gradient(
    triangles: Float[Array, "batch faces 3 2"],
    valid: Bool[Array, "batch faces"],
    sigma: Float[Array, "batch"],
    weight: Float[Array, "batch height width"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
    merge: str | None = None,
) -> Float[Array, "batch faces 3 2"]:
    """Sum over pixels of weight p dx / dcorners; the gradient of alpha where the weight is its cotangent times T."""
    run = functools.partial(_gradient, image_size=image_size, deterministic=deterministic)
    return _choose(
        merge,
        functools.partial(run, sequential=True),
        functools.partial(run, sequential=False),
        triangles,
        valid,
        sigma,
        weight,
    )


def tangent(
    triangles: Float[Array, "batch faces 3 2"],
    valid: Bool[Array, "batch faces"],
    sigma: Float[Array, "batch"],
    tangents: Float[Array, "batch faces 3 2"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
    merge: str | None = None,
) -> Float[Array, "batch height width"]:
    """Sum over faces of p dx; times T it is the motion of alpha. (Not bit-for-bit reproducible off the CPU.)"""
    del deterministic
    run = functools.partial(_tangent, image_size=image_size)
    return _choose(
        merge,
        functools.partial(run, sequential=True),
        functools.partial(run, sequential=False),
        triangles,
        valid,
        sigma,
        tangents,
    )
