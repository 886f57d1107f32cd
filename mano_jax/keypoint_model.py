"""The 21 keypoints as a function of a hand's parameters, with their Jacobian in closed form: what fits are made of."""

import dataclasses
import functools
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mano_jax import anatomy
from mano_jax.forward import forward, keypoints_from_mesh
from mano_jax.keypoints import CANONICAL_FROM_MODEL_AND_TIPS, KEYPOINT_PARENTS
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION, left_jacobian

ANGLES = 45
GLOBAL = 6

# The tables of indices are unsigned: JAX 0.10 keeps a converted copy of an array of signed ones, which no longer
# fits once 64-bit mode is switched on.

# Joints of each finger, thumb first, as rows of the 15 finger joints (the model's order without the wrist).
_FINGER_JOINTS = (np.array([12, 0, 3, 9, 6])[:, None] + np.arange(3)[None]).astype(np.uint8)
# From angles ordered thumb, index, middle, ring, little to the model's index, middle, little, ring, thumb.
_CANONICAL_ANGLES = (np.array([1, 2, 4, 3, 0])[:, None] * 9 + np.arange(9)[None]).reshape(45).astype(np.uint8)
# Model joint at the near end of each of the 20 bones, in canonical order.
_BONE_JOINTS = np.array(CANONICAL_FROM_MODEL_AND_TIPS)[list(KEYPOINT_PARENTS[1:])].astype(np.uint8)


class HandParameters(NamedTuple):
    """One hand: what `forward` takes, the pose as anatomical angles.

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


@functools.partial(jax.tree_util.register_dataclass, data_fields=("tips_model", "axes"), meta_fields=("tips",))
@dataclasses.dataclass(frozen=True)
class KeypointModel:
    """What a fit to keypoints needs of a hand model: five vertices, 16 joints, the anatomical axes."""

    tips_model: HandModel
    axes: Float[Array, "15 3 3"]
    tips: str

    @classmethod
    def of(cls, model: HandModel, tips: str) -> "KeypointModel":
        return cls(tips_model=model.at_vertices(model.fingertips(tips)), axes=anatomy.joint_axes(model), tips=tips)

    def pose(self, angles: Float[Array, "45"]) -> Float[Array, "45"]:
        """Pose vector (axis-angle from the flat hand) of anatomical angles."""
        return jnp.einsum("jab,ja->jb", self.axes, angles.reshape(15, 3), precision=PRECISION).reshape(45)

    def points(self, parameters: HandParameters) -> Float[Array, "21 3"]:
        """Canonical keypoints, metres."""
        return self._posed(parameters)[0]

    def _posed(self, parameters: HandParameters) -> tuple[Float[Array, "21 3"], Float[Array, "16 3 3"]]:
        pose = self.pose(parameters.angles)
        mesh = forward(self.tips_model, pose, parameters.shape, parameters.rotation, parameters.translation)
        return keypoints_from_mesh(self.tips_model, mesh, self.tips), mesh.joint_rotations

    def points_and_jacobian(
        self, parameters: HandParameters
    ) -> tuple[Float[Array, "21 3"], Float[Array, "21 3 parameters"]]:
        """Keypoints, and their derivatives by the flat parameters in closed form.

        A turn about an axis w at a joint moves each point beyond it by w x (point - joint). The Jacobian is that of a
        skeleton whose fingertips ride rigidly on the last bone: the few tenths of a millimetre by which pose
        correctives and skinning move a tip are in the points, but not in their derivatives.
        """
        points, rotations = self._posed(parameters)
        fingers = points[1:].reshape(5, 4, 3)
        by_rotation = _cross_columns(left_jacobian(parameters.rotation)[None], points - points[:1])
        by_translation = jnp.broadcast_to(jnp.eye(3, dtype=points.dtype)[None], (21, 3, 3))
        by_angle = self._by_angle(parameters.angles, fingers, rotations)
        by_shape = self._by_shape(rotations)
        return points, jnp.concatenate([by_rotation, by_translation, by_shape, by_angle], axis=-1)

    def _by_angle(
        self, angles: Float[Array, "45"], fingers: Float[Array, "5 4 3"], rotations: Float[Array, "16 3 3"]
    ) -> Float[Array, "21 3 45"]:
        vectors = self.pose(angles).reshape(15, 3)
        parents = rotations[np.asarray(self.tips_model.parents[1:])]
        # World axes of the three angles of each joint, in columns.
        spatial = jnp.einsum("jab,jbc->jac", parents, left_jacobian(vectors), precision=PRECISION)
        turns = jnp.einsum("jab,jcb->jac", spatial, self.axes, precision=PRECISION)[_FINGER_JOINTS]
        levers = fingers[:, :, None] - fingers[:, None, :3]  # finger, point, joint
        levers = jnp.where((np.arange(4)[:, None] > np.arange(3)[None])[None, ..., None], levers, 0.0)
        own = _cross_columns(jnp.broadcast_to(turns[:, None], (5, 4, 3, 3, 3)), levers)
        own = own.transpose(0, 1, 3, 2, 4).reshape(5, 4, 3, 9)
        # Each finger's nine angles move its own points only.
        blocks = jnp.eye(5, dtype=own.dtype)[:, None, None, :, None] * own[:, :, :, None, :]
        rows = blocks.reshape(20, 3, 45)[:, :, _CANONICAL_ANGLES]
        return jnp.concatenate([jnp.zeros((1, 3, 45), own.dtype), rows])

    def _by_shape(self, rotations: Float[Array, "16 3 3"]) -> Float[Array, "21 3 shapes"]:
        model = self.tips_model
        basis = model.joint_shape_basis.transpose(1, 2, 0)
        tips = model.shape_basis[np.asarray(model.fingertips(self.tips))]
        rest = jnp.concatenate([basis, tips])[np.asarray(CANONICAL_FROM_MODEL_AND_TIPS)]
        bones = rest[1:] - rest[np.asarray(KEYPOINT_PARENTS[1:])]
        # A bone turns with the joint at its near end.
        frames = rotations[_BONE_JOINTS]
        turned = jnp.einsum("kab,kbs->kas", frames, bones, precision=PRECISION).reshape(5, 4, 3, -1)
        along = jnp.cumsum(turned, axis=1).reshape(20, 3, -1) + rest[:1]
        return jnp.concatenate([rest[:1], along])


def _cross_columns(
    axes: Float[Array, "*batch 3 columns"], levers: Float[Array, "*batch 3"]
) -> Float[Array, "*batch 3 columns"]:
    """Each column of `axes` crossed with its lever."""
    x, y, z = axes[..., 0, :], axes[..., 1, :], axes[..., 2, :]
    lx, ly, lz = levers[..., 0, None], levers[..., 1, None], levers[..., 2, None]
    return jnp.stack([y * lz - z * ly, z * lx - x * lz, x * ly - y * lx], axis=-2)
