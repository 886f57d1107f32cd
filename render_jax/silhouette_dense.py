"""The "dense" backend: all pixels against all faces, in tiles of the image and chunks of faces.

The oracle of the others. No face is left out for being far away; the work is pixels times faces, the memory bounded.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from render_jax.native_batching import varying_like
from render_jax.silhouette_faces import (
    corner_gradient,
    distance,
    edge_terms,
    gradient_sums,
    pack_image,
    signed_exponent,
    tangent_of_exponent,
    tangents_in_edge_frames,
)

TILE = 16
FACES_AT_ONCE = 1024


def _tiles(image_size: tuple[int, int]) -> tuple[Array, Array]:
    """Row and column of the first pixel of each tile."""
    down, across = -(-image_size[0] // TILE), -(-image_size[1] // TILE)
    rows, columns = jnp.divmod(lax.iota(jnp.int32, down * across), across)
    return rows * TILE, columns * TILE


def _to_tiles(image: Array) -> Array:
    height, width = image.shape
    padded = jnp.pad(image, ((0, -height % TILE), (0, -width % TILE)))
    down, across = padded.shape[0] // TILE, padded.shape[1] // TILE
    return padded.reshape(down, TILE, across, TILE).transpose(0, 2, 1, 3).reshape(-1, TILE, TILE)


def _from_tiles(tiles: Array, image_size: tuple[int, int]) -> Array:
    down, across = -(-image_size[0] // TILE), -(-image_size[1] // TILE)
    image = tiles.reshape(down, across, TILE, TILE).transpose(0, 2, 1, 3).reshape(down * TILE, across * TILE)
    return image[: image_size[0], : image_size[1]]


def _chunks(table: Array) -> Array:
    """[chunks, faces at once, ...], filled up with the entry that no pixel sees, the table's last."""
    count = -(-table.shape[0] // FACES_AT_ONCE)
    size = -(-table.shape[0] // count)
    entries = jnp.minimum(lax.iota(jnp.int32, count * size), table.shape[0] - 1)
    return table[entries].reshape(count, size, *table.shape[1:])


def _terms(rows_of_table: Array, row: Array, column: Array):
    items = rows_of_table.shape[0]
    return edge_terms(rows_of_table, jnp.broadcast_to(row, (items,)), jnp.broadcast_to(column, (items,)), (TILE, TILE))


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

    def image(arrays):
        chunks = _chunks(pack_image(*arrays))

        def tile(corner):
            def add(product, rows_of_table):
                exponent = signed_exponent([distance(edge) for edge in _terms(rows_of_table, *corner)])
                return product * jnp.prod(1 + jnp.exp(exponent), axis=0), None

            return lax.scan(add, varying_like(chunks, jnp.ones((TILE, TILE), chunks.dtype)), chunks)[0]

        return _from_tiles(1 / lax.map(tile, _tiles(image_size)), image_size)

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
    del deterministic

    def image(arrays):
        *mesh, weight = arrays
        table = pack_image(*mesh)
        weights = _to_tiles(weight)

        def chunk(rows_of_table):
            def add(sums, tile):
                row, column, weight = tile
                windows = jnp.broadcast_to(weight[None], (rows_of_table.shape[0], TILE, TILE))
                return sums + gradient_sums(_terms(rows_of_table, row, column), windows), None

            zero = varying_like(table, jnp.zeros((rows_of_table.shape[0], 9), table.dtype))
            return lax.scan(add, zero, (*_tiles(image_size), weights))[0]

        sums = lax.map(chunk, _chunks(table)).reshape(-1, 9)[: table.shape[0] - 1]
        return corner_gradient(table[:-1], sums, jnp.broadcast_to(mesh[2], (table.shape[0] - 1,)))

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

    def image(arrays):
        *mesh, tangents = arrays
        table = pack_image(*mesh)
        chunks = [_chunks(array) for array in (table, *tangents_in_edge_frames(table, tangents))]

        def tile(corner):
            def add(total, chunk):
                rows_of_table, along, across = chunk
                return total + tangent_of_exponent(_terms(rows_of_table, *corner), along, across).sum(axis=0), None

            return lax.scan(add, varying_like(table, jnp.zeros((TILE, TILE), table.dtype)), chunks)[0]

        return _from_tiles(lax.map(tile, _tiles(image_size)), image_size)

    return lax.map(image, (triangles, valid, sigma, tangents))
