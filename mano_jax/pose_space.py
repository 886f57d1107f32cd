"""Pose coefficients: the model's own pose basis, measured from its mean pose."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION


def pose_from_coefficients(
    model: HandModel, coefficients: Float[ArrayLike, "*batch components"]
) -> Float[Array, "*batch 45"]:
    """Pose (axis-angle from the flat hand, radians) of up to 45 coefficients; 45 means 45, none is dropped.

    Raises:
      ValueError: more coefficients than the basis has.
    """
    coefficients = jnp.asarray(coefficients, model.dtype)
    count = coefficients.shape[-1]
    if count > model.pose_basis.shape[0]:
        raise ValueError(f"the model has {model.pose_basis.shape[0]} pose components, got {count} coefficients")
    offset = jnp.einsum("...k,kp->...p", coefficients, model.pose_basis[:count], precision=PRECISION)
    return offset + model.pose_mean.reshape((1,) * (offset.ndim - 1) + (-1,))


def coefficients_from_pose(model: HandModel, pose: Float[ArrayLike, "*batch 45"]) -> Float[Array, "*batch 45"]:
    """Coefficients of a pose in the model's full basis; inverse of `pose_from_coefficients` at 45 components."""
    pose = jnp.asarray(pose, model.dtype)
    offset = pose - model.pose_mean.reshape((1,) * (pose.ndim - 1) + (-1,))
    # The basis of a file need not be orthonormal to the last digit: solve rather than transpose.
    inverse = jnp.linalg.inv(model.pose_basis)
    return jnp.einsum("...p,pk->...k", offset, inverse, precision=PRECISION)
