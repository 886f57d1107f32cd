"""All pixels against all edges: the oracle of `outline_windows`. Row by row, so the memory is bounded."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from render_jax.native_batching import varying_like
from render_jax.outline_segments import end_gradient, is_outline, pack_segments, segment_sums, segment_terms
from render_jax.silhouette_faces import CUTOFF, distance


def _row_terms(table: Array, row: Array, width: int):
    first = jnp.zeros(table.shape[0], jnp.int32)
    return segment_terms(table, first + row, first, (1, width))


def nearest_outline(
    segments: Float[Array, "batch edges 2 2"],
    weight: Int[Array, "batch edges"],
    sigma: Float[Array, "batch"],
    covered: Bool[Array, "batch rows columns"],
    *,
    image_size: tuple[int, int],
    margin: int,
) -> tuple[Float[Array, "batch height width"], Int[Array, "batch height width"]]:
    """See `outline_windows.nearest_outline`."""
    height, width = image_size

    def image(arrays):
        segments, weight, sigma, covered = arrays
        table = pack_segments(segments, weight)[:-1]

        def row(number):
            edge = distance(_row_terms(table, number, width))
            clipped, squared = edge.clipped[:, 0], edge.squared[:, 0]
            piece = jnp.floor(jnp.clip(clipped, 0, 2**30)).astype(jnp.int32)
            image = jnp.zeros(table.shape[0], jnp.int32)
            visible = is_outline(table, piece, image, covered[None], margin)
            here = lax.dynamic_slice(covered, (number + margin, jnp.int32(margin)), (1, width))
            squared = jnp.where((visible | ~here) & (squared <= CUTOFF * sigma), squared, jnp.inf)
            nearest = squared.min(axis=0)
            index = jnp.where(nearest < jnp.inf, jnp.argmin(squared, axis=0).astype(jnp.int32), -1)
            return nearest, index

        return lax.map(row, lax.iota(jnp.int32, height))

    return lax.map(image, (segments, weight, sigma, covered))


def outline_gradient(
    segments: Float[Array, "batch edges 2 2"],
    weight: Int[Array, "batch edges"],
    sigma: Float[Array, "batch"],
    index: Int[Array, "batch height width"],
    cotangent: Float[Array, "batch height width"],
    *,
    image_size: tuple[int, int],
    deterministic: bool = False,
) -> Float[Array, "batch edges 2 2"]:
    """See `outline_windows.outline_gradient`."""
    del sigma, deterministic  # only pixels within the cutoff have an index; the order of sums is fixed
    _, width = image_size

    def image(arrays):
        segments, weight, index, cotangent = arrays
        table = pack_segments(segments, weight)[:-1]
        number = lax.iota(jnp.int32, table.shape[0])[:, None]

        def add(sums, row):
            at, index, cotangent = row
            mine = jnp.where(index[None] == number, cotangent[None], 0)[:, None]
            return sums + segment_sums(_row_terms(table, at, width), mine), None

        rows = (lax.iota(jnp.int32, index.shape[0]), index, cotangent)
        sums, _ = lax.scan(add, varying_like(table, jnp.zeros((table.shape[0], 4), table.dtype)), rows)
        return end_gradient(table, sums)

    return lax.map(image, (segments, weight, index, cotangent))
