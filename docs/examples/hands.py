"""The hand that the examples look for: its parameters, its mesh before the camera, and how far off a fit is."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import mano_jax
import render_jax

# The camera looks at the palm, the fingers (-x) point up the picture. Model frame, metres.
EYE, TARGET, UP = (0.0, -0.48, 0.15), (0.0, -0.01, 0.0), (-1.0, 0.0, 0.0)

# Flexion of the index, middle, little, ring finger and thumb, base to tip, degrees.
RELAXED = (14, 23, 9, 20, 29, 11, 26, 29, 13, 24, 32, 13, 3, 9, 11)
TWO_FINGERS_BENT = (9, 11, 6, 6, 9, 6, 40, 46, 23, 34, 46, 23, 11, 23, 29)


class Hand(NamedTuple):
    """What is fitted; the shape is known.

    Attributes:
      pose: coefficients of the model's pose space in standard deviations, so that |pose|² is a prior.
      rotation: axis-angle vector of the wrist, radians.
      translation: metres.
    """

    pose: Float[Array, "45"]
    rotation: Float[Array, "3"]
    translation: Float[Array, "3"]


def bent_fingers(model: mano_jax.HandModel, flexion: tuple[float, ...]) -> Float[Array, "45"]:
    """`Hand.pose` of fingers bent by so many degrees and spread a little."""
    angles = np.zeros((15, 3), np.float32)
    angles[:, 0] = np.radians(flexion)
    angles[[0, 6, 9], 1] = np.radians([5, -9, -4])
    pose = mano_jax.pose_from_angles(model, jnp.asarray(angles))
    return mano_jax.coefficients_from_pose(model, pose) / model.pose_standard_deviations


def start_hand(model: mano_jax.HandModel) -> Hand:
    """Relaxed, before the camera: where the fits begin."""
    return Hand(bent_fingers(model, RELAXED), rotation=jnp.zeros(3), translation=jnp.zeros(3))


def true_hand(model: mano_jax.HandModel) -> Hand:
    """Two fingers bent, turned by 26 degrees about an odd axis, displaced by 43 mm: what the fits have to find."""
    pose = bent_fingers(model, TWO_FINGERS_BENT)
    return Hand(pose, rotation=jnp.array([0.20, 0.35, -0.20]), translation=jnp.array([0.005, 0.03, -0.03]))


def hand_vertices(model: mano_jax.HandModel, hand: Hand) -> Float[Array, "vertices 3"]:
    """The mesh in the frame of the camera at `EYE`, metres."""
    pose = mano_jax.pose_from_coefficients(model, hand.pose * model.pose_standard_deviations)
    mesh = mano_jax.forward(model, pose, jnp.zeros(10), hand.rotation, hand.translation)
    return before_camera(mesh.vertices)


def hand_keypoints(model: mano_jax.HandModel, hand: Hand) -> Float[Array, "21 3"]:
    """The 21 keypoints of that mesh, in the same frame."""
    pose = mano_jax.pose_from_coefficients(model, hand.pose * model.pose_standard_deviations)
    return before_camera(mano_jax.keypoints(model, pose, jnp.zeros(10), hand.rotation, hand.translation))


def before_camera(points: Float[Array, "points 3"]) -> Float[Array, "points 3"]:
    """From the model's frame into that of the camera at `EYE`."""
    rotation, translation = render_jax.look_at(*(jnp.array(point) for point in (EYE, TARGET, UP)))
    return jnp.matmul(points, rotation.T, precision="highest") + translation[None]


def camera_of(image_size: tuple[int, int]) -> render_jax.Pinhole:
    """The camera, 30 degrees wide."""
    return render_jax.Pinhole.from_field_of_view(image_size, degrees=30.0)


def distance_mm(vertices: Float[Array, "vertices 3"], truth: Float[Array, "vertices 3"]) -> float:
    """Mean distance of corresponding vertices, millimetres."""
    return 1000 * float(jnp.linalg.norm(vertices - truth, axis=-1).mean())
