"""The calibration benchmark's own arithmetic: shares of a normal distribution, and its second camera."""

import numpy as np

from benchmarks.calibration import CAMERA, coverage, from_the_side, noisy_pixels


def test_shares_of_a_normal_distribution():
    errors = np.random.default_rng(0).normal(size=(2_000, 21, 3)) * np.array([1.0, 1.0, 2.0])
    np.testing.assert_allclose(coverage(errors, 1.0), [0.683, 0.683, 0.383], rtol=0.0, atol=0.01)
    np.testing.assert_allclose(coverage(errors, 2.0), [0.954, 0.954, 0.683], rtol=0.0, atol=0.01)


def test_the_second_camera_sees_each_hand_from_aside():
    joints = np.random.default_rng(1).normal(size=(3, 21, 3)) * 0.05 + [0.1, -0.1, 0.6]
    transforms = from_the_side(joints)
    aside = np.einsum("nab,nkb->nka", transforms[:, :3, :3], joints) + transforms[:, None, :3, 3]
    np.testing.assert_allclose(aside.mean(1)[:, :2], 0.0, atol=1e-9)
    np.testing.assert_allclose(aside.mean(1)[:, 2], joints.mean(1)[:, 2])
    # Depth has become a direction of the image.
    np.testing.assert_allclose(np.abs(np.diff(aside[..., 0])), np.abs(np.diff(joints[..., 2])))
    exact = noisy_pixels(joints, 0.0, np.random.default_rng(2)) @ np.eye(3)
    np.testing.assert_allclose(exact[..., 0], 600.0 * joints[..., 0] / joints[..., 2] + CAMERA[0, 2])
