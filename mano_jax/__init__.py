"""A differentiable hand model of MANO's form in pure JAX, with a licence-free hand that ships with it.

>>> import jax.numpy as jnp
>>> import mano_jax
>>> hand = mano_jax.open_hand("right")
>>> mesh = mano_jax.forward(hand, jnp.zeros((8, 45)), jnp.zeros(10), jnp.zeros(3), jnp.zeros(3))
>>> mesh.vertices.shape, mesh.joints.shape
((8, 778, 3), (8, 16, 3))
"""

from mano_jax.anatomy import (
    clip_to_limits,
    joint_angles,
    joint_axes,
    joint_limits,
    limit_penalty,
    pose_from_angles,
)
from mano_jax.contact import ContactSpheres, contact_depths, contact_energy, contact_spheres, separate
from mano_jax.files import load, save
from mano_jax.forward import HandMesh, forward, forward_from_matrices, keypoints, keypoints_from_mesh
from mano_jax.inverse_kinematics import HandSolution, solve_keypoint_sequence, solve_keypoints
from mano_jax.keypoints import (
    CANONICAL_FROM_ORDER,
    FINGERTIP_NAMES,
    FINGERTIP_VERTICES,
    KEYPOINT_NAMES,
    KEYPOINT_PARENTS,
    MODEL_JOINT_NAMES,
    MODEL_PARENTS,
    reorder_keypoints,
)
from mano_jax.mirror import mirror_model, mirror_points, mirror_rotations
from mano_jax.model import HandModel, Topology
from mano_jax.official_files import save_mano, with_left_shape
from mano_jax.open_hand_model import OpenHandUV, open_hand, open_hand_uv
from mano_jax.pose_prior import PosePrior, squared_mahalanobis
from mano_jax.pose_representations import pose_as, pose_from
from mano_jax.pose_sampling import sample_poses
from mano_jax.pose_space import coefficients_from_pose, pose_from_coefficients
from mano_jax.regressor import keypoint_regressor, regress_keypoints
from mano_jax.skinned_export import skinned_glb, write_skinned_glb
from mano_jax.surface import PART_NAMES, closed_faces, face_parts, vertex_normals, vertex_parts
from mano_jax.transforms import centre_on, joint_transforms, rigid, skinning_transforms
from mano_jax.two_hands import two_hands
from mano_jax.vertex_kinematics import solve_vertices

__all__ = [
    "CANONICAL_FROM_ORDER",
    "FINGERTIP_NAMES",
    "FINGERTIP_VERTICES",
    "KEYPOINT_NAMES",
    "KEYPOINT_PARENTS",
    "MODEL_JOINT_NAMES",
    "MODEL_PARENTS",
    "PART_NAMES",
    "ContactSpheres",
    "HandMesh",
    "HandModel",
    "HandSolution",
    "OpenHandUV",
    "PosePrior",
    "Topology",
    "centre_on",
    "clip_to_limits",
    "closed_faces",
    "coefficients_from_pose",
    "contact_depths",
    "contact_energy",
    "contact_spheres",
    "face_parts",
    "forward",
    "forward_from_matrices",
    "joint_angles",
    "joint_axes",
    "joint_limits",
    "joint_transforms",
    "keypoint_regressor",
    "keypoints",
    "keypoints_from_mesh",
    "limit_penalty",
    "load",
    "mirror_model",
    "mirror_points",
    "mirror_rotations",
    "open_hand",
    "open_hand_uv",
    "pose_as",
    "pose_from",
    "pose_from_angles",
    "pose_from_coefficients",
    "regress_keypoints",
    "reorder_keypoints",
    "rigid",
    "sample_poses",
    "save",
    "save_mano",
    "separate",
    "skinned_glb",
    "skinning_transforms",
    "solve_keypoint_sequence",
    "solve_keypoints",
    "solve_vertices",
    "squared_mahalanobis",
    "two_hands",
    "vertex_normals",
    "vertex_parts",
    "with_left_shape",
    "write_skinned_glb",
]
