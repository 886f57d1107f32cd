"""The worked examples find what they look for: a hand in its mask and in its depth map, a camera, a texture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
import render_jax
from docs.examples import fit_camera, fit_depth, fit_silhouette, fit_texture
from docs.examples.hands import camera_of, distance_mm, hand_keypoints, hand_vertices, start_hand, true_hand
from mano_jax.open_hand_model.texture import skin_texture

SIZE = 64


@pytest.fixture(autouse=True)
def default_dtype_promotion(strict_dtype_promotion):
    """Optax promotes dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def model():
    return mano_jax.open_hand()


@pytest.fixture(scope="module")
def vertices_of(model):
    return jax.jit(lambda hand: hand_vertices(model, hand))


@pytest.fixture(scope="module")
def start_error(model, vertices_of):
    return distance_mm(vertices_of(start_hand(model)), vertices_of(true_hand(model)))


@pytest.fixture(scope="module")
def mask(model, vertices_of):
    screen = camera_of((SIZE, SIZE)).to_screen(vertices_of(true_hand(model)))
    return render_jax.rasterize(screen, model.faces, (SIZE, SIZE)).mask


def test_the_hand_starts_far_away(start_error):
    assert start_error > 50


@pytest.mark.slow
def test_a_hand_is_found_in_its_mask(model, vertices_of, mask, start_error):
    found, path = fit_silhouette.fit_mask(model, mask)
    truth = vertices_of(true_hand(model))
    error = distance_mm(vertices_of(found), truth)
    half_way = distance_mm(vertices_of(jax.tree.map(lambda leaf: leaf[200], path)), truth)
    # Of one mask of 64 x 64 pixels; a pixel spans 4 mm at the hand.
    assert error < 7
    assert error < half_way < start_error


@pytest.mark.slow
def test_a_hand_is_found_in_its_depth_map(model, vertices_of, start_error):
    truth = vertices_of(true_hand(model))
    depth = fit_depth.observed_depth(truth, model.faces, SIZE, fit_depth.NOISE)
    found, path = fit_depth.fit_depth(model, depth, steps=250)
    error = distance_mm(vertices_of(found), truth)
    half_way = distance_mm(vertices_of(jax.tree.map(lambda leaf: leaf[125], path)), truth)
    assert error < 1.5
    assert error < half_way < start_error


@pytest.mark.slow
def test_softras_pushes_the_hand_away_where_the_outline_does_not(model, vertices_of):
    truth = vertices_of(true_hand(model))
    mask = render_jax.rasterize(camera_of((128, 128)).to_screen(truth), model.faces, (128, 128)).mask
    farther = {}
    for mode in ("outline", "softras"):
        found, _ = fit_silhouette.fit_mask(model, mask, mode=mode)
        farther[mode] = 1000 * float((vertices_of(found) - truth)[:, 2].mean())
    assert abs(farther["outline"]) < 5
    assert farther["softras"] > 30


@pytest.mark.slow
def test_a_camera_is_recovered_better_with_the_mask(model):
    hand, truth, size = true_hand(model), fit_camera.true_view(), 128
    vertices, joints = hand_vertices(model, hand), hand_keypoints(model, hand)
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    vertices, joints = vertices - middle[None], joints - middle[None]
    mask = render_jax.rasterize(fit_camera.seen_from(truth, vertices, size), model.faces, (size, size)).mask
    noise = fit_camera.NOISE * size * jax.random.normal(jax.random.key(0), (5, 21, 2))
    errors = {}
    for with_mask in (False, True):
        each = []
        for one in noise:
            keypoints = fit_camera.seen_from(truth, joints, size)[:, :2] + one
            found, _ = fit_camera.recover(vertices, model.faces, joints, keypoints, mask, with_mask=with_mask)
            each.append(list(fit_camera.errors(found, truth).values()))
        errors[with_mask] = np.mean(each, axis=0)
    rotation, translation, focal = errors[True]
    assert rotation < 0.5
    assert translation < 5
    assert focal < 2
    assert (errors[True] < 0.3 * errors[False]).all()


@pytest.mark.slow
def test_a_texture_is_recovered_from_six_views(model):
    uv, size, texels = mano_jax.open_hand_uv(), 200, 256
    true_texture = jnp.asarray(skin_texture(texels), jnp.float32) / 255
    hand = hand_vertices(model, start_hand(model))
    vertices = jnp.concatenate([fit_texture.views_around(hand, 6, offset) for offset in (0.3, 0.8)])[:7]
    places, masks = fit_texture.seen_places(vertices, model.faces, jnp.asarray(uv.coordinates)[uv.faces], size)
    images = jnp.where(masks[..., None], render_jax.sample_texture(true_texture, places), 1)
    six = images[:6], places[:6], masks[:6]
    found, _ = fit_texture.texture_by_descent(*six, texels)
    textures = {
        "descent": fit_texture.unseen_filled(model, found, *six[1:], texels),
        "extraction": fit_texture.texture_by_extraction(model, images[:6], vertices[:6], texels),
    }
    for name, (known, new) in {"descent": (60, 45), "extraction": (40, 38)}.items():
        shown = render_jax.sample_texture(textures[name], places)
        assert fit_texture.psnr(shown[:6], images[:6], masks[:6]) > known, name
        assert fit_texture.psnr(shown[6], images[6], masks[6]) > new, name
