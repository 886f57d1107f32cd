"""What may hide parts of a hand: ellipsoids, boxes and cylinders, and a second hand."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from handpose_jax.synthesis.colour import linear_from_lab
from handpose_jax.synthesis.options import SynthesisOptions
from handpose_jax.synthesis.sampling import random_rotation
from mano_jax.rotations import PRECISION
from render_jax import normalize

_CELLS = 4
"""Cells along an edge of the cube from which all three kinds of objects are made."""
_MOST_HIDDEN = 0.5
"""Share of the joints; what would hide more is left out."""
_HALF_PALM, _HALF_ELBOW = 0.022, 0.045
"""Half the breadth of palm and elbow, about, metres."""


class Occluder(NamedTuple):
    """A solid thing of one colour.

    Attributes:
      vertices: metres, camera frame; all in one point if there is no object.
      normals: unit, outwards.
      colour: linear RGB.
    """

    vertices: Float[Array, "solid 3"]
    normals: Float[Array, "solid 3"]
    colour: Float[Array, "3"]


class Solids(NamedTuple):
    """Ellipsoid, box, cylinder of half size 1: the same faces, whose corners lie elsewhere."""

    vertices: Float[np.ndarray, "3 solid 3"]
    normals: Float[np.ndarray, "3 solid 3"]
    faces: Int[np.ndarray, "faces 3"]


@functools.lru_cache(maxsize=1)
def solids() -> Solids:
    """Six grids, the sides of a cube: as they are a box; pushed out to a ball; with two of them round, a cylinder."""
    ticks = np.linspace(-1.0, 1.0, _CELLS + 1)
    across, up = (grid.reshape(-1) for grid in np.meshgrid(ticks, ticks, indexing="ij"))
    sides, directions, faces = [], [], []
    row = _CELLS + 1
    first = (np.arange(_CELLS)[:, None] * row + np.arange(_CELLS)[None]).reshape(-1)
    grid = np.concatenate(
        [np.stack([first, first + row, first + row + 1], 1), np.stack([first, first + row + 1, first + 1], 1)]
    )
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = np.zeros((row * row, 3))
            side[:, axis], side[:, (axis + 1) % 3], side[:, (axis + 2) % 3] = sign, across, up
            faces.append((grid if sign > 0 else grid[:, ::-1]) + len(sides) * row * row)
            sides.append(side)
            directions.append(np.broadcast_to(sign * np.eye(3)[axis], side.shape))
    box, outwards = np.concatenate(sides), np.concatenate(directions)
    # Squares around the axis become circles of the same half size.
    round_ = box.copy()
    radius = np.linalg.norm(box[:, :2], axis=1, keepdims=True)
    round_[:, :2] *= np.abs(box[:, :2]).max(1, keepdims=True) / np.maximum(radius, 1e-9)
    radial = np.where(np.abs(outwards[:, 2:]) > 0, outwards, round_ * np.array([1.0, 1.0, 0.0]))
    ball = box / np.linalg.norm(box, axis=1, keepdims=True)
    radial = radial / np.linalg.norm(radial, axis=1, keepdims=True)
    vertices, normals = np.stack([ball, box, round_]), np.stack([ball, outwards, radial])
    return Solids(vertices.astype(np.float32), normals.astype(np.float32), np.concatenate(faces).astype(np.int32))


def sample_object(key: PRNGKeyArray, joints: Float[Array, "21 3"], options: SynthesisOptions) -> Occluder:
    """An object in the hand, or between a random joint and the camera, or none.

    One in the hand lies between palm and fingertips, as far apart as they are, so a closed hand holds a small one; hand
    and object may enter each other by some millimetres. One before the hand is at 0.6 to 0.9 of the joint's distance.
    One that would hide more than half of the joints is left out.

    Args:
      key: decides everything.
      joints: the hand's keypoints, metres, camera frame.
      options: shares and sizes.
    """
    draw_key, turn_key, joint_key = jax.random.split(key, 3)
    draws = jax.random.uniform(draw_key, (14,))
    present, held = draws[0] < options.object_share, draws[1] < options.object_held
    tables = solids()
    kind = (3.0 * draws[2]).astype(jnp.int32)
    low, high = options.object_size
    size = low + (high - low) * draws[3]

    palm = joints[np.array([0, 5, 17])].mean(axis=0)
    fingertips = joints[np.array([4, 8, 12, 16, 20])].mean(axis=0)
    span = jnp.sqrt(jnp.sum(jnp.square(fingertips - palm)))
    joint = joints[jax.random.randint(joint_key, (), 0, 21)]
    nearer = 0.6 + 0.3 * draws[4]
    centre = jnp.where(held, 0.5 * (palm + fingertips), nearer * joint + 0.02 * (2.0 * draws[5:8] - 1.0))
    # Nearer things are drawn larger; and one that hides the whole hand teaches nothing.
    size = jnp.where(held, jnp.minimum(size, 0.4 * span), 0.8 * nearer * size)
    shares = 0.35 + 0.65 * draws[8:11]
    half = size * shares / shares.max()

    turn = random_rotation(turn_key)
    shape, normals = jnp.asarray(tables.vertices)[kind], jnp.asarray(tables.normals)[kind]
    vertices = jnp.einsum("ab,vb->va", turn, shape * half[None], precision=PRECISION) + centre[None]
    normals = jnp.einsum("ab,vb->va", turn, normalize(normals / half[None]), precision=PRECISION)
    hue, chroma, lightness = 2.0 * jnp.pi * draws[11], 45.0 * jnp.sqrt(draws[12]), 20.0 + 65.0 * draws[13]
    colour = linear_from_lab(jnp.stack([lightness, chroma * jnp.cos(hue), chroma * jnp.sin(hue)]))
    hidden = hidden_share(joints, centre[None], half.max()[None])
    return Occluder(absent_at(vertices, ~present | (hidden > _MOST_HIDDEN), joints[0]), normals, colour)


def hidden_share(
    joints: Float[Array, "21 3"], centres: Float[Array, "balls 3"], radii: Float[Array, "balls"]
) -> Float[Array, ""]:
    """Share of the joints that are in a ball, or have one before them, seen from the camera; metres, camera frame."""
    rays = normalize(joints)
    along = jnp.einsum("ja,ba->jb", rays, centres, precision=PRECISION)
    aside = jnp.sum(centres * centres, axis=1)[None] - along * along
    before = (aside < (radii * radii)[None]) & ((centres[:, 2] - 0.5 * radii)[None] < joints[:, 2][:, None])
    return before.any(axis=1).mean()


def absent_at(
    vertices: Float[Array, "vertices 3"], absent: Bool[Array, ""], point: Float[Array, "3"]
) -> Float[Array, "vertices 3"]:
    """All in one point if absent: faces without area, which cover nothing and cast no shadow."""
    return jnp.where(absent, point[None], vertices)


class Placement(NamedTuple):
    """How a second hand, made at the origin, comes into the picture: mirrored in x or not, then moved."""

    present: Bool[Array, ""]
    mirrored: Bool[Array, ""]
    translation: Float[Array, "3"]

    def points(self, points: Float[Array, "points 3"]) -> Float[Array, "points 3"]:
        """Places of the second hand's points."""
        return self.directions(points) + self.translation[None]

    def directions(self, vectors: Float[Array, "points 3"]) -> Float[Array, "points 3"]:
        """Its directions, normals for instance."""
        mirror = jnp.asarray(np.array([-1.0, 1.0, 1.0]), vectors.dtype)
        return jnp.where(self.mirrored, vectors * mirror[None], vectors)


def place_second_hand(
    key: PRNGKeyArray,
    joints: Float[Array, "21 3"],
    other: Float[Array, "21 3"],
    elbow: Float[Array, "3"],
    options: SynthesisOptions,
) -> Placement:
    """A random joint of the second hand comes to lie near one of the first, 2 to 6 cm before or behind it.

    A hand that would hide more than half of the joints is left out.

    Args:
      key: decides everything.
      joints: of the first hand, metres, camera frame.
      other: of the second, a right hand, turned as it shall be seen but for mirroring, anywhere.
      elbow: the end of its forearm.
      options: shares.
    """
    draw_key, joint_key, other_key = jax.random.split(key, 3)
    draws = jax.random.uniform(draw_key, (6,))
    placement = Placement(draws[0] < options.second_hand_share, draws[1] < options.second_hand_other, jnp.zeros(3))
    one = joints[jax.random.randint(joint_key, (), 0, 21)]
    another = placement.points(other)[jax.random.randint(other_key, (), 0, 21)]
    depth = jnp.where(draws[2] < 0.5, -1.0, 1.0) * (0.02 + 0.04 * draws[3])
    offset = jnp.concatenate([0.03 * (2.0 * draws[4:] - 1.0), depth[None]])
    placement = placement._replace(translation=one + offset - another)
    shares = jnp.asarray(np.linspace(0.0, 1.0, 9)[1:, None], joints.dtype)
    forearm = other[:1] + shares * (elbow - other[0])[None]
    radii = _HALF_PALM + (_HALF_ELBOW - _HALF_PALM) * shares[:, 0]
    radii = jnp.concatenate([jnp.full(21, 0.5 * _HALF_PALM, joints.dtype).at[0].set(_HALF_PALM), radii])
    hidden = hidden_share(joints, placement.points(jnp.concatenate([other, forearm])), radii)
    return placement._replace(present=placement.present & (hidden <= _MOST_HIDDEN))
