"""A hand's pose as axis-angle, matrices, quaternions, 6D or coefficients, and from one to the other.

Every one is measured from the flat hand but `coefficients`, which start at the model's mean pose. Between matrices,
quaternions and 6D there is no need to pass by here: `mano_jax.rotations` has the functions, and
`forward_from_matrices` takes the matrices.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from mano_jax import rotations
from mano_jax.model import POSE_SIZE, HandModel
from mano_jax.pose_space import coefficients_from_pose, pose_from_coefficients

REPRESENTATIONS = ("axis_angle", "matrix", "quaternion", "6d", "coefficients")
_ITEM_SHAPES = {"axis_angle": (45,), "matrix": (15, 3, 3), "quaternion": (15, 4), "6d": (15, 6)}


def pose_from(model: HandModel, values: Float[ArrayLike, "..."], representation: str) -> Float[Array, "*batch 45"]:
    """The pose, as `forward` takes it, of joint rotations given in another way.

    Args:
      model: the hand model; decides the dtype, and the pose space of coefficients.
      values: "axis_angle" [*batch, 45]; "matrix" [*batch, 15, 3, 3]; "quaternion" [*batch, 15, 4], (w, x, y, z), of any
        length but zero and either sign; "6d" [*batch, 15, 6], the first two columns; "coefficients" [*batch, up to 45].
      representation: one of these names.

    Returns:
      Axis-angle vectors of angles up to pi (of "axis_angle" and "coefficients": as they are).

    Raises:
      ValueError: another name, or a shape that is not the representation's.
    """
    values = jnp.asarray(values, model.dtype)
    _check(representation)
    if representation == "coefficients":
        return pose_from_coefficients(model, values)
    item = _ITEM_SHAPES[representation]
    if values.shape[-len(item) :] != item:
        expected = ", ".join(str(size) for size in item)
        raise ValueError(f"a pose as {representation} must have shape [..., {expected}], got {list(values.shape)}")
    match representation:
        case "axis_angle":
            return values
        case "matrix":
            vectors = rotations.matrix_to_axis_angle(values)
        case "quaternion":
            vectors = rotations.quaternion_to_axis_angle(rotations.unit_quaternion(values))
        case _:
            vectors = rotations.matrix_to_axis_angle(rotations.matrix_from_6d(values))
    return vectors.reshape(*vectors.shape[:-2], POSE_SIZE)


def pose_as(model: HandModel, pose: Float[ArrayLike, "*batch 45"], representation: str) -> Float[Array, "..."]:
    """A pose as `forward` takes it, given in another way; shapes as in `pose_from`, coefficients all 45.

    Raises:
      ValueError: another name, or a pose that is not [..., 45].
    """
    pose = jnp.asarray(pose, model.dtype)
    _check(representation)
    if pose.ndim == 0 or pose.shape[-1] != POSE_SIZE:
        raise ValueError(f"pose must have shape [..., {POSE_SIZE}], got {list(pose.shape)}")
    vectors = pose.reshape(*pose.shape[:-1], 15, 3)
    match representation:
        case "axis_angle":
            return pose
        case "matrix":
            return rotations.axis_angle_to_matrix(vectors)
        case "quaternion":
            return rotations.axis_angle_to_quaternion(vectors)
        case "6d":
            return rotations.matrix_to_6d(rotations.axis_angle_to_matrix(vectors))
        case _:
            return coefficients_from_pose(model, pose)


def _check(representation: str) -> None:
    if representation not in REPRESENTATIONS:
        raise ValueError(f"pose representation must be one of {', '.join(REPRESENTATIONS)}, got {representation!r}")
