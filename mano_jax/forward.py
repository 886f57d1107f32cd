"""The hand function: pose, shape, rotation and translation -> mesh and joints (MANO's definitions).

Blend shapes, joints of the shaped template, kinematic chain, linear blend skinning. Every function takes leading batch
axes, which broadcast. Inside, coordinates are kept in planes [3, vertices], and the chain's small matrices element by
element with the hands last [3, 3, joints, hands], so that both are worked on many numbers at a time. Large batches are
cut into chunks that are recomputed in the backward pass: the skinning transforms of a large batch do not fit a cache,
and that product is what the whole function costs.
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
from mano_jax.rotations import PRECISION, rodrigues

CHUNK_SIZE = 128
"""Whole hands evaluated at once; larger batches are cut into chunks of this size."""
LARGEST_CHUNK = 1024
"""The same for hands of few vertices."""


class HandMesh(NamedTuple):
    """Posed hands, metres. Joints are the 16 of the kinematic chain, in MANO's order.

    `joint_rotations` turn directions at rest into directions now: the axes of a joint's frame are its columns.
    """

    vertices: Float[Array, "*batch vertices 3"]
    joints: Float[Array, "*batch 16 3"]
    joint_rotations: Float[Array, "*batch 16 3 3"]


def forward(
    model: HandModel,
    pose: Float[ArrayLike, "*#batch 45"],
    shape: Float[ArrayLike, "*#batch shapes"],
    rotation: Float[ArrayLike, "*#batch 3"],
    translation: Float[ArrayLike, "*#batch 3"],
) -> HandMesh:
    """Posed vertices and joints; computes in the model's dtype.

    One shape for many poses is blended once, not once a pose.

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
    pose, rotation = _checked(model, pose, "pose", POSE_SIZE), _checked(model, rotation, "rotation", 3)

    def rotations(pose: Float[Array, "hands 45"], rotation: Float[Array, "hands 3"]) -> Float[Array, "3 3 16 hands"]:
        vectors = jnp.concatenate([rotation, pose], axis=-1).T.reshape(16, 3, -1)
        rows = rodrigues(vectors[:, 0], vectors[:, 1], vectors[:, 2])
        return jnp.stack([jnp.stack(row) for row in rows])

    return _evaluate(model, rotations, (pose, rotation), shape, translation)


def forward_from_matrices(
    model: HandModel,
    rotations: Float[ArrayLike, "*#batch 16 3 3"],
    shape: Float[ArrayLike, "*#batch shapes"],
    translation: Float[ArrayLike, "*#batch 3"],
) -> HandMesh:
    """`forward` of rotation matrices: the wrist's, then those of the 15 finger joints, each relative to its parent.

    The matrices are used as they are; that they are rotations is not checked. Other representations go through
    `mano_jax.rotations` (quaternions, 6D) without a detour by axis-angle. Otherwise as `forward`.
    """
    rotations = jnp.asarray(rotations, model.dtype)
    if rotations.shape[-3:] != (16, 3, 3):
        raise ValueError(f"rotations must have shape [..., 16, 3, 3], got {list(rotations.shape)}")
    flat = rotations.reshape(*rotations.shape[:-3], 144)
    return _evaluate(model, lambda rows: rows.reshape(-1, 16, 3, 3).transpose(2, 3, 1, 0), (flat,), shape, translation)


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


def _evaluate(
    model: HandModel,
    rotations: Callable[..., Float[Array, "3 3 16 hands"]],
    pose: tuple[Float[Array, "*#batch numbers"], ...],
    shape: Float[ArrayLike, "*#batch shapes"],
    translation: Float[ArrayLike, "*#batch 3"],
) -> HandMesh:
    """The hand function over broadcast batch axes; `rotations` makes local rotations of the flat rows of `pose`."""
    shape, translation = _checked(model, shape, "shape", None), _checked(model, translation, "translation", 3)
    components = shape.shape[-1]
    if components > model.shape_size:
        raise ValueError(f"the model has {model.shape_size} shape components, got shape with {components}")
    batch = jnp.broadcast_shapes(*(leaf.shape[:-1] for leaf in (*pose, shape, translation)))
    size = math.prod(batch)
    if size > 1 and math.prod(shape.shape[:-1]) == 1:
        model, shape = model.shaped(shape.reshape(components)), jnp.zeros((0,), model.dtype)
    flat = tuple(_broadcast(leaf, batch).reshape(size, leaf.shape[-1]) for leaf in (shape, translation, *pose))
    chunk_size = min(LARGEST_CHUNK, CHUNK_SIZE * max(1, 778 // max(1, model.template.shape[0])))
    posed = lambda shape, translation, *pose: _posed(model, rotations(*pose), shape, translation)  # noqa: E731
    result = _in_chunks(posed, flat, chunk_size)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), result)


def _checked(model: HandModel, array: Float[ArrayLike, "..."], name: str, length: int | None) -> Float[Array, "..."]:
    array = jnp.asarray(array, model.dtype)
    if array.ndim == 0 or (length is not None and array.shape[-1] != length):
        raise ValueError(f"{name} must have shape [..., {length or 'components'}], got {list(array.shape)}")
    return array


def _in_chunks(
    function: Callable[..., HandMesh], flat: tuple[Float[Array, "hands numbers"], ...], chunk_size: int
) -> HandMesh:
    """`function` over [hands, ...] arrays, chunk_size hands at a time, each recomputed in the backward pass."""
    size = flat[0].shape[0]
    if size <= chunk_size:
        return function(*flat)
    padding = -size % chunk_size
    count = (size + padding) // chunk_size
    chunks = tuple(jnp.pad(leaf, ((0, padding), (0, 0))).reshape(count, chunk_size, leaf.shape[-1]) for leaf in flat)
    result = jax.lax.map(jax.checkpoint(lambda chunk: function(*chunk)), chunks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], result)


def _posed(
    model: HandModel,
    rotations: Float[Array, "3 3 16 hands"],
    shape: Float[Array, "hands shapes"],
    translation: Float[Array, "hands 3"],
) -> HandMesh:
    """One chunk of hands."""
    components, dtype = shape.shape[-1], model.dtype
    identity = jnp.eye(3, dtype=dtype)[:, :, None, None]
    features = (rotations[:, :, 1:] - identity).transpose(3, 2, 0, 1).reshape(-1, CORRECTIVE_SIZE)
    features = jnp.concatenate([features, shape], axis=-1)
    # The basis may be of lower precision than the rest (`HandModel.with_bases`); sums are not.
    basis = model.blend_basis[: CORRECTIVE_SIZE + components]
    blended = jnp.einsum(
        "nk,kcv->ncv", features.astype(basis.dtype), basis, precision=PRECISION, preferred_element_type=dtype
    )
    rest = model.template.T[None] + blended
    rest_joints = model.joint_template.T[:, :, None] + jnp.einsum(
        "nk,kjc->cjn", shape, model.joint_shape_basis[:components], precision=PRECISION
    )

    chain_rotations, joints = _kinematic_chain(model.parents, rotations, rest_joints, translation.T)
    # x -> R (x - J_rest) + J_posed, for each joint; skinning averages these maps, not the rotations alone.
    offsets = joints - jnp.sum(chain_rotations * rest_joints[None], axis=1)
    maps = jnp.concatenate([chain_rotations, offsets[:, None]], axis=1).transpose(3, 2, 0, 1).reshape(-1, 16, 12)
    blended = jnp.einsum("njk,vj->nkv", maps, model.skinning_weights, precision=PRECISION)
    x, y, z = rest[:, 0], rest[:, 1], rest[:, 2]
    planes = [
        blended[:, 4 * c] * x + blended[:, 4 * c + 1] * y + blended[:, 4 * c + 2] * z + blended[:, 4 * c + 3]
        for c in range(3)
    ]
    return HandMesh(
        vertices=jnp.stack(planes, axis=-1),
        joints=joints.transpose(2, 1, 0),
        joint_rotations=chain_rotations.transpose(3, 2, 0, 1),
    )


def _kinematic_chain(
    parents: tuple[int, ...],
    rotations: Float[Array, "3 3 16 hands"],
    rest_joints: Float[Array, "3 16 hands"],
    translation: Float[Array, "3 hands"],
) -> tuple[Float[Array, "3 3 16 hands"], Float[Array, "3 16 hands"]]:
    """Rotations and positions of all joints in the world; the tree is walked level by level, a level at once."""
    levels = _tree_levels(parents)
    world_rotations = [_joints(rotations, levels[0])]
    positions = [_joints(rest_joints, levels[0]) + translation[:, None]]
    for previous, level in itertools.pairwise(levels):
        joint_parents = np.asarray(parents)[level]
        slots = np.searchsorted(previous, joint_parents)
        parent_rotations, own = _joints(world_rotations[-1], slots), _joints(rotations, level)
        bones = _joints(rest_joints, level) - _joints(rest_joints, joint_parents)
        world_rotations.append(
            jnp.stack([sum(parent_rotations[:, b] * own[b, c][None] for b in range(3)) for c in range(3)], axis=1)
        )
        positions.append(_joints(positions[-1], slots) + sum(parent_rotations[:, b] * bones[b][None] for b in range(3)))
    back = np.argsort(np.concatenate(levels))
    return _joints(jnp.concatenate(world_rotations, axis=2), back), _joints(jnp.concatenate(positions, axis=1), back)


def _joints(
    array: Float[Array, "*dimensions joints hands"], index: np.ndarray
) -> Float[Array, "*dimensions some hands"]:
    """Some joints of an array; by a slice where they are evenly spaced, as in MANO's tree, which costs less."""
    axis, steps = array.ndim - 2, np.unique(np.diff(index))
    if len(index) > 1 and len(steps) == 1 and steps[0] > 0:
        return jax.lax.slice_in_dim(array, int(index[0]), int(index[-1]) + 1, int(steps[0]), axis)
    if len(index) and not np.diff(index).any():
        one = jax.lax.slice_in_dim(array, int(index[0]), int(index[0]) + 1, axis=axis)
        return jnp.broadcast_to(one, (*array.shape[:axis], len(index), array.shape[-1]))
    return array[..., index, :]


def _tree_levels(parents: tuple[int, ...]) -> list[Int[np.ndarray, " joints"]]:
    """Joints by their distance from the root, each level sorted. Parents come before children (checked on load)."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return [np.flatnonzero(np.asarray(depth) == level) for level in range(max(depth) + 1)]
