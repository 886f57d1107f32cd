"""Random right hands before a camera: pose, shape, view, distance, focal length."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from handpose_jax.synthesis.options import SynthesisOptions
from mano_jax.anatomy import clip_to_limits
from mano_jax.forward import keypoints
from mano_jax.keypoints import KEYPOINT_PARENTS
from mano_jax.model import HandModel
from mano_jax.pose_space import pose_from_coefficients
from mano_jax.rotations import matrix_to_axis_angle, quaternion_to_matrix, unit_quaternion
from render_jax import Pinhole

LARGEST_SHAPE = 2.5
"""Shape coefficients are cut off here, in units of their deviation."""

# Radii of the bones' flesh, metres: five from the wrist to the finger's base, then those of the phalanges.
_RADII = np.array([0.011] + [0.0095, 0.0085, 0.0075] + ([0.011] + [0.0085, 0.0075, 0.0065] * 1) * 4)
_TOLERANCE = 0.002
_POINTS_PER_BONE = 6


class HandSample(NamedTuple):
    """A right hand and its camera. Parameters as `mano_jax.forward` takes them; the camera frame is OpenCV's."""

    pose: Float[Array, "45"]
    shape: Float[Array, "shapes"]
    rotation: Float[Array, "3"]
    translation: Float[Array, "3"]
    wrist_bend: Float[Array, "2"]
    camera: Pinhole


def sample_hand(key: PRNGKeyArray, model: HandModel, options: SynthesisOptions) -> HandSample:
    """A random hand with all its keypoints inside the image.

    Args:
      key: decides everything.
      model: of a right hand.
      options: ranges.
    """
    pose_key, shape_key, view_key, place_key, bend_key = jax.random.split(key, 5)
    pose = sample_pose(pose_key, model, options)
    shape = sample_shape(shape_key, model, options)
    facing = sample_view(view_key, options).astype(model.dtype)
    rotation = matrix_to_axis_angle(facing)
    points = keypoints(model, pose, shape, rotation, jnp.zeros(3, model.dtype))
    translation, camera = place(place_key, points, options)
    return HandSample(pose, shape, rotation, translation, sample_bend(bend_key, options), camera)


def sample_bend(key: PRNGKeyArray, options: SynthesisOptions) -> Float[Array, "2"]:
    """The forearm's bend against the hand, radians: flexion, deviation."""
    bend = jax.random.normal(key, (2,)) * np.asarray(options.wrist_bend, np.float32)
    return jnp.clip(bend, -0.7, 0.7)


def sample_pose(key: PRNGKeyArray, model: HandModel, options: SynthesisOptions) -> Float[Array, "45"]:
    """The pose space's Gaussian moved into the joint limits; of several draws that in which fingers collide least."""
    draws = jax.random.normal(key, (options.pose_candidates, 45), model.dtype)
    coefficients = options.pose_spread * draws * model.pose_standard_deviations[None]
    poses = clip_to_limits(model, pose_from_coefficients(model, coefficients))
    zeros = jnp.zeros(3, model.dtype)
    mean_shape = jnp.zeros(model.shape_size, model.dtype)
    collisions = jax.vmap(lambda pose: collision(keypoints(model, pose, mean_shape, zeros, zeros)))(poses)
    return poses[jnp.argmin(collisions)]


def sample_shape(key: PRNGKeyArray, model: HandModel, options: SynthesisOptions) -> Float[Array, "shapes"]:
    """Independent normal coefficients, cut off at LARGEST_SHAPE deviations."""
    draws = jax.random.normal(key, (model.shape_size,), model.dtype)
    return options.shape_spread * jnp.clip(draws, -LARGEST_SHAPE, LARGEST_SHAPE)


def sample_view(key: PRNGKeyArray, options: SynthesisOptions) -> Float[Array, "3 3"]:
    """Rotation from the model's frame to the camera's: a direction uniform on a part of the sphere, and a roll."""
    draws = jax.random.uniform(key, (3,))
    if options.view_within is None:
        low, high = options.view_along
        along, around = low + (high - low) * draws[0], jnp.pi * (2.0 * draws[1] - 1.0)
    else:
        along, around = _from_palm_or_back(draws[0], draws[1], options.view_within)
    # A normal number from a uniform one, kept off the ends at which it would be infinite.
    roll = options.roll_deviation * jax.scipy.special.ndtri(jnp.clip(draws[2], 0.005, 0.995))
    across = jnp.sqrt(1.0 - along * along)
    to_camera = jnp.stack([along, across * jnp.cos(around), across * jnp.sin(around)])
    # The fingers' direction, -x, as it is seen from there.
    fingers = jnp.asarray(np.array([-1.0, 0.0, 0.0], np.float32))
    upright = (fingers - jnp.sum(fingers * to_camera) * to_camera) / across
    sideways = jnp.cross(upright, to_camera)
    up = jnp.cos(roll) * upright + jnp.sin(roll) * sideways
    down, forward = -up, -to_camera
    return jnp.stack([jnp.cross(down, forward), down, forward])


def _from_palm_or_back(one: Array, other: Array, within: float) -> tuple[Array, Array]:
    """The component along x and the angle from y to z of a direction within some degrees of y or -y, uniform."""
    back = other < 0.5
    around = 2.0 * jnp.pi * jnp.where(back, 2.0 * other, 2.0 * other - 1.0)
    normal = 1.0 - (1.0 - np.cos(np.radians(within)).astype(np.float32)) * one
    aside = jnp.sqrt(jnp.maximum(1.0 - normal * normal, 0.0))
    return aside * jnp.cos(around), jnp.arctan2(aside * jnp.sin(around), jnp.where(back, normal, -normal))


def random_rotation(key: PRNGKeyArray) -> Float[Array, "3 3"]:
    """Uniform over all rotations: that of a normal quaternion, which has no preferred direction."""
    return quaternion_to_matrix(unit_quaternion(jax.random.normal(key, (4,))))


def place(
    key: PRNGKeyArray, points: Float[Array, "21 3"], options: SynthesisOptions
) -> tuple[Float[Array, "3"], Pinhole]:
    """Translation and camera that give the keypoints their depth, their size on the image and a random place on it.

    Args:
      key: decides all three.
      points: keypoints, turned as the camera sees them, anywhere.
      options: ranges.
    """
    dtype, size = points.dtype, float(options.image_size)
    draws = jax.random.uniform(key, (4,), dtype)
    depth = options.depth[0] + (options.depth[1] - options.depth[0]) * draws[0]
    fill = options.fill[0] + (options.fill[1] - options.fill[0]) * draws[1]
    # The box may wander over four fifths of the free margin.
    offset = 0.4 * (1.0 - fill) * size * (2.0 * draws[2:] - 1.0)
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    translation = jnp.stack([-middle[0], -middle[1], depth - middle[2]])
    focal = jnp.ones((), dtype)
    # Moving the hand sideways changes its outline a little: three rounds leave a small part of a pixel.
    for _ in range(3):
        moved = points + translation[None]
        rays = moved[:, :2] / moved[:, 2:]
        low, high = rays.min(axis=0), rays.max(axis=0)
        focal = fill * size / (high - low).max()
        shift = (offset / focal - 0.5 * (low + high)) * depth
        translation = translation + jnp.concatenate([shift, jnp.zeros(1, dtype)])
    half = jnp.asarray(0.5 * size, dtype)
    return translation, Pinhole(fx=focal, fy=focal, cx=half, cy=half)


def collision(points: Float[Array, "21 3"]) -> Float[Array, ""]:
    """How far the fingers of a skeleton enter each other and the palm: sum of squared overlaps of balls, metres²."""
    parents = np.array(KEYPOINT_PARENTS[1:])
    children = np.arange(1, 21)
    shares = (np.arange(_POINTS_PER_BONE) + 0.5) / _POINTS_PER_BONE
    begins, ends = points[parents][:, None], points[children][:, None]
    balls = (begins + jnp.asarray(shares, points.dtype)[None, :, None] * (ends - begins)).reshape(-1, 3)
    bone = np.repeat(np.arange(20), _POINTS_PER_BONE)
    finger, segment = bone // 4, bone % 4
    palm = segment == 0
    same = finger[:, None] == finger[None]
    counted = ~same & ~(palm[:, None] & palm[None])
    # A fingertip may also enter the palm beneath its own finger.
    counted |= same & (np.abs(segment[:, None] - segment[None]) >= 2) & (palm[:, None] | palm[None])
    # Where a finger leaves the palm it touches its neighbours' roots.
    root = palm | ((segment == 1) & (np.tile(np.arange(_POINTS_PER_BONE), 20) < 2))
    counted &= ~(root[:, None] & root[None])
    touching = (_RADII[bone][:, None] + _RADII[bone][None] - _TOLERANCE).astype(np.float32)
    difference = balls[:, None] - balls[None]
    squares = jnp.sum(difference * difference, axis=-1)
    distance = jnp.sqrt(jnp.maximum(squares, 1e-10))
    overlap = jnp.maximum(jnp.asarray(touching, points.dtype) - distance, 0.0) * counted.astype(np.float32)
    return 0.5 * jnp.sum(overlap * overlap)
