"""The Gaussian over joint angles that a model's own pose statistics say."""

from typing import NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from mano_jax import anatomy
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION
from mano_jax.triangular import inverse_factor


class PosePrior(NamedTuple):
    """A Gaussian over the 45 anatomical angles (radians): flexion, abduction, twist of the 15 finger joints."""

    mean: Float[Array, "45"]
    precision: Float[Array, "45 45"]

    @classmethod
    def of(cls, model: HandModel) -> Self:
        """That of the model's pose mean, basis and standard deviations, turned into its anatomical axes."""
        axes = anatomy.joint_axes(model)
        scaled = model.pose_standard_deviations[:, None] * model.pose_basis
        scaled = jnp.einsum("jab,kjb->kja", axes, scaled.reshape(-1, 15, 3), precision=PRECISION).reshape(-1, 45)
        factor = inverse_factor(jnp.einsum("ka,kb->ab", scaled, scaled, precision=PRECISION))
        return cls(
            mean=anatomy.joint_angles(model, model.pose_mean).reshape(45),
            precision=jnp.einsum("ka,kb->ab", factor, factor, precision=PRECISION),
        )


def squared_mahalanobis(model: HandModel, pose: Float[ArrayLike, "*batch 45"]) -> Float[Array, "*batch"]:
    """Squared Mahalanobis distance of poses (axis-angle from the flat hand) from the model's mean pose.

    Half of it is the negative log density up to a constant. 45 on average over poses of the model's own statistics.
    """
    prior = PosePrior.of(model)
    angles = anatomy.joint_angles(model, pose)
    offset = angles.reshape(*angles.shape[:-2], 45) - prior.mean.reshape((1,) * (angles.ndim - 2) + (45,))
    return jnp.einsum("...a,ab,...b->...", offset, prior.precision, offset, precision=PRECISION)
