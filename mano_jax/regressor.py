"""The linear regressor of 21 keypoints from vertices."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from mano_jax.keypoints import CANONICAL_FROM_MODEL_AND_TIPS
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION


def keypoint_regressor(model: HandModel, tips: str = "745") -> Float[Array, "21 vertices"]:
    """Weights of the vertices in each canonical keypoint: the model's joint regressor, and a 1 for each fingertip."""
    count = model.template.shape[0]
    fingertips = jax.nn.one_hot(np.asarray(model.fingertips(tips)), count, dtype=model.dtype)
    rows = jnp.concatenate([model.joint_regressor, fingertips])
    return rows[np.asarray(CANONICAL_FROM_MODEL_AND_TIPS)]


def regress_keypoints(
    model: HandModel, vertices: Float[ArrayLike, "*batch vertices 3"], tips: str = "745"
) -> Float[Array, "*batch 21 3"]:
    """The 21 canonical keypoints as weighted means of any mesh of the model's topology, metres.

    The skeleton regressor of papers that predict vertices: it needs no pose. Not the joints of the kinematic chain
    (`keypoints`), from which it differs by up to a few millimetres where fingers bend; at zero pose both agree.

    Raises:
      ValueError: the vertices are not the model's, or it has no fingertip convention of that name.
    """
    vertices = jnp.asarray(vertices, model.dtype)
    count = model.template.shape[0]
    if vertices.shape[-2:] != (count, 3):
        raise ValueError(f"vertices must have shape [..., {count}, 3], got {list(vertices.shape)}")
    return jnp.einsum("kv,...vc->...kc", keypoint_regressor(model, tips), vertices, precision=PRECISION)
