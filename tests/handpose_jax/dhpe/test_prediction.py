"""Crop, mirroring and back-projection: a true hand through the network's frame and back is where it was."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import mano_jax
from handpose_jax.dhpe.configuration import TINY_NETWORKS, DhpeOptions
from handpose_jax.dhpe.normalisation import ESTIMATE, GIVEN, HAND_LENGTH, normalise
from handpose_jax.dhpe.parameters import encode
from handpose_jax.dhpe.prediction import (
    CropPredictions,
    PlacedHands,
    crop_around_box,
    cropped_image,
    place_hands,
    rigid_placement,
    whole_image_crop,
)
from handpose_jax.projection import ROOT, NdcHand, project_mesh
from render_jax import Pinhole

OPTIONS = DhpeOptions(networks=TINY_NETWORKS)
SIZE, IMAGE = 64, (480, 640)
K = np.array([[600.0, 0.0, 330.0], [0.0, 610.0, 235.0], [0.0, 0.0, 1.0]])


@functools.cache
def model() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


@functools.cache
def predictions() -> tuple[CropPredictions, list]:
    """Two right hands, then the same as left ones of the mirrored image, as a network without error would say them."""
    rng = np.random.default_rng(3)
    quaternion = rng.normal(size=(2, 4))
    hand = NdcHand(
        pose=jnp.asarray(np.asarray(model().pose_mean) + 0.1 * rng.normal(size=(2, 45)), jnp.float32),
        shape=jnp.asarray(rng.normal(size=(2, 10)), jnp.float32),
        quaternion=jnp.asarray(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True), jnp.float32),
        scale=jnp.asarray([8.0, 9.0]),
        translation=jnp.asarray([[0.1, -0.2], [0.0, 0.15]]),
    )
    h, mesh = jax.jit(
        lambda model, hand: (encode(model, hand, OPTIONS.parametrisation).flatten(), project_mesh(model, hand))
    )(model(), hand)
    h, joints_2d = (np.concatenate([np.asarray(array)] * 2) for array in (h, mesh.joints_2d))
    boxes = [(300, 150, 120, 90), (60, 200, 80, 110)]
    crops = [crop_around_box(box, "right", SIZE, IMAGE) for box in boxes]
    crops += [crop_around_box((IMAGE[1] - x - w, y, w, height), "left", SIZE, IMAGE) for x, y, w, height in boxes]
    nothing = np.zeros((4, 0))
    return CropPredictions(h, joints_2d, nothing, nothing, nothing, (0,), nothing, nothing, nothing), crops


@functools.cache
def placed(source: str, *values: float) -> PlacedHands:
    found, crops = predictions()
    mirrored = K.copy()
    mirrored[0, 2] = IMAGE[1] - K[0, 2]
    cameras = np.stack([K, K, mirrored, mirrored])
    return place_hands(model(), found, crops, cameras, OPTIONS, source, np.array(values) if values else None)


@pytest.mark.slow
def test_mirror_images_are_predicted_as_mirror_images():
    found, left = placed(ESTIMATE), mano_jax.mirror_model(model())
    signs = np.array([-1.0, 1.0, 1.0])
    for name in ("vertices", "joints", "joints_direct", "translation"):
        array = getattr(found, name)
        np.testing.assert_allclose(array[2:], array[:2] * signs, atol=1e-6, err_msg=name)
    mirrored_pixels = found.joints_2d_px[:2] * (-1, 1) + (IMAGE[1], 0)
    np.testing.assert_allclose(found.joints_2d_px[2:], mirrored_pixels, atol=1e-3)
    for row, side in enumerate((model(), model(), left, left)):
        again = mano_jax.forward(side, found.pose[row], found.shape[row], found.rotation[row], found.translation[row])
        np.testing.assert_allclose(again.vertices, found.vertices[row], atol=1e-5)


def test_the_paper_s_inverse_lies_on_the_lines_of_sight():
    """Without a rigid hand every joint is seen exactly where the network put it; the rigid one, by its residual."""
    found = placed(ESTIMATE)
    pixels = found.joints_direct[:2] @ K.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    crop_pixels = np.stack(
        [crop.points_to_crop(jnp.asarray(p)) for crop, p in zip(predictions()[1], pixels, strict=False)]
    )
    np.testing.assert_allclose(crop_pixels * 2 / SIZE - 1, predictions()[0].joints_2d[:2], atol=1e-4)
    rigid = found.joints[:2] @ K.T
    off = np.linalg.norm(rigid[..., :2] / rigid[..., 2:] - found.joints_2d_px[:2], axis=-1)
    np.testing.assert_allclose(found.residual_px[:2], np.sqrt((off**2).mean(axis=1)), rtol=1e-3)
    # A parallel projection of a hand this near is off by the perspective within the hand, not by more.
    assert (found.residual_px < 6.0).all()


def test_size_and_distance_go_together():
    """A given depth, or length, grows the hand about the camera's centre: it looks the same."""
    own = placed(ESTIMATE)
    np.testing.assert_array_equal(own.scale, 1.0)
    given = placed(GIVEN, 0.5, np.nan, 0.6, 0.7)
    factor = given.scale[:, None, None]
    np.testing.assert_allclose(given.vertices, own.vertices * factor, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(given.joints_direct[[0, 2, 3], ROOT, 2], [0.5, 0.6, 0.7], rtol=1e-5)
    assert given.scale[1] == 1.0  # not known: the model's own size
    np.testing.assert_allclose(given.residual_px, own.residual_px, rtol=1e-2)
    length = placed(HAND_LENGTH, 0.2, 0.2, 0.17, 0.17)
    zeros = np.zeros(3)
    for row in range(4):
        flat = np.asarray(mano_jax.keypoints(model(), np.zeros(45), length.shape[row], zeros, zeros))[
            [0, 9, 10, 11, 12]
        ]
        bones = np.linalg.norm(np.diff(flat, axis=0), axis=1).sum() * length.scale[row]
        assert bones == pytest.approx((0.2, 0.2, 0.17, 0.17)[row], rel=1e-4)
    for bad in ((), (0.5, 0.5, 0.5, -1.0)):
        with pytest.raises(ValueError, match="needs a value above 0"):
            placed(GIVEN, *bad)
    with pytest.raises(ValueError, match="depth_source must be"):
        placed("sonar")


def test_a_rigid_hand_is_found_again():
    """What Eq. 8 makes of a hand beside the image's middle, seen in perspective, is inverted exactly."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3)).astype(np.float32) * 0.05
    camera, edge = Pinhole(500.0, 510.0, 60.0, 30.0), jnp.asarray(200.0)

    @jax.jit
    def again(points, rotation, at, guess):
        camera_points = points @ rotation.T + at[None]
        seen = jnp.concatenate([jnp.broadcast_to(at, (ROOT + 1, 3)), camera_points])
        target = normalise(seen, camera, edge)[ROOT + 1 :]
        root = camera.project(at)
        shift = jnp.concatenate([root / edge, jnp.zeros(1)])
        return rigid_placement(points, target + shift[None], guess, root * (2 / edge) - 1, 1.1 * at[2], camera, edge)

    for seed in range(3):
        rotation = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
        at = np.array([0.2, -0.15, 0.45], np.float32)
        guess = (Rotation.from_euler("y", -24, degrees=True).as_matrix() @ rotation).astype(np.float32)
        with jax.default_matmul_precision("highest"):
            found, place = again(points, rotation.astype(np.float32), at, guess)
        np.testing.assert_allclose(found, rotation, atol=2e-4)
        np.testing.assert_allclose(place, at, atol=2e-4)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("box", [(20, 30, 50, 40), (-30, -20, 60, 90), (150, 100, 30, 25), (0, 0, 190, 140)])
def test_the_part_that_is_cropped_is_all_that_matters(side, box):
    image = np.random.default_rng(0).integers(0, 256, (141, 197, 3)).astype(np.uint8)
    crop = crop_around_box(box, side, 24, image.shape[:2])
    whole = crop.image_to_crop(jnp.asarray(image, jnp.float32) / 255.0)
    np.testing.assert_allclose(cropped_image(image, crop), whole, atol=1e-5)


def test_crops():
    crop = crop_around_box((100, 50, 40, 60), "left", SIZE, IMAGE)
    np.testing.assert_allclose(crop.centre, [120, 80])
    assert float(crop.side) == 90
    assert bool(crop.mirrored)
    whole = whole_image_crop("right", SIZE, IMAGE)
    assert float(whole.side) == 640
    for box, words in (
        ((700, 10, 20, 20), "outside the image of 640x480"),
        ((10, -30, 20, 20), "outside"),
        ((10, 10, 0, 20), "above 0"),
        ((10, 10, np.nan, 20), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            crop_around_box(box, "right", SIZE, IMAGE)
