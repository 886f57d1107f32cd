"""The "tiles" backend: each tile of the image visits the faces near it. For TPUs, where nothing may be scattered.

Which faces touch a tile is known from their boxes; the cumulated count of those says which face is the r-th of a tile,
so its list is read by rank, a chunk at a time, in a loop as long as the longest list of the tiles that run together.
Tiles are sorted by the length of their list, so that those are about equally long. No list is stored: there is no
capacity and nothing to overflow.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from render_jax.mesh_corners import add_rows
from render_jax.native_batching import varying_like
from render_jax.silhouette_faces import (
    CUTOFF,
    EdgeTerms,
    corner_gradient,
    distance,
    edge_terms,
    gradient_sums,
    pack_image,
    signed_exponent,
    tangent_of_exponent,
    tangents_in_edge_frames,
)
from render_jax.window_loop import bounds
from render_jax.window_pass import pixels_between

# A TPU's vector registers hold 8 x 128 numbers.
TILE_ROWS, TILE_COLUMNS = 8, 128
TILES_TOGETHER = 4
FACES_TOGETHER = 32


class Tiles(NamedTuple):
    """Tiles of one image, those with the longest lists first, and the boxes of its faces in tiles."""

    row: Int[Array, "tiles"]
    column: Int[Array, "tiles"]
    order: Int[Array, "tiles"]
    first: Int[Array, "faces 2"]  # row and column of tiles
    last: Int[Array, "faces 2"]


def tile_layout(image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Rows and columns of a tile, number of tiles down (whole groups of them) and across."""
    height, width = image_size
    columns = min(TILE_COLUMNS, -(-width // 16) * 16)
    across, down = -(-width // columns), -(-height // TILE_ROWS)
    while down * across % TILES_TOGETHER:
        down += 1
    return TILE_ROWS, columns, down, across


def sort_tiles(triangles: Array, valid: Array, sigma: Array, image_size: tuple[int, int]) -> Tiles:
    """Of one image, from the boxes of its faces."""
    rows, columns, down, across = tile_layout(image_size)
    low, high = bounds(triangles, jnp.sqrt(CUTOFF * sigma))
    first_column, last_column = pixels_between(low[:, 0], high[:, 0], image_size[1])
    first_row, last_row = pixels_between(low[:, 1], high[:, 1], image_size[0])
    seen = valid & (first_row <= last_row) & (first_column <= last_column)
    first = jnp.stack([first_row // rows, first_column // columns], axis=1)
    last = jnp.where(seen[:, None], jnp.stack([last_row // rows, last_column // columns], axis=1), -1)
    in_row, in_column = (
        (index[None] >= first[:, axis, None]) & (index[None] <= last[:, axis, None])
        for axis, index in enumerate((lax.iota(jnp.int32, down), lax.iota(jnp.int32, across)))
    )
    count = jnp.matmul(in_row.T.astype(jnp.float32), in_column.astype(jnp.float32)).reshape(-1)
    order = jnp.argsort(-count, stable=True).astype(jnp.int32)
    return Tiles(*jnp.divmod(order, across), order, first, last)


def _visit(tiles: Tiles, group: Array, visit: Callable, state):
    """visit(entries [tiles * faces together], rows, columns of their tiles, state) -> state, through the lists."""
    at = group * TILES_TOGETHER + lax.iota(jnp.int32, TILES_TOGETHER)
    place = jnp.stack([tiles.row[at], tiles.column[at]], axis=1)[:, None]
    touching = ((place >= tiles.first[None]) & (place <= tiles.last[None])).all(axis=2)
    counts = jnp.cumsum(touching, axis=1, dtype=jnp.int32)
    longest = counts[:, -1].max()
    rows, columns = (jnp.repeat(place[:, 0, axis], FACES_TOGETHER) for axis in range(2))

    def step(carry):
        rank, state = carry
        wanted = rank + 1 + lax.iota(jnp.int32, FACES_TOGETHER)
        # Past the end of a list this is the number of faces: the entry that no pixel sees.
        entries = jax.vmap(lambda count: jnp.searchsorted(count, wanted))(counts).astype(jnp.int32)
        return rank + FACES_TOGETHER, visit(entries.reshape(-1), rows, columns, state)

    return lax.while_loop(lambda carry: carry[0] < longest, step, varying_like(longest, (jnp.int32(0), state)))[1]


def _groups(image_size: tuple[int, int]) -> Int[Array, "groups"]:
    _, _, down, across = tile_layout(image_size)
    return lax.iota(jnp.int32, down * across // TILES_TOGETHER)


def _per_tile(values: Array, shape: Sequence[int]) -> Array:
    return values.reshape(TILES_TOGETHER, FACES_TOGETHER, *shape)


def _assemble(pieces: Array, tiles: Tiles, image_size: tuple[int, int]) -> Float[Array, "height width"]:
    rows, columns, down, across = tile_layout(image_size)
    pieces = pieces.reshape(-1, rows, columns)[jnp.argsort(tiles.order)]
    image = pieces.reshape(down, across, rows, columns).transpose(0, 2, 1, 3).reshape(down * rows, across * columns)
    return image[: image_size[0], : image_size[1]]


def _cut(image: Array, tiles: Tiles, image_size: tuple[int, int]) -> Float[Array, "groups together rows columns"]:
    rows, columns, down, across = tile_layout(image_size)
    image = jnp.pad(image, ((0, down * rows - image_size[0]), (0, across * columns - image_size[1])))
    pieces = image.reshape(down, rows, across, columns).transpose(0, 2, 1, 3).reshape(-1, rows, columns)
    return pieces[tiles.order].reshape(-1, TILES_TOGETHER, rows, columns)


def _terms(table: Array, entries: Array, rows: Array, columns: Array, shape: Sequence[int]) -> list[EdgeTerms]:
    return edge_terms(table[entries], rows * shape[0], columns * shape[1], (shape[0], shape[1]))


def multiply_faces(table: Array, entries: Array, rows: Array, columns: Array, product: Array) -> Array:
    """product [tiles together, *tile] times 1 / (1 - p) of the next faces of each tile: one step of the inner loop."""
    _, *shape = product.shape
    terms = _terms(table, entries, rows, columns, shape)
    exponent = signed_exponent([distance(edge) for edge in terms])
    return product * jnp.prod(_per_tile(1 + jnp.exp(exponent), shape), axis=1)


def add_gradients(
    table: Array, entries: Array, rows: Array, columns: Array, weights: Array, total: Array, deterministic: bool
) -> Array:
    """total [entries, 9] plus the sums of the next faces of each tile: one step of the inner loop of the gradient."""
    _, *shape = weights.shape
    windows = jnp.broadcast_to(weights[:, None], (TILES_TOGETHER, FACES_TOGETHER, *shape)).reshape(-1, *shape)
    sums = gradient_sums(_terms(table, entries, rows, columns, shape), windows)
    return add_rows(total, entries, sums, in_order=deterministic)


def group_transparency(table: Array, tiles: Tiles, group: Array, shape: tuple[int, int]) -> Array:
    """The product of 1 / (1 - p) in the tiles of a group, [tiles together, *shape]."""
    visit = functools.partial(multiply_faces, table)
    return _visit(tiles, group, visit, varying_like(table, jnp.ones((TILES_TOGETHER, *shape), table.dtype)))


def group_gradient(
    table: Array, tiles: Tiles, group: Array, weights: Array, total: Array, deterministic: bool
) -> Array:
    """total [entries, 9] plus the sums over the tiles of a group, whose weights [tiles together, *tile] are given."""

    def visit(entries, rows, columns, total):
        return add_gradients(table, entries, rows, columns, weights, total, deterministic)

    return _visit(tiles, group, visit, total)


def transparency(
    triangles: Float[Array, "batch faces 3 2"],
    valid: Bool[Array, "batch faces"],
    sigma: Float[Array, "batch"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
) -> Float[Array, "batch height width"]:
    """See `silhouette_windows.transparency`."""
    del deterministic  # always is
    shape = tile_layout(image_size)[:2]

    def image(mesh):
        table, tiles = pack_image(*mesh), sort_tiles(*mesh, image_size=image_size)
        pieces = lax.map(lambda group: group_transparency(table, tiles, group, shape), _groups(image_size))
        return _assemble(1 / pieces, tiles, image_size)

    return lax.map(image, (triangles, valid, sigma))


def gradient(
    triangles: Float[Array, "batch faces 3 2"],
    valid: Bool[Array, "batch faces"],
    sigma: Float[Array, "batch"],
    weight: Float[Array, "batch height width"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
) -> Float[Array, "batch faces 3 2"]:
    """See `silhouette_windows.gradient`."""

    def image(arrays):
        *mesh, weight = arrays
        table, tiles = pack_image(*mesh), sort_tiles(*mesh, image_size=image_size)

        def group(total, number_and_weights):
            number, weights = number_and_weights
            return group_gradient(table, tiles, number, weights, total, deterministic), None

        zero = varying_like(table, jnp.zeros((table.shape[0], 9), table.dtype))
        total, _ = lax.scan(group, zero, (_groups(image_size), _cut(weight, tiles, image_size)))
        return corner_gradient(table[:-1], total[:-1], jnp.broadcast_to(mesh[2], (table.shape[0] - 1,)))

    return lax.map(image, (triangles, valid, sigma, weight))


def tangent(
    triangles: Float[Array, "batch faces 3 2"],
    valid: Bool[Array, "batch faces"],
    sigma: Float[Array, "batch"],
    tangents: Float[Array, "batch faces 3 2"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
) -> Float[Array, "batch height width"]:
    """See `silhouette_windows.tangent`."""
    del deterministic
    shape = tile_layout(image_size)[:2]

    def image(arrays):
        *mesh, tangents = arrays
        table, tiles = pack_image(*mesh), sort_tiles(*mesh, image_size=image_size)
        frames = tangents_in_edge_frames(table, tangents)

        def visit(entries, rows, columns, total):
            terms = _terms(table, entries, rows, columns, shape)
            moves = tangent_of_exponent(terms, *(frame[entries] for frame in frames))
            return total + _per_tile(moves, shape).sum(axis=1)

        zeros = varying_like(table, jnp.zeros((TILES_TOGETHER, *shape), table.dtype))
        pieces = lax.map(lambda group: _visit(tiles, group, visit, zeros), _groups(image_size))
        return _assemble(pieces, tiles, image_size)

    return lax.map(image, (triangles, valid, sigma, tangents))
