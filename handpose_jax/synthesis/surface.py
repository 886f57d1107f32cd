"""The skin that is drawn: hand and forearm, with finer triangles, and how much of the sky each point sees."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from handpose_jax.synthesis.forearm import border_ring, forearm_faces, forearm_vertices
from mano_jax.anatomy import joint_axes
from mano_jax.model import HandModel, Topology
from mano_jax.rotations import PRECISION
from render_jax import normalize, vertex_normals

_ROUNDING = 0.75
"""Share of the way from an edge's middle to the curved surface that its ends' normals suggest."""


class SurfaceTopology(NamedTuple):
    """What is the same for all surfaces of one model.

    Attributes:
      ring: the hand's border.
      coarse: faces of hand and forearm.
      edges: of them; each becomes a vertex.
      faces: four for each coarse one, in the same order, so those of the hand come first.
      hand_faces: how many these are.
    """

    ring: Int[np.ndarray, "ring"]
    coarse: Int[np.ndarray, "coarse 3"]
    edges: Int[np.ndarray, "edges 2"]
    faces: Int[np.ndarray, "faces 3"]
    hand_faces: int


class Surface(NamedTuple):
    """A lit surface's vertices.

    Attributes:
      vertices: metres, camera frame.
      normals: unit, outwards.
      rest: where each vertex lies on the model's template, metres: what a texture is painted on.
      palmar: from -1 (back of the hand) to 1 (palm).
      openness: share of the half space above that other parts leave free, in [0, 1].
    """

    vertices: Float[Array, "surface 3"]
    normals: Float[Array, "surface 3"]
    rest: Float[Array, "surface 3"]
    palmar: Float[Array, "surface"]
    openness: Float[Array, "surface"]


@functools.lru_cache(maxsize=8)
def surface_topology(topology: Topology) -> SurfaceTopology:
    """Tables for a model's surfaces."""
    coarse = forearm_faces(topology.faces)
    corner_pairs = np.sort(coarse[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, index = np.unique(corner_pairs, axis=0, return_inverse=True)
    ab, bc, ca = (index.reshape(-1, 3) + coarse.max() + 1).T
    a, b, c = coarse.T
    faces = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    return SurfaceTopology(
        border_ring(topology.faces), coarse, edges.astype(np.int32), faces.astype(np.int32), 4 * len(topology.faces)
    )


def hand_surface(
    model: HandModel,
    vertices: Float[Array, "vertices 3"],
    wrist: Float[Array, "3"],
    rotation: Float[Array, "3 3"],
    bend: Float[Array, "2"],
    sleeve: Float[Array, ""] | float = 0.0,
    forearm_length: float = 1.0,
) -> Surface:
    """The surface of a posed right hand with its forearm.

    Args:
      model: of a right hand.
      vertices: posed, metres, camera frame.
      wrist: the wrist joint there.
      rotation: of the wrist, model frame to camera frame.
      bend: of the forearm, see `forearm_vertices`.
      sleeve: thickness of a sleeve, metres; 0 for bare skin.
      forearm_length: as a share of a whole forearm; static.
    """
    tables = surface_topology(model.topology)
    dtype = vertices.dtype
    forearm = forearm_vertices(vertices[tables.ring], wrist, rotation, bend, sleeve, length=forearm_length)
    coarse = jnp.concatenate([vertices, forearm])
    coarse_normals = vertex_normals(coarse, tables.coarse)

    straight, nothing = jnp.eye(3, dtype=dtype), jnp.zeros(2, dtype)
    rest_forearm = forearm_vertices(
        model.template[tables.ring], model.joint_template[0], straight, nothing, length=forearm_length
    )
    rest = jnp.concatenate([model.template, rest_forearm])
    openness = openness_at(coarse, coarse_normals, tables.coarse)
    attributes = jnp.concatenate([rest, palmar_side(model, rest)[:, None], openness[:, None]], axis=1)
    attributes = jnp.concatenate([attributes, _middles(attributes, tables.edges)])

    one, other = tables.edges.T
    middles = _middles(coarse, tables.edges)
    # Phong tessellation (Boubekeur and Alexa 2008): the middle projected onto the tangent planes at both ends.
    heights = [jnp.sum((middles - coarse[end]) * coarse_normals[end], axis=1, keepdims=True) for end in (one, other)]
    towards = 0.5 * (heights[0] * coarse_normals[one] + heights[1] * coarse_normals[other])
    fine = jnp.concatenate([coarse, middles - _ROUNDING * towards])
    return Surface(
        vertices=fine,
        normals=vertex_normals(fine, tables.faces),
        rest=attributes[:, :3],
        palmar=attributes[:, 3],
        openness=attributes[:, 4],
    )


def openness_at(
    vertices: Float[Array, "vertices 3"],
    normals: Float[Array, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    patches: Int[np.ndarray, "vertices"] | None = None,
) -> Float[Array, "vertices"]:
    """1 minus the sum of the other vertices' form factors, each taken as a disc of its share of the surface.

    Cheap ambient occlusion: what lies behind something else is counted too, so crowded places come out too dark.
    Source: Bunnell, "Dynamic Ambient Occlusion and Indirect Lighting", GPU Gems 2, 2005.

    Args:
      vertices: of the surface, metres.
      normals: unit, there.
      faces: of the surface.
      patches: if given, the patch that each vertex belongs to, 0 and on: a patch is one disc, which is cheaper.
    """
    corners = vertices[faces]
    crosses = jnp.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    shares = jnp.sqrt(jnp.maximum(jnp.sum(crosses * crosses, axis=1), 1e-20)) / 6.0
    areas = jnp.zeros(len(vertices), vertices.dtype).at[faces.T.reshape(-1)].add(jnp.concatenate([shares] * 3))
    dot = functools.partial(jnp.einsum, precision=PRECISION)
    discs, facing = vertices, normals
    if patches is not None:
        weighted = jnp.concatenate([areas[:, None] * vertices, areas[:, None] * normals, areas[:, None]], axis=1)
        sums = jnp.zeros((int(patches.max()) + 1, 7), vertices.dtype).at[patches].add(weighted)
        areas = sums[:, 6]
        discs, facing = sums[:, :3] / areas[:, None], normalize(sums[:, 3:6])
    # [receiver, sender], from products of matrices: differences of all pairs would be three times the memory.
    squares, disc_squares = jnp.sum(vertices * vertices, axis=1), jnp.sum(discs * discs, axis=1)
    squared = squares[:, None] + disc_squares[None] - 2.0 * dot("ia,ja->ij", vertices, discs)
    squared = jnp.maximum(squared, 1e-7)
    own, disc_own = jnp.sum(normals * vertices, axis=1), jnp.sum(facing * discs, axis=1)
    receiving = jnp.maximum(dot("ia,ja->ij", normals, discs) - own[:, None], 0.0)
    sending = jnp.maximum(dot("ia,ja->ij", vertices, facing) - disc_own[None], 0.0)
    factors = areas[None] * receiving * sending / (squared * (np.pi * squared + areas[None]))
    return jnp.clip(1.0 - jnp.sum(factors, axis=1), 0.0, 1.0)


@functools.lru_cache(maxsize=8)
def patches_of(topology: Topology) -> Int[np.ndarray, "coarse_vertices"]:
    """Vertices of hand and forearm in patches: one and its neighbours that belong to no patch before."""
    coarse = surface_topology(topology).coarse
    beside: list[set[int]] = [set() for _ in range(int(coarse.max()) + 1)]
    for face in coarse.tolist():
        for vertex in face:
            beside[vertex].update(face)
    patches, count = np.full(len(beside), -1, np.int32), 0
    for vertex, near in enumerate(beside):
        if patches[vertex] < 0:
            patches[[other for other in near if patches[other] < 0]] = count
            count += 1
    return patches


def palmar_side(model: HandModel, rest: Float[Array, "coarse 3"]) -> Float[Array, "coarse"]:
    """1 where the template's surface faces the palm's side of its own bone, -1 on the back; forearm included."""
    normals = vertex_normals(rest, surface_topology(model.topology).coarse)
    wrist = jnp.asarray(np.array([[0.0, 1.0, 0.0]]), rest.dtype)
    dorsal = jnp.concatenate([wrist, joint_axes(model)[:, 1]])
    own = jnp.einsum("vj,ja->va", model.skinning_weights, dorsal, precision=PRECISION)
    own = jnp.concatenate([own, jnp.broadcast_to(wrist, (len(rest) - len(own), 3))])
    return -jnp.sum(normals * own, axis=1)


def _middles(
    values: Float[Array, "coarse channels"], edges: Int[np.ndarray, "edges 2"]
) -> Float[Array, "edges channels"]:
    return 0.5 * (values[edges[:, 0]] + values[edges[:, 1]])
