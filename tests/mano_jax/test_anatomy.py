"""Anatomical axes, signed angles and limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from mano_jax import anatomy, mirror_model, mirror_points
from tests.mano_jax.made_up_model import made_up_hand

RIGHT = mano_jax.open_hand("right")
LEFT = mirror_model(RIGHT)
FIRST_JOINTS = {"index": 0, "middle": 3, "little": 6, "ring": 9, "thumb": 12}  # rows of the 15 finger joints
TIPS = {"thumb": 4, "index": 8, "middle": 12, "ring": 16, "little": 20}  # of the 21 keypoints
NEXT_JOINTS = {"thumb": 2, "index": 6, "middle": 10, "ring": 14, "little": 18}

keypoints = jax.jit(lambda model, pose: mano_jax.keypoints(model, pose, jnp.zeros(10), jnp.zeros(3), jnp.zeros(3)))


def tip_motion(model, joint: int, axis: int, finger: str, angle: float = 0.3) -> np.ndarray:
    """Displacement of a fingertip when one angle changes, from the flat hand."""
    angles = np.zeros((2, 15, 3), np.float32)
    angles[1, joint, axis] = angle
    points = np.asarray(keypoints(model, anatomy.pose_from_angles(model, angles)))
    return points[1, TIPS[finger]] - points[0, TIPS[finger]]


@pytest.mark.parametrize("model", [RIGHT, LEFT, made_up_hand()], ids=["right", "left", "made up"])
def test_axes_are_orthonormal(model):
    axes = np.asarray(anatomy.joint_axes(model), np.float64)
    np.testing.assert_allclose(np.einsum("jab,jcb->jac", axes, axes), np.broadcast_to(np.eye(3), (15, 3, 3)), atol=1e-6)
    # Left axes are those of the mirror image, whose triads turn the other way round as the axes of rotations do.
    np.testing.assert_allclose(np.linalg.det(axes), 1.0, atol=1e-6)


def test_twist_runs_along_the_bones():
    axes = np.asarray(anatomy.joint_axes(RIGHT))
    points = np.asarray(keypoints(RIGHT, np.zeros(45)))
    for finger, first in FIRST_JOINTS.items():
        chain = points[TIPS[finger] - 3 : TIPS[finger] + 1]
        bones = np.diff(chain, axis=0)
        np.testing.assert_allclose(
            axes[first : first + 3, 2], bones / np.linalg.norm(bones, axis=1, keepdims=True), atol=1e-5
        )


@pytest.mark.parametrize("model", [RIGHT, LEFT], ids=["right", "left"])
@pytest.mark.parametrize("finger", FIRST_JOINTS)
def test_flexion_bends_towards_the_palm(model, finger):
    for knuckle in range(3):
        motion = tip_motion(model, FIRST_JOINTS[finger] + knuckle, 0, finger)
        if finger == "thumb":
            # Its nail faces sideways: flexion sweeps it across the palm, towards the little finger (-z).
            assert motion[2] < -0.002
            assert abs(motion[2]) > abs(motion[1])
        else:
            assert motion[1] < -0.002
            assert abs(motion[1]) > 2.0 * abs(motion[2])


@pytest.mark.parametrize("model", [RIGHT, LEFT], ids=["right", "left"])
@pytest.mark.parametrize("finger", FIRST_JOINTS)
def test_abduction_moves_to_the_thumbs_side_and_the_thumb_out_of_the_palm(model, finger):
    motion = tip_motion(model, FIRST_JOINTS[finger], 1, finger)
    if finger == "thumb":
        assert motion[1] < -0.01
        assert abs(motion[1]) > abs(motion[2])
    else:
        assert motion[2] > 0.01
        assert abs(motion[2]) > 2.0 * abs(motion[1])


@pytest.mark.parametrize("finger", FIRST_JOINTS)
def test_twist_leaves_the_next_joint_where_it_is(finger):
    angles = np.zeros((2, 15, 3), np.float32)
    angles[1, FIRST_JOINTS[finger], 2] = 0.5
    points = np.asarray(keypoints(RIGHT, anatomy.pose_from_angles(RIGHT, angles)))
    np.testing.assert_allclose(points[0, NEXT_JOINTS[finger]], points[1, NEXT_JOINTS[finger]], atol=1e-6)


def test_the_same_angles_give_the_mirrored_hand():
    angles = np.random.default_rng(0).uniform(-1.0, 1.0, (5, 15, 3)).astype(np.float32)
    zeros = jnp.zeros(3)
    forward = jax.jit(lambda model, pose: mano_jax.forward(model, pose, jnp.zeros(10), zeros, zeros).vertices)
    right = forward(RIGHT, anatomy.pose_from_angles(RIGHT, angles))
    left = forward(LEFT, anatomy.pose_from_angles(LEFT, angles))
    np.testing.assert_allclose(left, mirror_points(right), rtol=0.0, atol=1e-6)
    shipped = forward(mano_jax.open_hand("left"), anatomy.pose_from_angles(mano_jax.open_hand("left"), angles))
    np.testing.assert_allclose(shipped, left, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("model", [RIGHT, LEFT], ids=["right", "left"])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_angles_to_pose_and_back(model, batch):
    angles = np.random.default_rng(1).normal(size=(*batch, 15, 3)).astype(np.float32)
    pose = anatomy.pose_from_angles(model, angles)
    assert pose.shape == (*batch, 45)
    np.testing.assert_allclose(anatomy.joint_angles(model, pose), angles, rtol=0.0, atol=1e-6)
    # Turning about one axis by its angle, the vector's length is the angle.
    lengths = np.linalg.norm(np.asarray(pose, np.float64).reshape(*batch, 15, 3), axis=-1)
    np.testing.assert_allclose(lengths, np.linalg.norm(angles, axis=-1), rtol=1e-5)


def test_limits_are_ordered_and_hold_the_flat_hand():
    limits = anatomy.joint_limits()
    assert limits.shape == (15, 3, 2)
    assert (limits[..., 0] < 0.0).all()
    assert (limits[..., 1] > 0.0).all()
    # Fingers bend further than they straighten; hinges bend about one axis only.
    fingers = np.arange(12)
    assert (limits[fingers, 0, 1] > -limits[fingers, 0, 0]).all()
    hinges = [first + knuckle for finger, first in FIRST_JOINTS.items() if finger != "thumb" for knuckle in (1, 2)]
    assert (np.abs(limits[hinges, 1:]) < 0.2).all()


@pytest.mark.parametrize("model", [RIGHT, LEFT], ids=["right", "left"])
def test_clipping_to_limits(model):
    random = np.random.default_rng(2)
    angles = random.uniform(-2.5, 2.5, (50, 15, 3)).astype(np.float32)
    clipped = anatomy.clip_to_limits(model, anatomy.pose_from_angles(model, angles))
    limits = anatomy.joint_limits()
    np.testing.assert_allclose(
        anatomy.joint_angles(model, clipped), np.clip(angles, limits[..., 0], limits[..., 1]), rtol=0.0, atol=2e-6
    )
    np.testing.assert_allclose(anatomy.clip_to_limits(model, clipped), clipped, rtol=0.0, atol=1e-6)
    inside = anatomy.pose_from_angles(model, random.uniform(limits[..., 0], limits[..., 1]).astype(np.float32))
    np.testing.assert_allclose(anatomy.clip_to_limits(model, inside), inside, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("model", [RIGHT, LEFT], ids=["right", "left"])
def test_limit_penalty_is_the_squared_excess_and_differentiable(model):
    random = np.random.default_rng(3)
    limits = anatomy.joint_limits()
    angles = random.uniform(-2.5, 2.5, (20, 15, 3)).astype(np.float32)
    pose = anatomy.pose_from_angles(model, angles)
    excess = np.maximum(angles - limits[..., 1], 0) + np.maximum(limits[..., 0] - angles, 0)
    np.testing.assert_allclose(anatomy.limit_penalty(model, pose), (excess**2).sum((1, 2)), rtol=1e-4)
    # Half its gradient leads to the projection.
    step = 0.5 * jax.grad(lambda pose: anatomy.limit_penalty(model, pose).sum())(pose)
    np.testing.assert_allclose(pose - step, anatomy.clip_to_limits(model, pose), rtol=0.0, atol=5e-6)
    inside = anatomy.pose_from_angles(model, random.uniform(limits[..., 0], limits[..., 1]).astype(np.float32))
    assert float(anatomy.limit_penalty(model, inside)) < 1e-10
