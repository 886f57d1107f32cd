"""Anatomical axes, signed joint angles and limits of the 15 finger joints.

The angles of a joint are the components of its axis-angle vector along three perpendicular unit axes fixed at rest:
flexion, abduction, twist. That is linear in the pose and exactly invertible; for the hinges, which turn about one axis
only, it is the joint angle itself. Signs are anatomical and the same on both sides: flexion is positive towards the
palm, abduction towards the thumb's side (of the thumb: out of the palm), twist about the bone's distal direction on the
right hand and mirrored on the left.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from mano_jax.mirror import AXIAL_REFLECTION, REFLECTION
from mano_jax.model import SIDES, HandModel
from mano_jax.rotations import PRECISION

ANGLE_NAMES = ("flexion", "abduction", "twist")

# Roll of each finger's back about its bone, degrees, from the back of the hand towards the little finger; index,
# middle, little, ring, thumb as in the model's joint order. The thumb's nail faces sideways, 70-80 degrees from the
# back of the hand; the fingers' rolls are estimates.
DORSAL_ROLLS = (-6.0, 0.0, 12.0, 6.0, -72.0)

# Lowest and highest (flexion, abduction, twist) in radians from the flat hand. Ranges of motion: MCP flexion to
# 1.3-1.6, PIP to 1.9, DIP to 1.4, abduction to 0.3-0.7, thumb CMC -0.8 to 1.3; hinges get the little play that tracked
# hands show.
_MCP = ((-0.50, 1.60), (-0.50, 0.50), (-0.25, 0.25))
_LITTLE_MCP = ((-0.50, 1.60), (-0.70, 0.50), (-0.35, 0.35))
_PIP = ((-0.15, 1.90), (-0.12, 0.12), (-0.15, 0.15))
_DIP = ((-0.25, 1.40), (-0.12, 0.12), (-0.15, 0.15))
_THUMB = (
    ((-0.80, 1.30), (-0.70, 1.00), (-0.60, 0.60)),
    ((-0.50, 1.10), (-0.35, 0.35), (-0.25, 0.25)),
    ((-0.60, 1.50), (-0.12, 0.12), (-0.20, 0.20)),
)
_LIMITS = ((_MCP, _PIP, _DIP), (_MCP, _PIP, _DIP), (_LITTLE_MCP, _PIP, _DIP), (_MCP, _PIP, _DIP), _THUMB)


def joint_axes(model: HandModel) -> Float[Array, "15 3 3"]:
    """Unit axes (rows: flexion, abduction, twist) of the 15 finger joints at rest, in the model's frame.

    They follow the model's own bones: twist runs along the bone (to the next joint, or the fingertip), abduction about
    the finger's dorsal direction, flexion about the axis perpendicular to both. A left hand's are those of its mirror
    image, mirrored as rotation axes are.
    """
    if model.side not in SIDES:
        raise ValueError(f"anatomy is that of one hand, left or right, got a model of {model.side} hands")
    left = model.side == "left"
    reflection = np.asarray(REFLECTION if left else (1.0, 1.0, 1.0), model.dtype)
    axial = np.asarray(AXIAL_REFLECTION if left else (1.0, 1.0, 1.0), model.dtype)
    fingers = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12), (13, 14, 15))
    tips = np.asarray(model.fingertips())[np.array([1, 2, 4, 3, 0])]
    joints = model.joint_template[np.asarray(fingers)]
    points = jnp.concatenate([joints, model.template[tips][:, None]], axis=1) * reflection[None, None]
    bones = points[:, 1:] - points[:, :-1]
    twist = bones / jnp.sqrt(jnp.sum(bones * bones, axis=-1, keepdims=True))
    up = jnp.asarray(np.array([0.0, 1.0, 0.0]), model.dtype)[None, None]
    upright = up - jnp.sum(up * twist, axis=-1, keepdims=True) * twist
    upright = upright / jnp.sqrt(jnp.sum(upright * upright, axis=-1, keepdims=True))
    rolls = jnp.asarray(np.deg2rad(DORSAL_ROLLS), model.dtype)[:, None, None]
    dorsal = jnp.cos(rolls) * upright + jnp.sin(rolls) * jnp.cross(twist, upright)
    flexion = jnp.cross(dorsal, twist)
    axes = jnp.stack([flexion, dorsal, twist], axis=-2).reshape(15, 3, 3)
    return axes * axial[None, None]


def joint_limits() -> Float[np.ndarray, "15 3 2"]:
    """Lowest and highest angle (radians) of each finger joint about each axis; the same for both sides."""
    return np.asarray(_LIMITS).reshape(15, 3, 2)


def joint_angles(model: HandModel, pose: Float[ArrayLike, "*batch 45"]) -> Float[Array, "*batch 15 3"]:
    """Signed angles (flexion, abduction, twist), radians, of a pose measured from the flat hand."""
    pose = jnp.asarray(pose, model.dtype)
    vectors = pose.reshape(*pose.shape[:-1], 15, 3)
    return jnp.einsum("jab,...jb->...ja", joint_axes(model), vectors, precision=PRECISION)


def pose_from_angles(model: HandModel, angles: Float[ArrayLike, "*batch 15 3"]) -> Float[Array, "*batch 45"]:
    """The pose of given joint angles; inverse of `joint_angles`."""
    angles = jnp.asarray(angles, model.dtype)
    vectors = jnp.einsum("jab,...ja->...jb", joint_axes(model), angles, precision=PRECISION)
    return vectors.reshape(*vectors.shape[:-2], 45)


def clip_to_limits(model: HandModel, pose: Float[ArrayLike, "*batch 45"]) -> Float[Array, "*batch 45"]:
    """The pose with every joint angle moved into its limits."""
    angles = joint_angles(model, pose)
    lowest, highest = _limits_beside(angles)
    return pose_from_angles(model, jax.lax.clamp(*jnp.broadcast_arrays(lowest, angles, highest)))


def limit_penalty(model: HandModel, pose: Float[ArrayLike, "*batch 45"]) -> Float[Array, "*batch"]:
    """Sum of squares (radians²) of what the joint angles of a pose exceed their limits by; 0 within them.

    Continuously differentiable; a term for losses. `clip_to_limits` is the projection onto the same set.
    """
    angles = joint_angles(model, pose)
    lowest, highest = _limits_beside(angles)
    excess = jax.nn.relu(angles - highest) + jax.nn.relu(lowest - angles)
    return jnp.sum(excess * excess, axis=(-2, -1))


def _limits_beside(angles: Float[Array, "*batch 15 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest angles in the dtype and with the number of axes of `angles`."""
    limits = joint_limits().astype(angles.dtype).reshape((1,) * (angles.ndim - 2) + (15, 3, 2))
    return limits[..., 0], limits[..., 1]
