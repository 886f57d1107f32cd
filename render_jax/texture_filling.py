"""Colours for the texels that an image does not show: along the surface, not across the atlas.

Neighbours in an atlas may be far apart on the mesh (a fingertip beside the palm), and neighbours on the mesh may lie in
different charts. So colours spread from vertex to vertex along the mesh's edges; only the gaps between charts are
filled within the image, from the texels beside them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from render_jax.hole_filling import fill_planes
from render_jax.native_batching import varying_like
from render_jax.planes import at_pixels, in_chunks, interleaved, interpolate_planes
from render_jax.rasterization import Fragments

# Rounds of averaging with the neighbours after each hidden vertex has the colour of the nearest visible one.
SMOOTHING_ROUNDS = 64


def fill_texture(
    texture: Float[Array, "size size 3"],
    weight: Float[Array, "size size"],
    atlas: Fragments,
    faces: Int[Array | np.ndarray, "faces 3"],
    vertex_count: int,
) -> Float[Array, "size size 3"]:
    """Gives every texel of weight 0 a colour; the others keep theirs.

    A hidden texel of a chart gets the colours of its face's vertices, interpolated. A vertex has the mean of the known
    texels of its faces, or what spreads to it along the mesh's edges; parts of a mesh that share no vertex with a part
    that is seen get the mean of all that is. Texels outside all charts continue those beside them. Differentiable with
    respect to the texture.

    Args:
      texture: RGB; what texels of weight 0 hold plays no part.
      weight: how much each texel counts, 0 where it is not known.
      atlas: face and barycentric coordinates of each texel (`rasterize_atlas`).
      faces: vertex indices of the mesh (not of the texture coordinates).
      vertex_count: number of its vertices.
    """
    colours = _vertex_colours(texture, weight, atlas, jnp.asarray(faces, jnp.int32), vertex_count)
    corners = colours[faces]
    planes = in_chunks(
        lambda index, *weights: interpolate_planes(index, weights, corners),
        [atlas.face_index, *jnp.unstack(atlas.barycentric, axis=-1)],
    )
    known = weight > 0
    charts = [
        jnp.where(known, given, spread) for given, spread in zip(jnp.unstack(texture, axis=-1), planes, strict=True)
    ]
    inside = (known | atlas.mask).astype(texture.dtype)
    return interleaved(fill_planes(jnp.stack(charts) * inside[None], inside))


def _vertex_colours(texture, weight, atlas, faces, vertex_count) -> Float[Array, "vertices 3"]:
    # Within in_chunks nothing may be summed over pixels, so the corners' shares are laid out first.
    vertex = [at_pixels(faces[:, corner], atlas.face_index).reshape(-1) for corner in range(3)]
    share = [(plane * weight).reshape(-1) for plane in jnp.unstack(atlas.barycentric, axis=-1)]
    index = jnp.concatenate(vertex)

    def summed(values):
        return jnp.zeros(vertex_count, values.dtype).at[index].add(values)

    total = summed(jnp.concatenate(share))
    seen = total > 0
    # Weights of rounding size would make means of rounding size.
    seen &= total > 1e-3 * jnp.max(total, initial=0) / vertex_count
    sums = [
        summed(jnp.concatenate([part * plane.reshape(-1) for part in share])) for plane in jnp.unstack(texture, axis=-1)
    ]
    means = jnp.stack([one / jnp.where(seen, total, 1) for one in sums], axis=-1)
    everything = weight.sum()
    overall = (texture * weight[..., None]).sum(axis=(0, 1)) / jnp.where(everything > 0, everything, 1)
    source = _nearest_seen(seen, faces)
    start = jnp.where((source >= 0)[:, None], jnp.where(seen[:, None], means, 0)[jnp.maximum(source, 0)], overall[None])
    return _smoothed(start, seen, faces)


def _both_ways(faces: Int[Array, "faces 3"]) -> tuple[Int[Array, "edges"], Int[Array, "edges"]]:
    ends = jnp.concatenate([faces, faces[:, ::-1]]), jnp.concatenate([faces[:, [1, 2, 0]], faces[:, [1, 0, 2]]])
    return ends[0].reshape(-1), ends[1].reshape(-1)


def _nearest_seen(seen: Bool[Array, "vertices"], faces: Int[Array, "faces 3"]) -> Int[Array, "vertices"]:
    """The seen vertex fewest edges away (of several the highest index), -1 where no path leads to one."""
    one, other = _both_ways(faces)
    source = jnp.where(seen, lax.iota(jnp.int32, seen.shape[0]), -1)

    def spread(state):
        source, _ = state
        reached = jnp.full_like(source, -1).at[other].max(source[one])
        grown = jnp.where(source >= 0, source, reached)
        return grown, (grown != source).any()

    return lax.while_loop(lambda state: state[1], spread, (source, varying_like(source, jnp.bool_(True))))[0]


def _smoothed(
    colours: Float[Array, "vertices 3"], seen: Bool[Array, "vertices"], faces: Int[Array, "faces 3"]
) -> Float[Array, "vertices 3"]:
    """Colours that are not seen replaced by their neighbours' mean, many times: a membrane between those that are."""
    one, other = _both_ways(faces)
    count = jnp.zeros(seen.shape, colours.dtype).at[other].add(1)
    fixed = seen | (count == 0)

    def average(_, now):
        means = jnp.zeros_like(now).at[other].add(now[one]) / jnp.maximum(count, 1)[:, None]
        return jnp.where(fixed[:, None], now, means)

    return jax.lax.fori_loop(0, SMOOTHING_ROUNDS, average, colours)
