"""Random hands of known truth before a camera, and their keypoints."""

import functools
from typing import NamedTuple

import jax
import numpy as np

import mano_jax
from mano_jax import anatomy

CAMERA = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]], np.float32)
keypoints = jax.jit(mano_jax.keypoints)


class Hands(NamedTuple):
    """True hands: keypoints [hands, 21, 3] in metres, camera frame, and shape coefficients."""

    joints: np.ndarray
    shape: np.ndarray


@functools.cache
def models() -> dict[str, mano_jax.HandModel]:
    return {side: mano_jax.open_hand(side) for side in ("left", "right")}


def random_hands(count: int, seed: int, side: str = "right", shape: np.ndarray | None = None) -> Hands:
    """Poses and shapes of the model's own statistics, within its limits; any rotation, 0.4 to 0.8 m away."""
    random = np.random.default_rng(seed)
    model = models()[side]
    coefficients = random.normal(size=(count, 45)) * np.asarray(model.pose_standard_deviations)
    pose = anatomy.clip_to_limits(model, mano_jax.pose_from_coefficients(model, coefficients.astype(np.float32)))
    shapes = np.clip(random.normal(size=(count, 10)), -2.0, 2.0) if shape is None else np.tile(shape, (count, 1))
    axes = random.normal(size=(count, 3))
    rotation = axes / np.linalg.norm(axes, axis=1, keepdims=True) * random.uniform(0.0, np.pi, (count, 1))
    translation = random.uniform([-0.1, -0.1, 0.4], [0.1, 0.1, 0.8], (count, 3))
    parameters = [array.astype(np.float32) for array in (shapes, rotation, translation)]
    return Hands(np.asarray(keypoints(model, pose, *parameters)), parameters[0])


def seen(joints: np.ndarray, K: np.ndarray = CAMERA) -> np.ndarray:
    """Exact image keypoints [..., 21, 3] (u px, v px, confidence 1)."""
    images = joints @ K.T
    return with_confidence(images[..., :2] / images[..., 2:])


def with_confidence(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1).astype(np.float32)


def hard_problems(count: int, seed: int) -> np.ndarray:
    """Image keypoints with 4 px of noise, up to 10 of 21 missing, up to four 100 px off, hands partly out of frame."""
    random = np.random.default_rng(seed)
    points = seen(random_hands(count, seed).joints)
    points[..., :2] += 4.0 * random.normal(size=(count, 21, 2)) + 200.0 * random.normal(size=(count, 1, 2))
    points[..., 2] = random.uniform(0.2, 1.0, (count, 21))
    missing = random.random((count, 21)).argsort(1) < random.integers(0, 11, (count, 1))
    unknown = missing & (random.random((count, 1)) < 0.3)
    off = random.random((count, 21)).argsort(1) < random.integers(0, 5, (count, 1))
    points[..., :2] += np.where(off[..., None], 100.0 * random.normal(size=(count, 21, 2)), 0.0)
    points[..., 2] = np.where(missing, 0.0, points[..., 2])
    points[..., 0] = np.where(unknown, np.nan, points[..., 0])
    return points
