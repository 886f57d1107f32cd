"""The unknowns of a fit, as a named pytree and as the flat vector that the solver sees."""

from typing import NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array, Float

ANGLES = 45
GLOBAL = 6


class HandParameters(NamedTuple):
    """One hand: what `mano_jax.forward` takes, the pose as anatomical angles.

    In angles (flexion, abduction, twist of 15 joints, radians) joint limits are bounds on single numbers and the pose
    prior is one constant matrix.
    """

    rotation: Float[Array, "*batch 3"]
    translation: Float[Array, "*batch 3"]
    shape: Float[Array, "*batch shapes"]
    angles: Float[Array, "*batch 45"]

    def flatten(self) -> Float[Array, "*batch parameters"]:
        return jnp.concatenate(self, axis=-1)

    @classmethod
    def unflatten(cls, flat: Float[Array, "*batch parameters"]) -> Self:
        return cls(
            rotation=flat[..., :3],
            translation=flat[..., 3:GLOBAL],
            shape=flat[..., GLOBAL:-ANGLES],
            angles=flat[..., -ANGLES:],
        )
