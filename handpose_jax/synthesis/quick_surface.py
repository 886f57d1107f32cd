"""The surface of the quick quality: the model's own triangles, painted and shaded at their corners."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from handpose_jax.synthesis.forearm import forearm_vertices, sleeved_rings
from handpose_jax.synthesis.occluders import Occluder, solids
from handpose_jax.synthesis.skin import RIM_SHADE, SkinPattern, SkinTone, plain_skin, skin_map, skin_pattern
from handpose_jax.synthesis.surface import openness_at, palmar_side, patches_of, surface_topology
from mano_jax.model import HandModel, Topology
from mano_jax.rotations import PRECISION
from render_jax import vertex_normals
from render_jax.planes import at_pixels

TEXELS = 5
"""Texels along a face's edge, ends included: 2 mm apart where edges are 8 mm long."""


class QuickTables(NamedTuple):
    """What all quick images of a model share: made once, it costs as much as a few images.

    Attributes:
      rest: vertices of hand and forearm on the template, metres.
      pattern: the skin's there.
      details: darkness of creases and rims, share of nail, share of its pale end, at texels of the hand's faces and,
        last, of one face without details, for all others. Texel (i, j) of a face has the weights j / (TEXELS - 1) of
        its second and i / (TEXELS - 1) of its third corner.
    """

    rest: Float[Array, "coarse 3"]
    pattern: SkinPattern
    details: Float[Array, "3 all_texels"]


class QuickSurface(NamedTuple):
    """A surface with colours at the corners of its faces. Frames and units as in `Surface`; colours linear RGB."""

    vertices: Float[Array, "surface 3"]
    normals: Float[Array, "surface 3"]
    openness: Float[Array, "surface"]
    corner_colours: Float[Array, "faces 3 3"]


def quick_tables(model: HandModel, forearm_length: float = 1.0) -> QuickTables:
    """Tables of a right hand's model."""
    tables, places, dtype = surface_topology(model.topology), skin_map(model), model.dtype
    straight, nothing = jnp.eye(3, dtype=dtype), jnp.zeros(2, dtype)
    forearm = forearm_vertices(
        model.template[tables.ring], model.joint_template[0], straight, nothing, length=forearm_length
    )
    rest = jnp.concatenate([model.template, forearm])
    palmar = palmar_side(model, rest)

    # Texels up to half a step beyond the slanted edge are the nearest to points within.
    down, right = (grid.reshape(-1) for grid in np.meshgrid(*[np.arange(TEXELS)] * 2, indexing="ij"))
    read = down + right <= TEXELS
    share = np.stack([TEXELS - 1 - down - right, right, down], axis=1)[read] / (TEXELS - 1)
    corners = jnp.concatenate([rest, palmar[:, None]], axis=1)[np.asarray(model.faces)]
    points = jnp.einsum("tc,fcx->ftx", jnp.asarray(share, dtype), corners, precision=PRECISION).reshape(-1, 4)
    painted = skin_pattern(places, points[:, :3], points[:, 3])
    dark = 1.0 - (1.0 - painted.dark) * (1.0 - RIM_SHADE * painted.rim)
    values = jnp.stack([dark, painted.nail, painted.pale]).reshape(3, len(model.faces), -1)
    details = jnp.zeros((3, len(model.faces) + 1, TEXELS, TEXELS), dtype)
    details = details.at[:, :-1, down[read], right[read]].set(values).reshape(3, -1)
    return QuickTables(rest, skin_pattern(places, rest, palmar), details)


def details_at(
    details: Float[Array, "3 all_texels"], face: Int[Array, "*n"], weights: Sequence[Float[Array, "*n"]]
) -> list[Float[Array, "*n"]]:
    """The nearest texels' values.

    Args:
      details: see `QuickTables`.
      face: of them, the last for points without details.
      weights: of the face's corners.
    """
    right, down = ((weight * (TEXELS - 1) + 0.5).astype(jnp.int32) for weight in weights[1:])
    texel = (face * TEXELS + down) * TEXELS + right
    return [at_pixels(plane, texel) for plane in details]


def quick_hand(
    tables: QuickTables,
    topology: Topology,
    tone: SkinTone,
    vertices: Float[Array, "vertices 3"],
    wrist: Float[Array, "3"],
    rotation: Float[Array, "3 3"],
    bend: Float[Array, "2"],
    sleeve: Float[Array, ""],
    forearm_length: float = 1.0,
) -> QuickSurface:
    """The surface of a posed right hand with its forearm; arguments as of `hand_surface`."""
    known = surface_topology(topology)
    forearm = forearm_vertices(vertices[known.ring], wrist, rotation, bend, sleeve, length=forearm_length)
    points = jnp.concatenate([vertices, forearm])
    normals = vertex_normals(points, known.coarse)
    skin = plain_skin(tone, tables.pattern, tables.rest)
    # The cuff is an edge of the mesh, so it stays sharp.
    clothed = jnp.asarray(_clothed_faces(topology, forearm_length))[:, None, None] & (tone.sleeved > 0.5)
    return QuickSurface(
        vertices=points,
        normals=normals,
        openness=openness_at(points, normals, known.coarse, patches_of(topology)),
        corner_colours=jnp.where(clothed, tone.cloth[None, None], skin[known.coarse]),
    )


def quick_object(solid: Occluder) -> QuickSurface:
    """An object's surface."""
    faces = solids().faces
    colours = jnp.broadcast_to(solid.colour, (len(faces), 3, 3))
    return QuickSurface(solid.vertices, solid.normals, jnp.ones(len(solid.vertices)), colours)


def joined(surfaces: list[QuickSurface]) -> QuickSurface:
    """One surface of several; their faces, one after another, are those of `joined_faces`."""
    return QuickSurface(*(jnp.concatenate(parts) for parts in zip(*surfaces, strict=True)))


def joined_faces(faces: list[Int[np.ndarray, "faces 3"]], vertices: list[int]) -> Int[np.ndarray, "all_faces 3"]:
    """Faces of surfaces with so many vertices, as faces of all vertices one after another."""
    starts = np.cumsum([0, *vertices[:-1]])
    return np.concatenate([part + start for part, start in zip(faces, starts, strict=True)]).astype(np.int32)


def _clothed_faces(topology: Topology, forearm_length: float) -> Bool[np.ndarray, "coarse"]:
    """Faces with a corner on the sleeve."""
    known = surface_topology(topology)
    rings = sleeved_rings(forearm_length)
    sleeved = np.repeat(rings, len(known.ring))
    vertices = known.coarse.max() + 1
    on_sleeve = np.zeros(vertices, bool)
    on_sleeve[vertices - 1 - len(sleeved) : vertices - 1] = sleeved
    on_sleeve[vertices - 1] = rings[-1]
    return np.asarray(on_sleeve[known.coarse].any(axis=1))
