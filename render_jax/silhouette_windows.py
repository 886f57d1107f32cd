"""The "windows" backend: each face visits the pixels near it, in square windows, in a loop of unknown length.

Each face has its bounding box, wider by the distance beyond which it is not seen; `window_loop` is the loop over them.
Where all windows are scattered at once, the order of additions differs from run to run, unless `deterministic` adds
integers.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from render_jax.mesh_corners import add_rows
from render_jax.native_batching import computed_apart
from render_jax.silhouette_faces import (
    CUTOFF,
    EdgeTerms,
    corner_gradient,
    distance,
    edge_terms,
    pack,
    signed_exponent,
    tangent_of_exponent,
    tangents_in_edge_frames,
)
from render_jax.silhouette_moments import gradient_sums_by_moments, pulls
from render_jax.window_loop import (
    Items,
    Layout,
    Windows,
    bounds,
    by_platform,
    count_windows,
    cut_windows,
    for_all_windows,
    scatter_add,
    update_windows,
    window_size,
)

# Pixels of windows evaluated together; bounds the temporaries, not the mesh.
SEQUENTIAL_PIXELS = 512 * 8**2
SCATTER_PIXELS = 8192 * 8**2

# Integers of the deterministic sums: a coarse one in units of 2^-10 and a fine one in units of 2^-24.
COARSE_BITS, FINE_BITS = 10, 24
# -log of a transparency too small for any float32 image to show; one pair adds no more than this.
OPAQUE = 40.0


class _Setup(NamedTuple):
    table: Array
    windows: Windows
    layout: Layout
    face_sigma: Array

    def terms(self, items: Items) -> list[EdgeTerms]:
        window = self.layout.window
        return edge_terms(self.table[items.entry], items.row, items.column, (window, window))

    def loop(self, sequential: bool, body: Callable[[Items, Array, Any], Any], state: Any) -> Any:
        block = self.layout.block(SEQUENTIAL_PIXELS if sequential else SCATTER_PIXELS)
        return for_all_windows(self.windows, self.layout, block, body, state, self.table)


def _set_up(triangles: Array, valid: Array, sigma: Array, image_size: tuple[int, int]) -> _Setup:
    batch, faces = valid.shape
    layout = Layout(window_size(image_size, batch * faces), faces, batch, image_size)
    face_sigma = jnp.broadcast_to(sigma[:, None], (batch, faces)).reshape(-1)
    triangles, valid = triangles.reshape(-1, 3, 2), valid.reshape(-1)
    box = bounds(triangles, jnp.sqrt(CUTOFF * face_sigma)[:, None])
    return _Setup(
        table=pack(triangles, valid, face_sigma),
        windows=count_windows(*box, valid, image_size, layout.window),
        layout=layout,
        face_sigma=face_sigma,
    )


def _transparency_sequential(triangles, valid, sigma, *, image_size):
    setup = _set_up(triangles, valid, sigma, image_size)

    def body(items, count, buffer):
        exponent = signed_exponent([distance(edge) for edge in setup.terms(items)])
        # The product of 1 / (1 - p): no division here, and infinity is right where nothing shines through.
        return update_windows(buffer, items, 1 + jnp.exp(exponent), count, jnp.multiply)

    buffer = jnp.ones(setup.layout.shape, triangles.dtype)
    buffer = setup.loop(True, body, buffer)
    return 1 / setup.layout.unstack(buffer)


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
    buffers = tuple(jnp.zeros(setup.layout.shape, dtype) for dtype in dtypes)
    parts = setup.loop(False, body, buffers)
    parts = [setup.layout.unstack(part).astype(triangles.dtype) for part in parts]
    if not deterministic:
        return jnp.exp(-parts[0])
    return jnp.exp(-(parts[0] * 2**-COARSE_BITS + parts[1] * 2**-FINE_BITS))


def _transparency(triangles, valid, sigma, *, image_size, sequential, deterministic):
    if sequential:
        return _transparency_sequential(triangles, valid, sigma, image_size=image_size)
    return _transparency_scatter(triangles, valid, sigma, image_size=image_size, deterministic=deterministic)


def _gradient(triangles, valid, sigma, weight, *, image_size, sequential, deterministic):
    setup = _set_up(triangles, valid, sigma, image_size)
    weight = setup.layout.stack(weight)

    def body(items, count, total):
        def pixels(items):
            return pulls(setup.terms(items), cut_windows(weight, items, setup.layout.window))

        found = computed_apart(count > 0, pixels, items) if sequential else pixels(items)
        sums = gradient_sums_by_moments(setup.table[items.entry], items.row, items.column, found)
        return add_rows(total, items.entry, sums, in_order=deterministic and not sequential)

    total = jnp.zeros((setup.table.shape[0], 9), triangles.dtype)
    total = setup.loop(sequential, body, total)
    return corner_gradient(setup.table[:-1], total[:-1], setup.face_sigma).reshape(triangles.shape)


def _tangent(triangles, valid, sigma, tangents, *, image_size, sequential):
    setup = _set_up(triangles, valid, sigma, image_size)
    frames = tangents_in_edge_frames(setup.table, tangents.reshape(-1, 3, 2))

    def body(items, count, buffer):
        moves = tangent_of_exponent(setup.terms(items), *(frame[items.entry] for frame in frames))
        if sequential:
            return update_windows(buffer, items, moves, count, jnp.add)
        return scatter_add(buffer, items, moves)

    buffer = jnp.zeros(setup.layout.shape, triangles.dtype)
    buffer = setup.loop(sequential, body, buffer)
    return setup.layout.unstack(buffer)


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
    function = functools.partial(_transparency, image_size=image_size, deterministic=deterministic)
    return by_platform(merge, function, triangles, valid, sigma)


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
    function = functools.partial(_gradient, image_size=image_size, deterministic=deterministic)
    return by_platform(merge, function, triangles, valid, sigma, weight)


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
    function = functools.partial(_tangent, image_size=image_size)
    return by_platform(merge, function, triangles, valid, sigma, tangents)
