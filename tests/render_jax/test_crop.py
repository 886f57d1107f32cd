"""Crops: points, cameras and images must say the same, and come back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render_jax import Crop, Pinhole, WeakPerspective

CROPS = st.builds(
    lambda u, v, side, mirrored: Crop(np.array([u, v], np.float32), np.float32(side), mirrored, size=64),
    st.floats(-50, 700, width=32),
    st.floats(-50, 500, width=32),
    st.floats(8, 900, width=32),
    st.booleans(),
)
PIXELS = jnp.asarray(np.random.default_rng(0).uniform([0, 0], [640, 480], (20, 2)), jnp.float32)


@settings(deadline=None, max_examples=40)
@given(CROPS)
def test_points_come_back_and_the_square_fills_the_crop(crop):
    np.testing.assert_allclose(crop.points_to_full(crop.points_to_crop(PIXELS)), PIXELS, atol=0.02)
    half = np.array([crop.side / 2, crop.side / 2], np.float32)
    corners = jnp.asarray(np.stack([crop.centre - half, crop.centre + half]))
    expected = [[64, 0], [0, 64]] if crop.mirrored else [[0, 0], [64, 64]]
    np.testing.assert_allclose(crop.points_to_crop(corners), expected, atol=0.02)


@settings(deadline=None, max_examples=30)
@given(CROPS, st.booleans())
def test_cameras_agree_with_points_and_come_back(crop, weak):
    camera = Pinhole(480.0, 510.0, 318.5, 241.0)
    if weak:
        camera = WeakPerspective.from_pinhole(camera, 0.6)
    random = np.random.default_rng(1)
    points = jnp.asarray(random.uniform([-0.3, -0.2, 0.4], [0.3, 0.2, 0.9], (20, 3)), jnp.float32)
    seen = points * jnp.array([[-1.0 if crop.mirrored else 1.0, 1, 1]])
    expected = crop.points_to_crop(camera.project(points))
    cropped = crop.camera_to_crop(camera)
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(cropped.project(seen), expected, atol=1e-4 * scale)
    np.testing.assert_allclose(crop.camera_to_full(cropped).project(points), camera.project(points), atol=0.05)


def random_image(height=30, width=40, channels=3):
    return jnp.asarray(np.random.default_rng(2).uniform(size=(height, width, channels)), jnp.float32)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_of_whole_pixels_is_exact_both_ways(mirrored):
    image = random_image()
    crop = Crop(jnp.array([20.0, 14.0]), 16.0, mirrored, size=16)
    cropped = crop.image_to_crop(image)
    expected = image[6:22, 12:28][:, ::-1] if mirrored else image[6:22, 12:28]
    np.testing.assert_array_equal(cropped, expected)
    np.testing.assert_array_equal(crop.image_to_full(cropped, (30, 40), background=image), image)
    blank = np.asarray(crop.image_to_full(cropped, (30, 40), background=0.25))
    np.testing.assert_array_equal(blank[6:22, 12:28], image[6:22, 12:28])
    assert (blank[:6] == 0.25).all()


def test_outside_the_image_is_the_fill_value():
    crop = Crop(jnp.array([0.0, 0.0]), 20.0, size=20)
    cropped = np.asarray(crop.image_to_crop(random_image(), fill=0.5))
    assert (cropped[:10] == 0.5).all()
    assert (cropped[:, :10] == 0.5).all()
    np.testing.assert_array_equal(cropped[10:, 10:], random_image()[:10, :10])


@pytest.mark.parametrize("side", [9.7, 16.0, 23.1, 31.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_linear_ramp_stays_the_same_ramp(side, mirrored):
    # The value at a pixel is a linear function of its centre, in the image and through the crop: exact for any
    # symmetric filter, and wrong by the shift if a half pixel is lost.
    v, u = np.mgrid[:60, :80] + 0.5
    ramp = jnp.asarray(0.01 * u + 0.003 * v, jnp.float32)
    crop = Crop(jnp.array([41.3, 28.9]), side, mirrored, size=16)
    row, column = np.mgrid[:16, :16] + 0.5
    full = np.asarray(crop.points_to_full(jnp.asarray(np.stack([column, row], axis=-1), jnp.float32)))
    expected = 0.01 * full[..., 0] + 0.003 * full[..., 1]
    atol = 1e-5 if side in (9.7, 16.0) else 0.01 * 0.06  # a triangle sampled at pixels is symmetric only nearly
    np.testing.assert_allclose(crop.image_to_crop(ramp), expected, atol=atol)


def test_shrinking_averages_and_keeps_constants():
    row, column = np.mgrid[:64, :64]
    checkers = jnp.asarray((row + column) % 2, jnp.float32)
    crop = Crop(jnp.array([32.0, 32.0]), 40.0, size=10)
    np.testing.assert_allclose(crop.image_to_crop(checkers), 0.5, atol=1e-6)
    np.testing.assert_allclose(crop.image_to_crop(jnp.ones((64, 64))), 1, atol=1e-6)
    odd = Crop(jnp.array([31.7, 32.2]), 37.3, size=10)
    np.testing.assert_allclose(odd.image_to_crop(jnp.ones((64, 64))), 1, atol=1e-6)
    # enlarged and shrunk again, a smooth picture is the same
    smooth = jnp.asarray(np.sin(row / 9) + np.cos(column / 11), jnp.float32)
    large = Crop(jnp.array([32.0, 32.0]), 40.0, size=120)
    back = large.image_to_full(large.image_to_crop(smooth), (64, 64))
    np.testing.assert_allclose(back[14:50, 14:50], smooth[14:50, 14:50], atol=4e-3)


@pytest.mark.slow
def test_batches_may_mix_mirrored_and_not_and_gradients_reach_the_crop():
    image = random_image()
    crops = Crop(jnp.array([[20.0, 14.0], [20.0, 14.0]]), jnp.array([16.0, 16.0]), jnp.array([False, True]), size=16)
    both = jax.jit(jax.vmap(lambda crop: crop.image_to_crop(image)))(crops)
    np.testing.assert_array_equal(both[0], both[1][:, ::-1])

    def brightness(centre, side):
        return Crop(centre, side, size=8).image_to_crop(image).sum()

    for gradient in jax.grad(brightness, argnums=(0, 1))(jnp.array([19.3, 13.1]), jnp.asarray(12.2)):
        assert np.isfinite(gradient).all()
        assert (np.asarray(gradient) != 0).all()


def test_around_encloses_the_points():
    crop = Crop.around(PIXELS, size=100, margin=1.25)
    inside = np.asarray(crop.points_to_crop(PIXELS))
    np.testing.assert_allclose([inside[:, 0].min(), inside[:, 0].max()], [10, 90], atol=1e-3)
    assert inside[:, 1].min() > 10
    assert Crop.around(PIXELS[:1], size=4).side == 1


def test_wrong_images_are_refused():
    crop = Crop(jnp.array([5.0, 5.0]), 4.0, size=4)
    with pytest.raises(ValueError, match="255"):
        crop.image_to_crop(jnp.zeros((8, 8, 3), jnp.uint8))
    with pytest.raises(ValueError, match="4x4"):
        crop.image_to_full(jnp.zeros((5, 5, 3)), (8, 8))
