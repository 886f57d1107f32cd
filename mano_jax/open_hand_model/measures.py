"""The anatomy of the open hand in numbers: bones, their directions, axes and limits of the joints.

Everything the open hand is made of starts here. Lengths are millimetres and angles degrees in the *anatomical frame* of
a right hand lying flat, palm down: x distal (towards the fingertips), y radial (towards the thumb), z dorsal (out of
the back of the hand), origin at the wrist joint. `to_model_frame` turns that into the model's frame and metres.

The numbers sit inside the ranges of adult hands collected in docs/open_hand.md (medians of two anthropometric sources;
dissected bones where those are silent). Hand length, wrist to middle fingertip, is 185 mm.
"""

from typing import NamedTuple

import numpy as np

from mano_jax import anatomy

FINGER_NAMES = ("thumb", "index", "middle", "ring", "little")
# The model's joint order is MANO's: wrist, index, middle, little, ring, thumb.
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
FIRST_JOINT = {"index": 1, "middle": 4, "little": 7, "ring": 10, "thumb": 13}
# Where the model's origin lies: the wrist joint has these coordinates (model frame, metres). MANO's wrist is about
# there, and a wrist away from the origin shows at once when a program forgets that the wrist is the centre of rotation.
WRIST_POSITION = (0.095, 0.006, 0.006)


class Finger(NamedTuple):
    """One finger at rest. `base` is its first joint (MCP; the thumb's CMC), bones run from there to the skin's tip."""

    base: tuple[float, float, float]
    bones: tuple[float, float, float]
    directions: tuple[float, float, float]  # of each bone in the palm plane, degrees from x towards the thumb
    slopes: tuple[float, float, float]  # z component of each bone's direction before normalising
    rolls: tuple[float, float, float]  # of each bone's back about the bone, degrees, positive to the little finger


def _base(distance: float, direction: float, height: float) -> tuple[float, float, float]:
    """The joint `distance` from the wrist, `direction` degrees towards the thumb, `height` above the wrist's plane."""
    in_plane = float(np.sqrt(distance**2 - height**2))
    angle = np.deg2rad(direction)
    return (in_plane * float(np.cos(angle)), in_plane * float(np.sin(angle)), height)


# Rolls of the fingers' backs, in the model's order of fingers (FIRST_JOINT's).
_ROLLS = dict(zip(FIRST_JOINT, anatomy.DORSAL_ROLLS, strict=True))


def _same(value: float) -> tuple[float, float, float]:
    return value, value, value


def _straight(
    base: tuple[float, float, float], bones: tuple[float, float, float], direction: float, slope: float, roll: float
) -> Finger:
    return Finger(base, bones, _same(direction), _same(slope), _same(roll))


FINGERS: dict[str, Finger] = {
    "thumb": Finger(
        (26.5, 22.0, -9.0), (40.0, 32.0, 28.5), (45.0, 34.0, 30.0), (-0.28, -0.20, -0.16), _same(_ROLLS["thumb"])
    ),
    "index": _straight(_base(89.5, 16.8, -1.0), (41.0, 25.5, 23.5), 7.0, -0.04, _ROLLS["index"]),
    "middle": _straight(_base(86.5, 2.0, 3.5), (45.0, 29.0, 24.0), 0.0, -0.05, _ROLLS["middle"]),
    "ring": _straight(_base(80.8, -13.8, 2.5), (42.0, 27.5, 23.5), -7.0, -0.05, _ROLLS["ring"]),
    "little": _straight(_base(79.5, -28.2, -3.0), (33.0, 20.5, 20.0), -16.0, -0.04, _ROLLS["little"]),
}


def bone_frames(finger: Finger) -> np.ndarray:
    """[3, 3, 3]: for each bone the unit vectors (distal direction, flexion axis, dorsal), anatomical frame.

    Flexion axis = dorsal x direction: a positive rotation about it bends the finger towards its own palmar side.
    """
    frames = []
    for degrees, slope, roll in zip(finger.directions, finger.slopes, finger.rolls, strict=True):
        angle, roll = np.deg2rad(degrees), np.deg2rad(roll)
        direction = np.array([np.cos(angle), np.sin(angle), slope])
        direction /= np.linalg.norm(direction)
        upright = np.array([0.0, 0.0, 1.0]) - direction[2] * direction
        upright /= np.linalg.norm(upright)
        dorsal = np.cos(roll) * upright + np.sin(roll) * np.cross(direction, upright)
        frames.append((direction, np.cross(dorsal, direction), dorsal))
    return np.array(frames)


def finger_points(finger: Finger) -> np.ndarray:
    """[4, 3]: the three joints and the tip, anatomical frame, millimetres."""
    steps = np.asarray(finger.bones)[:, None] * bone_frames(finger)[:, 0]
    return np.concatenate([[finger.base], finger.base + np.cumsum(steps, 0)])


def to_model_frame(points: np.ndarray) -> np.ndarray:
    """Points [..., 3] in the anatomical frame, millimetres -> the right hand model's frame, metres."""
    return rotate_to_model_frame(np.asarray(points)) / 1000.0 + np.array(WRIST_POSITION)


def rotate_to_model_frame(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] (distal, radial, dorsal) -> the model's axes: fingers to -x, dorsal +y, thumb side +z."""
    return np.stack([-vectors[..., 0], vectors[..., 2], vectors[..., 1]], -1)


def rotate_from_model_frame(vectors: np.ndarray) -> np.ndarray:
    """The inverse of `rotate_to_model_frame`."""
    return np.stack([-vectors[..., 0], vectors[..., 2], vectors[..., 1]], -1)


def rest_joints(fingers: dict[str, Finger] = FINGERS) -> np.ndarray:
    """[21, 3]: the model's 16 joints in its order, then the tips thumb to little, at rest; model frame, metres."""
    points = np.zeros((21, 3))
    for row, name in enumerate(FINGER_NAMES):
        chain = finger_points(fingers[name])
        points[FIRST_JOINT[name] : FIRST_JOINT[name] + 3] = chain[:3]
        points[16 + row] = chain[3]
    return to_model_frame(points)


def joint_axes() -> np.ndarray:
    """[16, 3, 3]: unit axes of (flexion, abduction, twist) of every joint at rest; right hand, model frame.

    Right-handed rotations: positive flexion bends towards the palm, positive abduction of a finger moves its tip to the
    thumb's side (of the thumb: out of the palm), positive twist turns about the bone's distal direction. The wrist's
    are those of the hand: flexion about the radial axis, deviation about the dorsal, pronation about the distal one.
    """
    axes = np.zeros((16, 3, 3))
    axes[0] = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    for name, first in FIRST_JOINT.items():
        axes[first : first + 3] = bone_frames(FINGERS[name])[:, (1, 2, 0)]
    return rotate_to_model_frame(axes)


def joint_limits() -> np.ndarray:
    """[16, 3, 2]: lowest and highest (flexion, abduction, twist) in radians; the wrist row is unlimited (+-pi)."""
    return np.concatenate([np.full((1, 3, 2), (-np.pi, np.pi)), anatomy.joint_limits()])


def bone_directions() -> np.ndarray:
    """[16, 3]: unit direction of the bone that each joint moves (the wrist: to the middle MCP); model frame."""
    directions = np.zeros((16, 3))
    directions[0] = np.asarray(FINGERS["middle"].base) / np.linalg.norm(FINGERS["middle"].base)
    for name, first in FIRST_JOINT.items():
        directions[first : first + 3] = bone_frames(FINGERS[name])[:, 0]
    return rotate_to_model_frame(directions)
