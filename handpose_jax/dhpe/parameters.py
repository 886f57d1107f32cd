"""h, the 63 numbers that DHPE predicts and refines: a named pytree, its flat order, and the hand it stands for."""

from typing import NamedTuple, Self

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import mano_jax
from handpose_jax.dhpe.configuration import Parametrisation
from handpose_jax.projection import NdcHand
from mano_jax import HandModel
from mano_jax.rotations import unit_quaternion

SIZES = (45, 10, 4, 1, 3)
"""Pose, shape, rotation, scale and translation; their sum is the paper's 63. [derived]"""
SIZE = sum(SIZES)
_ENDS = tuple(np.cumsum(SIZES).tolist())


class HandVector(NamedTuple):
    """h as the networks see it: zeros are the mean hand, unturned, at the middle of the crop.

    Attributes:
      pose_coefficients: from the model's mean pose (or, by `Parametrisation.pose`, axis-angle differences from it).
      shape: shape coefficients.
      rotation: δ of the quaternion normalise((1, 0, 0, 0) + δ).
      scale: σ of initial_scale * exp(σ).
      translation: NDC position of the middle MCP; the third number has no effect.
    """

    pose_coefficients: Float[Array, "*batch 45"]
    shape: Float[Array, "*batch 10"]
    rotation: Float[Array, "*batch 4"]
    scale: Float[Array, "*batch 1"]
    translation: Float[Array, "*batch 3"]

    def flatten(self) -> Float[Array, "*batch 63"]:
        return jnp.concatenate(self, axis=-1)

    @classmethod
    def unflatten(cls, flat: Float[Array, "*batch 63"]) -> Self:
        """Raises:
        ValueError: not 63 numbers.
        """
        if flat.ndim == 0 or flat.shape[-1] != SIZE:
            raise ValueError(f"expected h of shape (..., {SIZE}), got {flat.shape}")
        return cls(*(flat[..., end - size : end] for size, end in zip(SIZES, _ENDS, strict=True)))

    @classmethod
    def zeros(cls, batch: tuple[int, ...] = ()) -> Self:
        """h(0) of Eq. 5: the mean hand."""
        return cls(*(jnp.zeros((*batch, size)) for size in SIZES))


def decode(model: HandModel, h: HandVector, parametrisation: Parametrisation) -> NdcHand:
    """The hand that h stands for; any leading batch axes.

    Where (1, 0, 0, 0) + δ is zero the rotation is the identity, with derivative zero.
    """
    kept = h.pose_coefficients[..., : parametrisation.pose_components]
    if parametrisation.pose == "coefficients":
        pose = mano_jax.pose_from_coefficients(model, kept)
    else:
        pose = kept + model.pose_mean.reshape((1,) * (kept.ndim - 1) + (-1,))
    one = jnp.asarray([1.0, 0.0, 0.0, 0.0], h.rotation.dtype).reshape((1,) * (h.rotation.ndim - 1) + (4,))
    return NdcHand(
        pose=pose,
        shape=h.shape,
        quaternion=unit_quaternion(one + h.rotation),
        scale=parametrisation.initial_scale * jnp.exp(h.scale[..., 0]),
        translation=h.translation[..., :2],
    )


def encode(model: HandModel, hand: NdcHand, parametrisation: Parametrisation) -> HandVector:
    """An h that decodes to `hand`, for truths that are known and for fits to start from; inverse of `decode`.

    Of the two quaternions of a rotation it takes the one with w >= 0, which is the nearer to h = 0. With fewer than 45
    pose components what the others hold is lost.
    """
    if parametrisation.pose == "coefficients":
        numbers = mano_jax.coefficients_from_pose(model, hand.pose)
    else:
        numbers = hand.pose - model.pose_mean.reshape((1,) * (hand.pose.ndim - 1) + (-1,))
    counted = np.arange(SIZES[0]) < parametrisation.pose_components
    quaternion = jnp.where(hand.quaternion[..., :1] < 0.0, -hand.quaternion, hand.quaternion)
    one = jnp.asarray([1.0, 0.0, 0.0, 0.0], quaternion.dtype).reshape((1,) * (quaternion.ndim - 1) + (4,))
    return HandVector(
        pose_coefficients=jnp.where(counted.reshape((1,) * (numbers.ndim - 1) + (-1,)), numbers, 0.0),
        shape=hand.shape,
        rotation=quaternion - one,
        scale=jnp.log(hand.scale / parametrisation.initial_scale)[..., None],
        translation=jnp.concatenate([hand.translation, jnp.zeros_like(hand.translation[..., :1])], axis=-1),
    )
