"""Posing and skinning of a chunk of hands (MANO's definitions), laid out for speed.

The small matrices of the kinematic chain have the hands last, [joints, 3, 4, hands], and the coordinates of a mesh lie
in planes [hands, 3, vertices], so that both are worked on many numbers at a time. XLA fuses what is elementwise into
what consumes it, on a CPU even where that turns long vector loops into scalar ones: into a concatenation's pieces, and
into a transposed reading. Hence some products with constants where one would write a stack.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mano_jax.keypoints import CANONICAL_FROM_MODEL_AND_TIPS
from mano_jax.model import CORRECTIVE_SIZE, HandModel
from mano_jax.rotations import PRECISION

FEW_VERTICES = 64
"""Up to this many vertices are skinned with the hands last, as the chain is; more of them in planes."""


class HandMesh(NamedTuple):
    """Posed hands, metres. Joints are the 16 of the kinematic chain, in MANO's order.

    `joint_rotations` turn directions at rest into directions now: the axes of a joint's frame are its columns.
    """

    vertices: Float[Array, "*batch vertices 3"]
    joints: Float[Array, "*batch 16 3"]
    joint_rotations: Float[Array, "*batch 16 3 3"]


def posed_mesh(
    model: HandModel,
    turns: Float[Array, "16 3 3 hands"],
    shape: Float[Array, "hands shapes"],
    translation: Float[Array, "hands 3"],
) -> HandMesh:
    """One chunk of hands: blend shapes, joints of the shaped template, kinematic chain, linear blend skinning.

    `turns` are the joints' own rotations less the identity, which are also the features of the pose correctives.
    """
    chain = _posed_joints(model, turns, shape, translation)
    if model.template.shape[0] <= FEW_VERTICES:
        vertices = _skinned_points(model, turns, shape, chain).transpose(2, 0, 1)
    else:
        vertices = _skinned_planes(model, turns, shape, chain)
    return HandMesh(vertices, chain.joints.transpose(2, 0, 1), chain.rotations.transpose(3, 0, 1, 2))


def posed_keypoints(
    model: HandModel,
    turns: Float[Array, "16 3 3 hands"],
    shape: Float[Array, "hands shapes"],
    translation: Float[Array, "hands 3"],
) -> Float[Array, "hands 21 3"]:
    """The canonical keypoints of a model that is the five fingertips, thumb first; otherwise as `posed_mesh`."""
    chain = _posed_joints(model, turns, shape, translation)
    points = jnp.concatenate([chain.joints, _skinned_points(model, turns, shape, chain)])
    # Permuted by a product, into which nothing is fused, so that the transpose reads finished numbers.
    order = np.eye(21, dtype=points.dtype)[np.asarray(CANONICAL_FROM_MODEL_AND_TIPS)]
    return jnp.einsum("pq,qcn->pcn", order, points, precision=PRECISION).transpose(2, 0, 1)


class _Chain(NamedTuple):
    """Posed joints. A point x at rest, carried by one joint, goes to rotation @ x + offset."""

    joints: Float[Array, "16 3 hands"]
    rotations: Float[Array, "16 3 3 hands"]
    offsets: Float[Array, "16 3 hands"]


def _posed_joints(
    model: HandModel,
    turns: Float[Array, "16 3 3 hands"],
    shape: Float[Array, "hands shapes"],
    translation: Float[Array, "hands 3"],
) -> _Chain:
    """The kinematic chain from the joints of the shaped template; the tree is walked a level at a time."""
    rest = model.joint_template[:, :, None] + jnp.einsum(
        "kjc,nk->jcn", model.joint_shape_basis[: shape.shape[1]], shape, precision=PRECISION
    )
    levels = _tree_levels(model.parents)
    identity = jnp.eye(3, dtype=turns.dtype)[None, :, :, None]
    rotations = [identity + _joints(turns, levels[0])]
    joints = [_joints(rest, levels[0]) + translation.T[None]]
    for previous, level in itertools.pairwise(levels):
        parents = np.asarray(model.parents)[level]
        slots = np.searchsorted(previous, parents)
        above, own = _joints(rotations[-1], slots), _joints(turns, level)
        bones = _joints(rest, level) - _joints(rest, parents)
        joints.append(_joints(joints[-1], slots) + _turned(above, bones))
        rotations.append(above + sum(above[:, :, axis, None] * own[:, None, axis] for axis in range(3)))
    back = np.argsort(np.concatenate(levels))
    joints, rotations = jnp.concatenate(joints)[back], jnp.concatenate(rotations)[back]
    return _Chain(joints, rotations, joints - _turned(rotations, rest))


def _turned(
    rotations: Float[Array, "joints 3 3 hands"], vectors: Float[Array, "joints 3 hands"]
) -> Float[Array, "joints 3 hands"]:
    x, y, z = (rotations[:, :, axis] * vectors[:, None, axis] for axis in range(3))
    return x + y + z


def _skinned_points(
    model: HandModel, turns: Float[Array, "16 3 3 hands"], shape: Float[Array, "hands shapes"], chain: _Chain
) -> Float[Array, "vertices 3 hands"]:
    """Blended and skinned vertices, for a few of them."""
    basis = model.blend_basis.transpose(0, 2, 1)
    # Zero rows for the wrist, so that `turns` is taken whole: a slice of it would be computed a second time.
    poses = jnp.pad(basis[:CORRECTIVE_SIZE], ((9, 0), (0, 0), (0, 0)))
    shapes = basis[CORRECTIVE_SIZE:][: shape.shape[1]]
    product = functools.partial(jnp.einsum, precision=PRECISION, preferred_element_type=model.dtype)
    rest = (
        model.template[:, :, None]
        + product("kvc,kn->vcn", poses, turns.reshape(9 * 16, turns.shape[-1]).astype(poses.dtype))
        + product("kvc,nk->vcn", shapes, shape.astype(shapes.dtype))
    )
    rotations = product("vj,jrcn->vrcn", model.skinning_weights, chain.rotations)
    return product("vj,jcn->vcn", model.skinning_weights, chain.offsets) + _turned(rotations, rest)


def _skinned_planes(
    model: HandModel, turns: Float[Array, "16 3 3 hands"], shape: Float[Array, "hands shapes"], chain: _Chain
) -> Float[Array, "hands vertices 3"]:
    """Blended and skinned vertices, for a whole mesh."""
    hands, components = shape.shape
    features = jnp.concatenate([turns[1:].reshape(CORRECTIVE_SIZE, hands).T, shape], axis=-1)
    # The basis may be of lower precision than the rest (`HandModel.with_bases`); sums are not.
    basis = model.blend_basis[: CORRECTIVE_SIZE + components]
    # A matrix, not [blends, 3, vertices]: of that the backward pass would make a transposed copy.
    basis = basis.reshape(CORRECTIVE_SIZE + components, 3 * basis.shape[-1])
    blended = jnp.einsum(
        "nk,km->nm", features.astype(basis.dtype), basis, precision=PRECISION, preferred_element_type=model.dtype
    )
    rest = model.template.T[None] + blended.reshape(hands, 3, model.template.shape[0])
    maps = jnp.concatenate([chain.rotations.transpose(0, 2, 1, 3), chain.offsets[:, None]], axis=1)
    maps = maps.reshape(16, 12, hands).transpose(2, 1, 0)
    skinning = jnp.einsum("nkj,vj->nkv", maps, model.skinning_weights, precision=PRECISION)
    # Split, not sliced: the transpose of a slice is a padded array, and sums of those are slow.
    *columns, offsets = jax.lax.split(skinning, (3, 3, 3, 3), axis=1)
    coordinates = jax.lax.split(rest, (1, 1, 1), axis=1)
    planes = offsets + sum(column * coordinate for column, coordinate in zip(columns, coordinates, strict=True))
    return jnp.stack(jnp.unstack(planes, axis=1), axis=-1)


def _joints(array: Float[Array, "joints *rest"], index: np.ndarray) -> Float[Array, "some *rest"]:
    """Some joints of an array; by a slice where they are evenly spaced, as in MANO's tree, which costs less."""
    steps = np.unique(np.diff(index))
    if len(index) > 1 and len(steps) == 1 and steps[0] > 0:
        return jax.lax.slice_in_dim(array, int(index[0]), int(index[-1]) + 1, int(steps[0]))
    if len(index) and not np.diff(index).any():
        return jnp.broadcast_to(array[int(index[0])][None], (len(index), *array.shape[1:]))
    return array[index]


def _tree_levels(parents: tuple[int, ...]) -> list[Int[np.ndarray, " joints"]]:
    """Joints by their distance from the root, each level sorted. Parents come before children (checked on load)."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return [np.flatnonzero(np.asarray(depth) == level) for level in range(max(depth) + 1)]
