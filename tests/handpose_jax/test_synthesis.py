"""Synthetic hands: truth and picture agree, keys decide everything, left is right in a mirror, ranges are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
import render_jax
from handpose_jax.synthesis import SynthesisOptions, keys_of, sample_hand, synthetic_batch, synthetic_hand
from handpose_jax.synthesis.images import SyntheticHand

# The full path compiles long; `make test` sees it through the demo.
pytestmark = pytest.mark.slow

OPTIONS = SynthesisOptions(image_size=64)
COUNT = 4


@pytest.fixture(scope="session")
def hand():
    return mano_jax.open_hand("right")


@pytest.fixture(scope="session")
def made(hand) -> tuple[SyntheticHand, SyntheticHand]:
    """The same keys as right and as left hands."""
    keys = keys_of(3, COUNT)
    return tuple(jax.device_get(synthetic_batch(keys, hand, np.full(COUNT, left), OPTIONS)) for left in (False, True))  # type: ignore[return-value]


def test_shapes_and_ranges(made):
    right, left = made
    assert right.image.shape == (COUNT, 64, 64, 3)
    assert right.mask.shape == (COUNT, 64, 64)
    for hands in made:
        assert all(np.isfinite(leaf).all() for leaf in hands)
        assert hands.image.min() >= 0.0
        assert hands.image.max() <= 1.0
        assert hands.mask.min() >= 0.0
        assert hands.mask.max() <= 1.0
    assert not right.left.any()
    assert left.left.all()
    # Different keys, different pictures.
    assert np.abs(right.image[0] - right.image[1]).mean() > 0.02


def test_same_keys_same_images(made, hand):
    again = jax.device_get(synthetic_batch(keys_of(3, COUNT), hand, np.full(COUNT, True), OPTIONS))
    for one, other in zip(made[1], again, strict=True):
        np.testing.assert_array_equal(one, other)
    # A larger batch begins with the hands of a smaller one.
    np.testing.assert_array_equal(jax.random.key_data(keys_of(3, 7))[:COUNT], jax.random.key_data(keys_of(3, COUNT)))


def test_left_is_right_in_a_mirror(made):
    right, left = made
    np.testing.assert_array_equal(left.image, right.image[:, :, ::-1])
    np.testing.assert_array_equal(left.mask, right.mask[:, :, ::-1])
    np.testing.assert_array_equal(left.vertices, right.vertices * np.array([-1, 1, 1], np.float32))
    np.testing.assert_allclose(left.keypoints[..., 0], 64.0 - right.keypoints[..., 0], atol=1e-5)
    np.testing.assert_array_equal(left.keypoints[..., 1], right.keypoints[..., 1])
    np.testing.assert_allclose(left.detected[..., 0], 64.0 - right.detected[..., 0], atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_parameters_and_camera_reproduce_the_truth(made, side):
    hands, model = made[0] if side == "right" else made[1], mano_jax.open_hand(side)
    parameters = hands.pose, hands.shape, hands.rotation, hands.translation
    mesh = jax.jit(mano_jax.forward)(model, *parameters)
    np.testing.assert_allclose(mesh.vertices, hands.vertices, atol=2e-6)
    np.testing.assert_allclose(mano_jax.keypoints_from_mesh(model, mesh), hands.joints, atol=2e-6)
    projected = np.einsum("nab,nkb->nka", hands.K.astype(np.float64), hands.joints.astype(np.float64))
    np.testing.assert_allclose(projected[..., :2] / projected[..., 2:], hands.keypoints, atol=1e-3)


def test_mask_agrees_with_the_mesh(made, hand):
    """The drawn surface is smoothed and its forearm may hide a little; the mask is the mesh's all the same."""

    def covered(vertices, K):
        screen = render_jax.Pinhole.from_matrix(K).resized(2).to_screen(vertices)
        return render_jax.rasterize(screen, hand.faces, (128, 128)).mask

    masks = np.asarray(jax.jit(jax.vmap(covered))(made[0].vertices, made[0].K))
    for mask, drawn in zip(made[0].mask, masks.reshape(COUNT, 64, 2, 64, 2).mean(axis=(2, 4)), strict=True):
        overlap = np.minimum(mask, drawn).sum() / np.maximum(mask, drawn).sum()
        assert overlap > 0.93
        assert mask.sum() > 0.03 * mask.size


def test_hand_stands_out_from_the_background(made):
    """The picture shows a hand where the mask says: colours inside and outside differ."""
    for image, mask in zip(made[0].image, made[0].mask, strict=True):
        inside, outside = image[mask > 0.99].mean(0), image[mask < 0.01].mean(0)
        assert np.abs(inside - outside).max() > 0.02


def test_sampled_hands_keep_the_ranges(hand):
    """Many hands without pictures: inside the image, at the depth, size and joint angles that the options say."""
    options = SynthesisOptions(image_size=128, pose_candidates=2)
    count = 300
    keys = jax.random.split(jax.random.key(5), count)

    def hand_and_truth(key):
        sample = sample_hand(key, hand, options)
        mesh = mano_jax.forward(hand, sample.pose, sample.shape, sample.rotation, sample.translation)
        joints = mano_jax.keypoints_from_mesh(hand, mesh)
        return sample.pose, joints, sample.camera.project(joints), mesh.joint_rotations[0]

    poses, joints, pixels, rotations = map(np.asarray, jax.jit(jax.vmap(hand_and_truth))(keys))
    assert pixels.min() > 0.0
    assert pixels.max() < 128.0
    edge = np.ptp(pixels, axis=1).max(axis=1) / 128.0
    assert edge.min() > options.fill[0] - 0.005
    assert edge.max() < options.fill[1] + 0.005
    middle = 0.5 * (joints.min(axis=1) + joints.max(axis=1))[:, 2]
    np.testing.assert_array_less(middle, options.depth[1] + 1e-5)
    np.testing.assert_array_less(options.depth[0] - 1e-5, middle)
    angles, limits = np.asarray(mano_jax.joint_angles(hand, poses)), mano_jax.joint_limits()
    assert (angles >= limits[None, ..., 0] - 1e-5).all()
    assert (angles <= limits[None, ..., 1] + 1e-5).all()
    # Views cover palm and back.
    dorsal = rotations[:, 2, 1]
    assert 0.35 < (dorsal > 0).mean() < 0.65


def test_detector_noise_is_what_the_options_say(hand):
    from handpose_jax.synthesis.sensor import detected

    points = jnp.asarray(np.random.default_rng(0).uniform(20, 200, (21, 2)), jnp.float32)
    options = SynthesisOptions(keypoint_noise=0.05, keypoint_missing=0.2)
    keys = jax.random.split(jax.random.key(0), 2000)
    many = np.asarray(jax.jit(jax.vmap(lambda key: detected(key, points, options)))(keys))
    box = np.ptp(np.asarray(points), axis=0).max()
    distance = np.linalg.norm(many[..., :2] - np.asarray(points), axis=-1).mean() / box
    assert abs(distance - 0.05) < 0.001
    assert abs((many[..., 2] == 0).mean() - 0.2) < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 4}, "image_size >= 16"),
        ({"fill": (0.5, 0.95)}, "fill must be a range"),
        ({"depth": (0.1, 0.5)}, "depth must be a range"),
        ({"view_along": (-1.0, 0.0)}, "view_along must be a range"),
    ],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SynthesisOptions(**change)


def test_left_model_is_refused():
    with pytest.raises(ValueError, match="right hand's model"):
        synthetic_hand(jax.random.key(0), mano_jax.open_hand("left"), True, OPTIONS)
