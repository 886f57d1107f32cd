"""Posing in NumPy float64: rotations, the chain of joints, linear blend skinning. Used while the model is made only."""

import numpy as np

from mano_jax.open_hand_model.measures import PARENTS


def rotation_matrices(axis_angles: np.ndarray) -> np.ndarray:
    """[..., 3] axis-angle -> [..., 3, 3] (Rodrigues; sinc keeps zero exact)."""
    angle = np.linalg.norm(axis_angles, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angles, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    half = np.sinc(angle / (2 * np.pi))
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * half**2 * (cross @ cross)


def joint_transforms(rotations: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [P, 16, 3, 3], rest joints [16, 3] -> R [P, 16, 3, 3], t [P, 16, 3]: rest point p goes to R p + t."""
    turned, moved = np.empty_like(rotations), np.empty(rotations.shape[:-1])
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            turned[:, joint] = rotations[:, joint]
            moved[:, joint] = joints[joint]
        else:
            turned[:, joint] = turned[:, parent] @ rotations[:, joint]
            moved[:, joint] = moved[:, parent] + turned[:, parent] @ (joints[joint] - joints[parent])
    return turned, moved - np.einsum("pjab,jb->pja", turned, joints)


def skin(points: np.ndarray, weights: np.ndarray, turned: np.ndarray, moved: np.ndarray):
    """Skinned points [P, V, 3] of rest points [V, 3] or [P, V, 3], and the blended matrices [P, V, 3, 3]."""
    blended = np.einsum("vj,pjab->pvab", weights, turned)
    placed = np.einsum("pvab,pvb->pva", blended, np.broadcast_to(points, (len(turned), *points.shape[-2:])))
    return placed + np.einsum("vj,pja->pva", weights, moved), blended
