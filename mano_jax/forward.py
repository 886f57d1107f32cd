"""The hand function: pose, shape, rotation and translation -> mesh and joints (MANO's definitions).

Every function takes leading batch axes, which broadcast. Large batches are cut into chunks that are recomputed in the
backward pass: the skinning transforms of a large batch do not fit a cache, and that product is what the whole function
costs. What happens in a chunk is in `mano_jax.skinning`.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from mano_jax.keypoints import CANONICAL_FROM_MODEL_AND_TIPS
from mano_jax.model import POSE_SIZE, HandModel
from mano_jax.rotations import rotation_minus_identity
from mano_jax.skinning import HandMesh, posed_keypoints, posed_mesh

Result = TypeVar("Result")

CHUNK_SIZE = 128
"""Whole hands evaluated at once; larger batches are cut into chunks of this size."""
LARGEST_CHUNK = 1024
"""The same for hands of few vertices."""


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
    return _evaluate(model, posed_mesh, _axis_angles, _axis_angle_rows(model, pose, rotation), shape, translation)


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
    rows = rotations.reshape(*rotations.shape[:-3], 144)

    def turns(rows: Float[Array, "hands 144"]) -> Float[Array, "16 3 3 hands"]:
        identity = np.eye(3, dtype=rows.dtype)[None, :, :, None]
        return rows.T.reshape(16, 3, 3, rows.shape[0]) - identity

    return _evaluate(model, posed_mesh, turns, (rows,), shape, translation)


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
    rows = _axis_angle_rows(model, pose, rotation)
    return _evaluate(tips_only, posed_keypoints, _axis_angles, rows, shape, translation)


def keypoints_from_mesh(model: HandModel, mesh: HandMesh, tips: str = "745") -> Float[Array, "*batch 21 3"]:
    """The 21 keypoints of hands already posed by `forward`, in canonical order, metres."""
    fingertips = mesh.vertices[..., np.asarray(model.fingertips(tips)), :]
    points = jnp.concatenate([mesh.joints, fingertips], axis=-2)
    return points[..., np.asarray(CANONICAL_FROM_MODEL_AND_TIPS), :]


def _axis_angle_rows(model: HandModel, pose: ArrayLike, rotation: ArrayLike) -> tuple[Array, Array]:
    return _checked(model, rotation, "rotation", 3), _checked(model, pose, "pose", POSE_SIZE)


def _axis_angles(rotation: Float[Array, "hands 3"], pose: Float[Array, "hands 45"]) -> Float[Array, "16 3 3 hands"]:
    # Transposed before they are put together: the concatenation is what keeps the transpose out of all that follows.
    return rotation_minus_identity(jnp.concatenate([rotation.T, pose.T]).reshape(16, 3, pose.shape[0]))


def _broadcast(leaf: Float[Array, "..."], batch: tuple[int, ...]) -> Float[Array, "..."]:
    """Leading axes of `leaf` broadcast to `batch`, ranks made equal first (JAX may be told to refuse otherwise)."""
    missing = len(batch) + 1 - leaf.ndim
    return jnp.broadcast_to(leaf.reshape((1,) * missing + leaf.shape), (*batch, leaf.shape[-1]))


def _evaluate(
    model: HandModel,
    posed: Callable[..., Result],
    turns: Callable[..., Float[Array, "16 3 3 hands"]],
    pose: tuple[Float[Array, "*#batch numbers"], ...],
    shape: Float[ArrayLike, "*#batch shapes"],
    translation: Float[ArrayLike, "*#batch 3"],
) -> Result:
    """`posed`, of `mano_jax.skinning`, over broadcast batch axes; `turns` are the local rotations in rows of `pose`."""
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
    result = _in_chunks(lambda shape, shift, *pose: posed(model, turns(*pose), shape, shift), flat, chunk_size)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), result)


def _checked(model: HandModel, array: Float[ArrayLike, "..."], name: str, length: int | None) -> Float[Array, "..."]:
    array = jnp.asarray(array, model.dtype)
    if array.ndim == 0 or (length is not None and array.shape[-1] != length):
        raise ValueError(f"{name} must have shape [..., {length or 'components'}], got {list(array.shape)}")
    return array


def _in_chunks(
    function: Callable[..., Result], flat: tuple[Float[Array, "hands numbers"], ...], chunk_size: int
) -> Result:
    """`function` over [hands, ...] arrays, chunk_size hands at a time, each recomputed in the backward pass."""
    size = flat[0].shape[0]
    if size <= chunk_size:
        return function(*flat)
    padding = -size % chunk_size
    count = (size + padding) // chunk_size
    chunks = tuple(jnp.pad(leaf, ((0, padding), (0, 0))).reshape(count, chunk_size, leaf.shape[-1]) for leaf in flat)
    result = jax.lax.map(jax.checkpoint(lambda chunk: function(*chunk)), chunks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], result)
