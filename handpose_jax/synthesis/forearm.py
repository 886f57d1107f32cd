"""A forearm for hands that end at the wrist: the mesh's border ring drawn out into a tapered, bent tube with an end."""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mano_jax.rotations import PRECISION, axis_angle_to_matrix

# Distance of each ring from the hand's border along a whole forearm (metres; the first is the border itself), and the
# section there as multiples of the border's: depth (back to palm) and breadth. A forearm is 55 x 38 mm at the wrist and
# about 85 x 75 mm at its thickest.
_ALONG = (0.0, 0.006, 0.014, 0.024, 0.036, 0.050, 0.068, 0.090, 0.120, 0.155, 0.195, 0.240)
_DEPTH = (1.00, 1.00, 1.01, 1.03, 1.06, 1.11, 1.20, 1.33, 1.52, 1.70, 1.80, 1.80)
_BREADTH = (1.00, 1.00, 1.00, 1.00, 1.01, 1.03, 1.08, 1.16, 1.28, 1.38, 1.44, 1.44)
_RINGS = len(_ALONG) - 1
_BENT_AT = 0.060
"""Metres from the wrist joint at which the forearm has its whole bend; it begins at the hand's border."""

SLEEVE_FROM = 0.04
"""Metres from the hand's border at which a sleeve begins."""


def border_ring(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "ring"]:
    """The vertices of the mesh's one hole, in the direction of the faces' own edges.

    Raises:
      ValueError: the mesh has no hole, or more than one.
    """
    edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    after = {a: b for a, b in edges if (b, a) not in edges}
    ring = [min(after)] if after else []
    while ring and after[ring[-1]] != ring[0]:
        ring.append(after[ring[-1]])
    if not ring or len(ring) != len(after):
        raise ValueError(
            f"expected a mesh with one hole, the wrist's, got {len(after)} border edges, {len(ring)} in one"
        )
    return np.array(ring, np.int32)


def forearm_faces(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "more 3"]:
    """Faces of the hand, then those of the forearm, whose vertices follow the hand's."""
    ring = border_ring(faces)
    count, first = len(ring), int(faces.max()) + 1
    rings = [ring, *(first + count * index + np.arange(count) for index in range(_RINGS))]
    tip = first + count * _RINGS
    tube = []
    for near, far in itertools.pairwise(rings):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        tube += [np.stack([near_next, near, far], 1), np.stack([near_next, far, far_next], 1)]
    end = np.stack([np.roll(rings[-1], -1), rings[-1], np.full(count, tip)], 1)
    return np.concatenate([faces, *tube, end]).astype(np.int32)


def sleeved_rings(length: float) -> Bool[np.ndarray, "rings"]:
    """Which of the forearm's rings a sleeve covers; the middle of its end goes with the last."""
    return length * np.array(_ALONG[1:]) > SLEEVE_FROM


def forearm_vertices(
    border: Float[Array, "ring 3"],
    wrist: Float[Array, "3"],
    rotation: Float[Array, "3 3"],
    bend: Float[Array, "2"],
    thickening: Float[Array, ""] | float = 0.0,
    length: float = 1.0,
) -> Float[Array, "forearm 3"]:
    """Vertices of the forearm: rings in the border's order, then the middle of its end.

    Args:
      border: the posed hand's border, metres, in the order of `border_ring`.
      wrist: the wrist joint.
      rotation: from the model's frame (right hand: the forearm lies along +x) to that of `border`.
      bend: of the forearm against the hand, radians: towards the back of the hand, towards the thumb.
      thickening: metres added to the radius from SLEEVE_FROM metres on: a sleeve.
      length: as a share of a whole forearm; a few hundredths close the wrist with little more than a lid.
    """
    dtype = border.dtype
    local = jnp.einsum("ba,nb->na", rotation, border - wrist[None], precision=PRECISION)
    middle = local.mean(axis=0)
    offsets = local - middle[None]
    along = length * np.array(_ALONG[1:])
    depth, breadth = (np.append(np.interp(along, _ALONG, scale), 0.0) for scale in (_DEPTH, _BREADTH))
    along = np.append(along, along[-1])  # the end's middle is a ring of no size
    table = np.stack([np.zeros_like(along), depth, breadth], 1)
    scales = jnp.asarray(table, dtype)
    radius = jnp.sqrt(jnp.sum(offsets[:, 1:] ** 2, axis=-1, keepdims=True))
    outwards = offsets * jnp.asarray(np.array([0.0, 1.0, 1.0]), dtype)[None] / radius
    # The border lies in a plane but for the pose correctives; what it departs from it by fades out.
    flatness = jnp.asarray(np.maximum(0.0, 1.0 - along / 0.03), dtype)
    sleeve = jnp.asarray((along > SLEEVE_FROM) & (table[:, 1] > 0), dtype) * thickening
    axis = jnp.asarray(np.array([1.0, 0.0, 0.0]), dtype)
    centres = middle[None] + jnp.asarray(along, dtype)[:, None] * axis[None]
    rings = centres[:, None] + scales[:, None] * offsets[None] + sleeve[:, None, None] * outwards[None]
    rings = rings + (flatness * (scales[:, 1] > 0))[:, None, None] * (offsets * axis[None])[None]

    start = middle[0]
    share = jnp.clip((centres[:, 0] - start) / (_BENT_AT - start), 0.0, 1.0)
    share = share * share * (3.0 - 2.0 * share)
    vectors = jnp.stack([jnp.zeros_like(share), -share * bend[1], share * bend[0]], axis=-1)
    bends = axis_angle_to_matrix(vectors)
    bent = jnp.einsum("rab,rnb->rna", bends, rings, precision=PRECISION)
    posed = jnp.einsum("ab,rnb->rna", rotation, bent, precision=PRECISION) + wrist[None, None]
    return jnp.concatenate([posed[:-1].reshape(-1, 3), posed[-1, :1]])
