"""A differentiable hand model of MANO's form in pure JAX, with a licence-free hand that ships with it.

>>> import jax.numpy as jnp
>>> import mano_jax
>>> hand = mano_jax.open_hand("right")
>>> mesh = mano_jax.forward(hand, jnp.zeros((8, 45)), jnp.zeros(10), jnp.zeros(3), jnp.zeros(3))
>>> mesh.vertices.shape, mesh.joints.shape
((8, 778, 3), (8, 16, 3))
"""

from mano_jax.anatomy import joint_angles, joint_axes, joint_limits, pose_from_angles
from mano_jax.files import load, save
from mano_jax.forward import HandMesh, forward, keypoints, keypoints_from_mesh
from mano_jax.keypoints import (
    FINGERTIP_NAMES,
    FINGERTIP_VERTICES,
    KEYPOINT_NAMES,
    KEYPOINT_PARENTS,
    MODEL_JOINT_NAMES,
    MODEL_PARENTS,
)
from mano_jax.mirror import mirror_model, mirror_points, mirror_rotations
from mano_jax.model import HandModel, Topology
from mano_jax.open_hand_model import open_hand
from mano_jax.pose_space import coefficients_from_pose, pose_from_coefficients

__all__ = [
    "FINGERTIP_NAMES",
    "FINGERTIP_VERTICES",
    "KEYPOINT_NAMES",
    "KEYPOINT_PARENTS",
    "MODEL_JOINT_NAMES",
    "MODEL_PARENTS",
    "HandMesh",
    "HandModel",
    "Topology",
    "coefficients_from_pose",
    "forward",
    "joint_angles",
    "joint_axes",
    "joint_limits",
    "keypoints",
    "keypoints_from_mesh",
    "load",
    "mirror_model",
    "mirror_points",
    "mirror_rotations",
    "open_hand",
    "pose_from_angles",
    "pose_from_coefficients",
    "save",
]
