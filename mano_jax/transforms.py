"""Rigid motions: of a hand's parameters, of a posed hand to one of its joints, and each joint's own."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from mano_jax.forward import HandMesh
from mano_jax.keypoints import MODEL_JOINT_NAMES
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION, axis_angle_to_matrix, matrix_to_axis_angle


def rigid(
    model: HandModel,
    shape: Float[ArrayLike, "*#batch shapes"],
    rotation: Float[ArrayLike, "*#batch 3"],
    translation: Float[ArrayLike, "*#batch 3"],
    world_rotation: Float[ArrayLike, "*#batch 3 3"],
    world_translation: Float[ArrayLike, "*#batch 3"],
) -> tuple[Float[Array, "*batch 3"], Float[Array, "*batch 3"]]:
    """Rotation and translation parameters of a hand that the world has moved by x -> G x + g.

    A change of camera, for instance. The `rotation` parameter turns a hand about its wrist joint J, whose place
    follows from the shape, so that the translation changes with it: t' = G (J + t) + g - J.

    Args:
      model: the hand model.
      shape: the hand's shape coefficients; pose does not matter.
      rotation: axis-angle of the wrist, radians.
      translation: metres.
      world_rotation: G, a rotation matrix.
      world_translation: g, metres.

    Returns:
      The new rotation (axis-angle of angle up to pi) and translation.

    Raises:
      ValueError: `world_rotation` is not a matrix.
    """
    shape, rotation, translation, turn, shift = (
        jnp.asarray(array, model.dtype) for array in (shape, rotation, translation, world_rotation, world_translation)
    )
    if turn.shape[-2:] != (3, 3):
        raise ValueError(f"world_rotation must be matrices [..., 3, 3], got {list(turn.shape)}")
    wrist = jnp.einsum("...k,kc->...c", shape, model.joint_shape_basis[: shape.shape[-1], 0], precision=PRECISION)
    wrist = wrist + model.joint_template[0].reshape((1,) * (wrist.ndim - 1) + (3,))
    wrist, rotation, translation, shift = _same_rank((wrist, rotation, translation, shift), turn.ndim - 1)
    turn = turn.reshape((1,) * (wrist.ndim + 1 - turn.ndim) + turn.shape)
    turned = jnp.einsum("...ab,...bc->...ac", turn, axis_angle_to_matrix(rotation), precision=PRECISION)
    moved = jnp.einsum("...ab,...b->...a", turn, wrist + translation, precision=PRECISION) + shift - wrist
    batch = jnp.broadcast_shapes(turned.shape[:-2], moved.shape[:-1])
    return (
        jnp.broadcast_to(matrix_to_axis_angle(turned), (*batch, 3)),
        jnp.broadcast_to(moved, (*batch, 3)),
    )


def _same_rank(arrays: tuple[Float[Array, "..."], ...], least: int) -> list[Float[Array, "..."]]:
    rank = max(least, *(array.ndim for array in arrays))
    return [array.reshape((1,) * (rank - array.ndim) + array.shape) for array in arrays]


class CentredMesh(NamedTuple):
    """A hand moved so that one joint is the origin; `centre`, metres, is where that joint was: add it to go back."""

    mesh: HandMesh
    centre: Float[Array, "*batch 3"]


def centre_on(mesh: HandMesh, joint: str = "wrist") -> CentredMesh:
    """A posed hand measured from one of the 16 joints (`mano_jax.MODEL_JOINT_NAMES`), and where that joint was.

    Raises:
      ValueError: no joint of that name.
    """
    if joint not in MODEL_JOINT_NAMES:
        raise ValueError(f"joint must be one of {', '.join(MODEL_JOINT_NAMES)}, got {joint!r}")
    centre = mesh.joints[..., MODEL_JOINT_NAMES.index(joint), :]
    moved = mesh._replace(vertices=mesh.vertices - centre[..., None, :], joints=mesh.joints - centre[..., None, :])
    return CentredMesh(mesh=moved, centre=centre)


def joint_transforms(mesh: HandMesh) -> Float[Array, "*batch 16 4 4"]:
    """Pose of each joint in the world as a homogeneous matrix [R p; 0 1]: joint frame to world.

    At rest every joint's frame is parallel to the model's.
    """
    return _homogeneous(mesh.joint_rotations, mesh.joints)


def skinning_transforms(
    model: HandModel, mesh: HandMesh, shape: Float[ArrayLike, "*#batch shapes"]
) -> Float[Array, "*batch 16 4 4"]:
    """What each joint does to a vertex of the resting hand: x -> R (x - J_rest) + J_now, homogeneous.

    Linear blend skinning averages these with `skinning_weights`. `shape` is the one that `mesh` was made with.
    """
    shape = jnp.asarray(shape, model.dtype)
    basis = model.joint_shape_basis[: shape.shape[-1]]
    rest = jnp.einsum("...k,kjc->...jc", shape, basis, precision=PRECISION)
    rest = rest + model.joint_template.reshape((1,) * (rest.ndim - 2) + (16, 3))
    rest = rest.reshape((1,) * (mesh.joints.ndim - rest.ndim) + rest.shape)
    offsets = mesh.joints - jnp.einsum("...ab,...b->...a", mesh.joint_rotations, rest, precision=PRECISION)
    return _homogeneous(mesh.joint_rotations, offsets)


def _homogeneous(
    rotations: Float[Array, "*batch 3 3"], positions: Float[Array, "*batch 3"]
) -> Float[Array, "*batch 4 4"]:
    upper = jnp.concatenate([rotations, positions[..., None]], axis=-1)
    last = jnp.asarray(np.array([[0.0, 0.0, 0.0, 1.0]]), upper.dtype)
    return jnp.concatenate(
        [upper, jnp.broadcast_to(last.reshape((1,) * (upper.ndim - 2) + (1, 4)), (*upper.shape[:-2], 1, 4))], axis=-2
    )
