"""The exact mirror x -> -x: right hands to left hands and back, models and parameters."""

import dataclasses

import numpy as np
from jaxtyping import Array, Float

from mano_jax.model import SIDES, HandModel

REFLECTION = (-1.0, 1.0, 1.0)
"""Signs of a reflected point."""
AXIAL_REFLECTION = (1.0, -1.0, -1.0)
"""Signs of a reflected axis-angle vector: M R(v) M = R(-M v) for the reflection M."""


def mirror_points(points: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Points, or translations, seen in the mirror."""
    return points * np.asarray(REFLECTION, points.dtype).reshape((1,) * (points.ndim - 1) + (3,))


def mirror_rotations(axis_angles: Float[Array, "*batch components"]) -> Float[Array, "*batch components"]:
    """Axis-angle vectors seen in the mirror; the last axis holds one or more of them (3, 45, ...)."""
    signs = np.tile(np.asarray(AXIAL_REFLECTION, axis_angles.dtype), axis_angles.shape[-1] // 3)
    return axis_angles * signs.reshape((1,) * (axis_angles.ndim - 1) + (-1,))


def mirror_model(model: HandModel) -> HandModel:
    """The hand model of the other side: `forward` of it at mirrored parameters is the mirrored mesh, exactly.

    Shape and pose coefficients keep their meaning (a thick right hand mirrors to a thick left one), pose and rotation
    change as `mirror_rotations`. Triangles are turned round so that they still face outwards.
    """
    if model.side not in SIDES:
        raise ValueError(f"expected one hand, left or right, to mirror, got a model of {model.side} hands")
    signs = np.asarray(REFLECTION)
    # A pose corrective's feature (M R M - I)_ij has the sign s_i s_j; shape components have none.
    feature_signs = np.concatenate([np.tile(np.outer(signs, signs).ravel(), 15), np.ones(model.shape_size)])
    axial = np.tile(AXIAL_REFLECTION, 15)

    def flip(array: Float[Array, "..."], leaf_signs: np.ndarray) -> Float[Array, "..."]:
        return array * np.broadcast_to(leaf_signs, array.shape).astype(array.dtype)

    return dataclasses.replace(
        model,
        template=flip(model.template, signs),
        blend_basis=flip(model.blend_basis, feature_signs[:, None, None] * signs[None, :, None]),
        joint_template=flip(model.joint_template, signs),
        joint_shape_basis=flip(model.joint_shape_basis, signs),
        pose_mean=flip(model.pose_mean, axial),
        pose_basis=flip(model.pose_basis, axial),
        topology=dataclasses.replace(
            model.topology,
            faces=np.ascontiguousarray(model.faces[:, ::-1]),
            side="left" if model.side == "right" else "right",
        ),
    )
