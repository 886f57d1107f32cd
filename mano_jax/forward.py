"""The hand function: pose, shape, rotation and translation -> mesh and joints (MANO's definitions).

Blend shapes, joints of the shaped template, kinematic chain, linear blend skinning. Every function takes leading batch
axes, which broadcast. Coordinates are kept in planes [3, vertices] inside, and large batches are cut into chunks that
are recomputed in the backward pass: the skinning transforms of a large batch do not fit a cache, and that product is
what the whole function costs.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from mano_jax.keypoints import CANONICAL_FROM_MODEL_AND_TIPS
from mano_jax.model import CORRECTIVE_SIZE, POSE_SIZE, HandModel
from mano_jax.rotations import PRECISION, axis_angle_to_matrix

CHUNK_SIZE = 128
"""Hands evaluated at once; larger batches are cut into chunks of this size."""


class HandMesh(NamedTuple):
    """Posed hands, metres. Joints are the 16 of the kinematic chain, in MANO's order.

    `joint_rotations` turn directions at rest into directions now: the axes of a joint's frame are its columns.
    """

    vertices: Float[Array, "*batch vertices 3"]
    joints: Float[Array, "*batch 16 3"]
    joint_rotations: Float[Array, "*batch 16 3 3"]


class _Parameters(NamedTuple):
    pose: Float[Array, "*batch 45"]
    shape: Float[Array, "*batch shapes"]
    rotation: Float[Array, "*batch 3"]
    translation: Float[Array, "*batch 3"]


def forward(
    model: HandModel,
    pose: Float[ArrayLike, "*#batch 45"],
    shape: Float[ArrayLike, "*#batch shapes"],
    rotation: Float[ArrayLike, "*#batch 3"],
    translation: Float[ArrayLike, "*#batch 3"],
) -> HandMesh:
    """Posed vertices and joints; computes in the model's dtype.

    Args:
      model: the hand model.
      pose: axis-angle vectors of the 15 finger joints, radians, measured from the flat hand (zero pose), not from the
        model's mean pose.
      shape: shape coefficients, in units of the shape basis; at most `model.shape_size` of them, the rest being zero.
      rotation: axis-angle vector of the wrist joint, radians. It turns the hand about the *wrist joint's own position*,
        which depends on the shape, not about the origin.
      translation: metres, added last.

    Returns:
      Vertices, joints and rotations of the joints; metres, in the frame that `rotation` and `translation` lead to. Note
      that `joint_regressor @ vertices` differs from `joints` by up to a few millimetres where fingers bend.

    Raises:
      ValueError: a last axis has the wrong length, or batch axes do not broadcast.

    Source: Romero, Tzionas, Black, "Embodied Hands", SIGGRAPH Asia 2017, Eqs. 1-4.
    """
    parameters = _checked_parameters(model, pose, shape, rotation, translation)
    batch = jnp.broadcast_shapes(*(leaf.shape[:-1] for leaf in parameters))
    size = math.prod(batch)
    flat = jax.tree.map(lambda leaf: _broadcast(leaf, batch).reshape(size, leaf.shape[-1]), parameters)
    result = _in_chunks(lambda chunk: _forward_flat(model, chunk), flat)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), result)


def keypoints(
    model: HandModel,
    pose: Float[ArrayLike, "*#batch 45"],
    shape: Float[ArrayLike, "*#batch shapes"],
    rotation: Float[ArrayLike, "*#batch 3"],
    translation: Float[ArrayLike, "*#batch 3"],
    tips: str = "745",
) -> Float[Array, "*batch 21 3"]:
    """The 21 keypoints in canonical order: 16 joints of the chain and five fingertip vertices, metres.

    Arguments as in `forward`; `tips` names the convention of the fingertip vertices. Only those five vertices are
    computed, not the mesh.
    """
    tips_only = model.at_vertices(model.fingertips(tips))
    return keypoints_from_mesh(tips_only, forward(tips_only, pose, shape, rotation, translation), tips)


def keypoints_from_mesh(model: HandModel, mesh: HandMesh, tips: str = "745") -> Float[Array, "*batch 21 3"]:
    """The 21 keypoints of hands already posed by `forward`, in canonical order, metres."""
    fingertips = mesh.vertices[..., np.asarray(model.fingertips(tips)), :]
    points = jnp.concatenate([mesh.joints, fingertips], axis=-2)
    return points[..., np.asarray(CANONICAL_FROM_MODEL_AND_TIPS), :]


def _broadcast(leaf: Float[Array, "..."], batch: tuple[int, ...]) -> Float[Array, "..."]:
    """Leading axes of `leaf` broadcast to `batch`, ranks made equal first (JAX may be told to refuse otherwise)."""
    missing = len(batch) + 1 - leaf.ndim
    return jnp.broadcast_to(leaf.reshape((1,) * missing + leaf.shape), (*batch, leaf.shape[-1]))


def _in_chunks(function: Callable[[_Parameters], HandMesh], flat: _Parameters) -> HandMesh:
    """`function` over [hands, ...] parameters, CHUNK_SIZE hands at a time, each recomputed in the backward pass."""
    size = flat.pose.shape[0]
    if size <= CHUNK_SIZE:
        return function(flat)
    padding = -size % CHUNK_SIZE
    count = (size + padding) // CHUNK_SIZE
    chunks = jax.tree.map(
        lambda leaf: jnp.pad(leaf, ((0, padding), (0, 0))).reshape(count, CHUNK_SIZE, leaf.shape[-1]), flat
    )
    result = jax.lax.map(jax.checkpoint(function), chunks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], result)


def _checked_parameters(model: HandModel, pose, shape, rotation, translation) -> _Parameters:
    arrays = _Parameters(*(jnp.asarray(array, model.dtype) for array in (pose, shape, rotation, translation)))
    expected = (POSE_SIZE, None, 3, 3)
    for name, array, length in zip(_Parameters._fields, arrays, expected, strict=True):
        if array.ndim == 0 or (length is not None and array.shape[-1] != length):
            raise ValueError(f"{name} must have shape [..., {length}], got {list(array.shape)}")
    components = arrays.shape.shape[-1]
    if components > model.shape_size:
        raise ValueError(f"the model has {model.shape_size} shape components, got shape with {components}")
    return arrays


def _forward_flat(model: HandModel, parameters: _Parameters) -> HandMesh:
    """One chunk of hands, parameters [hands, ...]."""
    components = parameters.shape.shape[-1]
    angles = jnp.concatenate([parameters.rotation, parameters.pose], axis=-1).reshape(-1, 16, 3)
    rotations = axis_angle_to_matrix(angles)

    features = (rotations[:, 1:] - jnp.eye(3, dtype=model.dtype)[None, None]).reshape(-1, CORRECTIVE_SIZE)
    features = jnp.concatenate([features, parameters.shape], axis=-1)
    blend_basis = model.blend_basis[: CORRECTIVE_SIZE + components]
    rest = model.template.T[None] + jnp.einsum("nk,kcv->ncv", features, blend_basis, precision=PRECISION)
    rest_joints = model.joint_template[None] + jnp.einsum(
        "nk,kjc->njc", parameters.shape, model.joint_shape_basis[:components], precision=PRECISION
    )

    chain_rotations, joints = _kinematic_chain(model.parents, rotations, rest_joints, parameters.translation)
    # x -> R (x - J_rest) + J_posed, for each joint; skinning averages these maps, not the rotations alone.
    offsets = joints - jnp.einsum("njcd,njd->njc", chain_rotations, rest_joints, precision=PRECISION)
    maps = jnp.concatenate([chain_rotations, offsets[..., None]], axis=-1).reshape(-1, 16, 12)
    blended = jnp.einsum("njk,vj->nkv", maps, model.skinning_weights, precision=PRECISION)
    x, y, z = rest[:, 0], rest[:, 1], rest[:, 2]
    planes = [
        blended[:, 4 * c] * x + blended[:, 4 * c + 1] * y + blended[:, 4 * c + 2] * z + blended[:, 4 * c + 3]
        for c in range(3)
    ]
    return HandMesh(vertices=jnp.stack(planes, axis=-1), joints=joints, joint_rotations=chain_rotations)


def _kinematic_chain(
    parents: tuple[int, ...],
    rotations: Float[Array, "hands 16 3 3"],
    rest_joints: Float[Array, "hands 16 3"],
    translation: Float[Array, "hands 3"],
) -> tuple[Float[Array, "hands 16 3 3"], Float[Array, "hands 16 3"]]:
    """Rotations and positions of all joints in the world; the tree is walked level by level, a level at once."""
    levels = _tree_levels(parents)
    order = np.concatenate(levels)
    world_rotations = [rotations[:, levels[0]]]
    positions = [rest_joints[:, levels[0]] + translation[:, None]]
    for previous, level in itertools.pairwise(levels):
        joint_parents = np.asarray(parents)[level]
        slots = np.searchsorted(previous, joint_parents)
        parent_rotations = world_rotations[-1][:, slots]
        bones = rest_joints[:, level] - rest_joints[:, joint_parents]
        world_rotations.append(
            jnp.einsum("njab,njbc->njac", parent_rotations, rotations[:, level], precision=PRECISION)
        )
        positions.append(
            positions[-1][:, slots] + jnp.einsum("njab,njb->nja", parent_rotations, bones, precision=PRECISION)
        )
    back = np.argsort(order)
    return jnp.concatenate(world_rotations, axis=1)[:, back], jnp.concatenate(positions, axis=1)[:, back]


def _tree_levels(parents: tuple[int, ...]) -> list[Int[np.ndarray, " joints"]]:
    """Joints by their distance from the root, each level sorted. Parents come before children (checked on load)."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return [np.flatnonzero(np.asarray(depth) == level) for level in range(max(depth) + 1)]
