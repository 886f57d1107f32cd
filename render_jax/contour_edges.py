"""Edges of a mesh, and which of them are contours on the picture.

Turn every face so that it runs the same way round. Edges between two faces that then run side by side are interior;
what is left are contours: edges between a face seen from its front and one seen from its back, and open borders. The
net number of faces w on one side of an edge more than on the other says which: 0 is interior. It also counts: at any
point, the number of faces over it is the sum of w over the edges crossed by a ray to it.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from render_jax.mesh_corners import gather_tables, sum_by_tables
from render_jax.screen_faces import doubled_area


class MeshEdges(NamedTuple):
    """Each edge once, its lower vertex index first.

    `weight(votes)` adds the votes [faces, 3] of the faces' sides for each edge, negated where a side runs from the
    higher index to the lower.
    """

    vertices: Int[Array | np.ndarray, "edges 2"]
    number: Int[Array | np.ndarray, "sides"]  # edge of each side of each face
    direction: Int[Array | np.ndarray, "sides"]  # 1 or -1
    tables: list[np.ndarray] | None

    def weight(self, votes: Int[Array, "faces 3"]) -> Int[Array, "edges"]:
        values = (votes.reshape(-1) * jnp.asarray(self.direction, jnp.int32))[:, None]
        if self.tables is not None:
            return sum_by_tables(values, self.tables)[:, 0]
        return jnp.zeros(self.vertices.shape[0], jnp.int32).at[self.number].add(values[:, 0])


def mesh_edges(faces: Int[Array | np.ndarray, "faces 3"]) -> MeshEdges:
    """Edges of all faces; of known faces when the function is traced, of traced ones by sorting on the device."""
    if not isinstance(faces, Tracer):
        faces = np.asarray(faces, np.int32)
        sides = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
        vertices, number = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
        number = number.reshape(-1).astype(np.int32)
        direction = np.where(sides[:, 0] < sides[:, 1], 1, -1).astype(np.int32)
        return MeshEdges(vertices, number, direction, gather_tables(number, len(vertices)))
    faces = faces.astype(jnp.int32)
    sides = jnp.stack([faces, jnp.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
    low, high = sides.min(axis=1), sides.max(axis=1)
    low, high, side = lax.sort((low, high, lax.iota(jnp.int32, sides.shape[0])), num_keys=2)
    new = jnp.concatenate([jnp.ones(1, bool), (low[1:] != low[:-1]) | (high[1:] != high[:-1])])
    rank = jnp.cumsum(new, dtype=jnp.int32) - 1
    # As many places as sides; those left over are edges from vertex 0 to itself, without votes.
    vertices = jnp.zeros_like(sides).at[rank].set(jnp.stack([low, high], axis=1))
    number = jnp.zeros_like(rank).at[side].set(rank)
    direction = jnp.where(sides[:, 0] < sides[:, 1], 1, -1).astype(jnp.int32)
    return MeshEdges(vertices, number, direction, None)


def contour_weights(
    edges: MeshEdges, corners: Float[Array, "faces 3 2"], valid: Bool[Array, "faces"]
) -> Int[Array, "edges"]:
    """w of each edge, 0 where it is no contour; positive where the mesh lies to the right of (du, dv) turned by 90°.

    That is, the side towards (-dv, du) is covered by w more faces than the other, with (du, dv) from the edge's first
    to its second vertex.
    """
    turn = jnp.where(valid, jnp.where(doubled_area(corners) < 0, -1, 1), 0).astype(jnp.int32)
    return edges.weight(jnp.broadcast_to(turn[:, None], (turn.shape[0], 3)))
