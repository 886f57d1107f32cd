"""Which joints of a hand are seen: nothing lies before them but the flesh around them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

FLESH = (0.032, *(0.027, 0.018, 0.013, 0.009), *(0.026, 0.013, 0.011, 0.008) * 4)
"""Metres of own flesh that may lie before each of the 21 joints if it is to count as seen: the largest distance from
joint to skin on the open hand's template, in directions within 60 degrees of back or palm; for wrist and knuckles about
that. A finger that crosses another lies at least 20 mm before its joints."""


def visible_joints(
    joints: Float[Array, "21 3"],
    pixels: Float[Array, "21 2"],
    vertices: Float[Array, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    face_index: Int[Array, "height width"],
    own_faces: int,
) -> Bool[Array, "21"]:
    """True where the surface in a joint's direction is the hand's own and not farther before it than its flesh.

    A joint beside the outline, before which nothing is, counts as seen; one outside the picture does not.

    Args:
      joints: metres, camera frame.
      pixels: their projections onto the grid of `face_index`.
      vertices: of everything in the picture, metres, camera frame.
      faces: of them.
      face_index: the nearest face at pixel centres, -1 where there is none.
      own_faces: faces below this are the hand's and its forearm's; others are of other things.
    """
    height, width = face_index.shape
    column, row = (jnp.floor(pixels[:, axis]).astype(jnp.int32) for axis in (0, 1))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    face = face_index[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    corners = vertices[jnp.asarray(faces)[jnp.maximum(face, 0)]]
    # Where the joint's ray meets the face's plane, kept within the face's depths: it may be seen edge on.
    normal = jnp.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    slope = jnp.sum(normal * joints, axis=1)
    usable = jnp.abs(slope) > 1e-12
    share = jnp.sum(normal * corners[:, 0], axis=1) / jnp.where(usable, slope, 1.0)
    depths = corners[:, :, 2]
    before = jnp.where(usable, jnp.clip(share * joints[:, 2], depths.min(axis=1), depths.max(axis=1)), depths[:, 0])
    own = (face < own_faces) & (before > joints[:, 2] - jnp.asarray(np.array(FLESH), joints.dtype))
    return inside & ((face < 0) | own)
