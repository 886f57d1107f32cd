"""How vertices move with a hand's parameters, in closed form: what outlines need for Gauss-Newton."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mano_jax.forward import HandMesh
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION, left_jacobian


def descendants(parents: tuple[int, ...]) -> Float[np.ndarray, "joints joints"]:
    """Row j has ones at the joints that move with joint j: itself and all beyond it."""
    result = np.eye(len(parents), dtype=np.float32)
    for joint in reversed(range(1, len(parents))):
        result[parents[joint]] += result[joint]
    return result


def vertex_jacobian(
    hand: KeypointModel, model: HandModel, parameters: HandParameters, mesh: HandMesh
) -> Float[Array, "vertices 3 parameters"]:
    """Derivatives of the vertices by the flat parameters, metres.

    Of linear blend skinning: a turn about an axis at a joint moves a vertex by the share of its weights that lies on
    that joint and beyond, about that joint. Two things are left out, some 3 % of what the angles do: that a blended
    vertex is not where each of its joints would carry it, and the pose correctives' change. Good for curvature, not for
    gradients.

    Args:
      hand: of the model; for its axes.
      model: the whole mesh.
      parameters: of the hand.
      mesh: `forward` of them.
    """
    moved = jnp.einsum("vd,jd->vj", model.skinning_weights, descendants(model.parents), precision=PRECISION)[:, 1:]
    vectors = hand.pose(parameters.angles).reshape(15, 3)
    parents = mesh.joint_rotations[np.asarray(model.parents[1:])]
    spatial = jnp.einsum("jab,jbc->jac", parents, left_jacobian(vectors), precision=PRECISION)
    turns = jnp.einsum("jab,jcb->jca", spatial, hand.axes, precision=PRECISION)  # joint, angle, axis in space
    # turn x (vertex - joint), its two parts apart: neither needs an array of vertices, joints, angles and coordinates
    # more than once.
    by_place = jnp.cross(turns[:, :, None], jnp.eye(3, dtype=turns.dtype)[None, None])  # joint, angle, coordinate, out
    carried = jnp.einsum("vb,jcba->vjca", mesh.vertices, by_place, precision=PRECISION)
    fixed = jnp.einsum("jb,jcba->jca", mesh.joints[1:], by_place, precision=PRECISION)
    by_angle = (moved[:, :, None, None] * (carried - fixed[None])).reshape(-1, 45, 3)
    levers = mesh.vertices - mesh.joints[:1]
    world = left_jacobian(parameters.rotation).T
    by_rotation = jnp.cross(world[None], levers[:, None])
    by_translation = jnp.broadcast_to(jnp.eye(3, dtype=levers.dtype)[None], (len(levers), 3, 3))
    by_shape = jnp.swapaxes(_by_shape(model, mesh), 1, 2)
    columns = jnp.concatenate([by_rotation, by_translation, by_shape, by_angle], axis=1)
    return jnp.swapaxes(columns, 1, 2)


def _by_shape(model: HandModel, mesh: HandMesh) -> Float[Array, "vertices 3 shapes"]:
    """sum over j of w_j (R_j (∂v - ∂J_j) + ∂p_j), p_j the posed joint: bones grow along the chain."""
    rotations, joints = mesh.joint_rotations, model.joint_shape_basis.transpose(1, 2, 0)
    parents = np.asarray(model.parents[1:])
    bones = jnp.einsum("jab,jbs->jas", rotations[parents], joints[1:] - joints[parents], precision=PRECISION)
    bones = jnp.concatenate([joints[:1], bones])
    moved = jnp.einsum("dj,das->jas", descendants(model.parents), bones, precision=PRECISION)
    offsets = moved - jnp.einsum("jab,jbs->jas", rotations, joints, precision=PRECISION)
    weights = model.skinning_weights
    blended = jnp.einsum("vj,jab->vab", weights, rotations, precision=PRECISION)
    own = jnp.einsum("vab,vbs->vas", blended, model.shape_basis, precision=PRECISION)
    return own + jnp.einsum("vj,jas->vas", weights, offsets, precision=PRECISION)


def screen_jacobian(
    vertices: Float[Array, "vertices 3"],
    jacobian: Float[Array, "vertices 3 parameters"],
    focal: Float[Array, "2"],
    nearest: float,
) -> Float[Array, "vertices 2 parameters"]:
    """Derivatives of the projected vertices, pixels; a vertex nearer than `nearest` does not move."""
    depth = jnp.maximum(vertices[:, 2], nearest)
    slope = vertices[:, :2] / depth[:, None]
    scale = jnp.where(vertices[:, 2] > nearest, 1.0, 0.0)[:, None] * focal[None] / depth[:, None]
    return scale[..., None] * (jacobian[:, :2] - slope[..., None] * jacobian[:, 2:])
