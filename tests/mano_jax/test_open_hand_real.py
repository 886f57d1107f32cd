"""The open hand has the freedom of a real one: it is fitted to the joints of one subject's hand, frame by frame."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

import mano_jax
from mano_jax.open_hand_model import measures

ROOTS = [0, 1, 5, 9, 13, 17]  # wrist and first joints, which show how the palm is turned


def aligned_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[21] distances after the best rotation, translation and scale (Umeyama 1991)."""
    found, truth = found - found.mean(0), truth - truth.mean(0)
    u, values, vt = np.linalg.svd(found.T @ truth)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = np.sum(values * signs) / np.sum(found**2)
    return np.linalg.norm(scale * found @ (u * signs) @ vt - truth, axis=-1)


@pytest.mark.slow
def test_true_joints_are_met_within_limits_and_three_sigma(real_data):
    """At most 2.0 mm, mean over joints, then frames; shape within +-3, joints within their limits."""
    photos = json.loads((real_data / "real_photos" / "annotations.json").read_text())["photos"]
    truth = np.array([photo["joints_camera_m"] for photo in photos]) * 1000
    truth[:, :, 0] *= -1  # a left hand, fitted as its mirror image
    hand = mano_jax.open_hand("right")
    axes = jnp.asarray(measures.joint_axes()[1:], jnp.float32)
    limits = measures.joint_limits()[1:].reshape(45, 2)

    def keypoints(parameters):
        angles, shape, rotation, shift, log_scale = jnp.split(parameters, [45, 55, 58, 61])
        pose = jnp.einsum("ja,jac->jc", angles.reshape(15, 3), axes).reshape(45)
        points = mano_jax.keypoints(hand, pose, shape, rotation, jnp.zeros(3)) * 1000
        return (points - points.mean(0, keepdims=True)) * jnp.exp(log_scale)[:, None] + shift[None]

    @jax.jit
    def residuals(parameters, wanted):
        return jnp.concatenate([(keypoints(parameters) - wanted).ravel(), 0.05 * parameters[:55]])

    jacobian = jax.jit(jax.jacfwd(residuals))
    free = np.full(7, 1e3)
    low = np.concatenate([limits[:, 0], np.full(10, -3.0), -free])
    high = np.concatenate([limits[:, 1], np.full(10, 3.0), free])
    errors = []
    for wanted in truth - truth.mean(1, keepdims=True):
        wanted32 = jnp.asarray(wanted, jnp.float32)
        tries = []

        def derivative(x, wanted=wanted32):
            return np.asarray(jacobian(jnp.asarray(x, jnp.float32), wanted), np.float64)

        for curl in (0.15, 0.7):
            start = np.zeros(62)
            start[0:45:3] = curl
            points = np.asarray(keypoints(jnp.asarray(start, jnp.float32)))
            turn = Rotation.align_vectors(wanted[ROOTS] - wanted[0], points[ROOTS] - points[0])[0]
            start[55:58] = turn.as_rotvec()
            result = least_squares(
                lambda x, wanted=wanted32: np.asarray(residuals(jnp.asarray(x, jnp.float32), wanted), np.float64),
                np.clip(start, low + 1e-6, high - 1e-6),
                jac=derivative,  # pyright: ignore[reportArgumentType]: SciPy's stubs know strings only
                bounds=(low, high),
                x_scale="jac",
                max_nfev=60,
            )
            tries.append(aligned_errors(np.asarray(keypoints(jnp.asarray(result.x, jnp.float32))), wanted).mean())
        errors.append(min(tries))
    assert np.mean(errors) <= 2.0, np.round(errors, 2)
