"""Textures taken from images: drawn again they must give the image back, and hidden parts must not leak in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
import render_jax
from mano_jax.open_hand_model.texture import skin_texture
from render_jax import UVTexture, ambient_light

draw = jax.jit(render_jax.render, static_argnames=("image_size", "supersample"))
fill_holes = jax.jit(render_jax.fill_holes)
extract = jax.jit(render_jax.extract_texture, static_argnames=("size", "outline_margin"))


def psnr(one, other, where):
    return -10 * np.log10(((np.asarray(one) - np.asarray(other))[where] ** 2).mean())


def drawn_back(found, mesh, image, supersample):
    """PSNR over pixels that see visible texels only, their share of all covered pixels, the picture, its mask."""
    vertices, faces, camera, uv, uv_faces = mesh

    def draw_unlit(texture):
        paint, size = UVTexture(texture, uv, uv_faces), image.shape[:2]
        return draw(vertices, faces, camera, size, colours=paint, lights=ambient_light(), supersample=supersample)

    back = draw_unlit(found.texture)
    visible = np.asarray(draw_unlit(jnp.repeat(found.visible[..., None].astype(jnp.float32), 3, axis=-1)).image)[..., 0]
    covered = np.asarray(back.mask) == 1
    seen = covered & (visible > 0.9999)
    return psnr(back.image, image, seen), seen.sum() / covered.sum(), np.asarray(back.image), covered


@pytest.fixture(scope="module")
def hand():
    """The open hand from its back, 96 pixels: vertices, faces, camera, uv, uv_faces."""
    model, atlas = mano_jax.open_hand(), mano_jax.open_hand_uv("right")
    vertices = np.asarray(model.template)
    vertices = (vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2)[:, [2, 0, 1]] * [-1, 1, -1] + [0, 0, 0.5]
    camera = render_jax.Pinhole(230.0, 230.0, 48.0, 48.0)
    return jnp.asarray(vertices, jnp.float32), model.faces, camera, jnp.asarray(atlas.coordinates), atlas.faces


def test_a_lit_hand_is_given_back_at_35_decibels(hand, capsys):
    vertices, faces, camera, uv, uv_faces = hand
    skin = jnp.asarray(skin_texture(128) / 255.0, jnp.float32)
    image = draw(vertices, faces, camera, (96, 96), colours=UVTexture(skin, uv, uv_faces), supersample=2).image
    found = extract(image, vertices, faces, camera, uv, uv_faces, 256)
    decibels, share, picture, covered = drawn_back(found, hand, image, 2)
    with capsys.disabled():
        print(f"\nhand, 96 px, 256 texels: {decibels:.1f} dB over {share:.0%} of its pixels")
    assert decibels >= 35
    assert share > 0.75
    # also where the sides of the fingers were filled in there is skin, no white background
    assert psnr(picture, image, covered) > 28
    texture = np.asarray(found.texture)
    assert texture.max() < 0.99
    assert 0.05 < np.asarray(found.visible).mean() < 0.4
    # the palm, hidden and far from the nearest charts' colours in the atlas, has the colours of the back's skin
    back = np.asarray(image)[covered].reshape(-1, 3)
    assert (texture >= back.min(axis=0) - 0.02).all()
    assert (texture <= back.max(axis=0) + 0.02).all()


@pytest.fixture(scope="module")
def ball(meshes):
    """A sphere whose longitudes and latitudes are its texture: vertices, faces, camera, uv, uv_faces."""
    points, _ = meshes.sphere(rows=14, columns=20)
    rows, columns = 14, 20
    latitude, longitude = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, columns + 1))
    grid = np.stack([np.sin(latitude) * np.cos(longitude), np.sin(latitude) * np.sin(longitude), np.cos(latitude)], -1)
    uv = np.stack([0.02 + 0.96 * longitude / (2 * np.pi), 0.02 + 0.96 * latitude / np.pi], -1).reshape(-1, 2)
    # the seam and the poles are one vertex each on the mesh, several in the texture
    distance = np.linalg.norm(grid.reshape(-1, 1, 3) - points[None], axis=-1)
    vertex = distance.argmin(axis=1)
    corner = np.arange((rows + 1) * (columns + 1)).reshape(columns + 1, rows + 1)
    a, b, c, d = corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]
    uv_faces = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    faces = vertex[uv_faces]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    vertices = jnp.asarray(0.1 * points @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0] + [0, 0, 0.5])
    camera = render_jax.Pinhole(205.0, 190.0, 47.3, 49.1)
    mesh = vertices.astype(jnp.float32), faces[whole].astype(np.int32), camera
    return *mesh, jnp.asarray(uv, jnp.float32), uv_faces[whole].astype(np.int32)


def photograph(seed, size=96):
    """Blobs of all colours, a few pixels wide and wider; nothing that a renderer made."""
    random = np.random.default_rng(seed)
    v, u = np.mgrid[:size, :size] + 0.5
    image = np.full((size, size, 3), 0.5)
    for wavelength in (12, 20, 40):
        for _ in range(4):
            angle = random.uniform(0, 2 * np.pi)
            phase = 2 * np.pi / wavelength * (u * np.cos(angle) + v * np.sin(angle)) + random.uniform(0, 6)
            image += 0.08 * np.sin(phase)[..., None] * random.normal(size=3)
    return jnp.asarray(np.clip(image, 0, 1), jnp.float32)


@pytest.mark.slow
def test_any_image_on_any_mesh_is_given_back_at_35_decibels(ball, capsys):
    image = photograph(0)
    found = extract(image, *ball, 256, outline_margin=0)
    decibels, share, *_ = drawn_back(found, ball, image, 1)
    with capsys.disabled():
        print(f"\nball, 96 px, 256 texels: {decibels:.1f} dB over {share:.0%} of its pixels")
    assert decibels >= 35
    assert share > 0.85


def two_sheets():
    """A near square before the middle of a far one, each with a half of the atlas."""
    corners = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    far, near = np.column_stack([0.2 * corners, np.full(4, 0.6)]), np.column_stack([0.05 * corners, np.full(4, 0.5)])
    vertices = jnp.asarray(np.concatenate([far, near]), jnp.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    unit = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
    uv = np.concatenate([unit * [0.46, 0.96] + [0.02, 0.02], unit * [0.46, 0.96] + [0.52, 0.02]])
    return vertices, faces, render_jax.Pinhole(80.0, 80.0, 32.0, 32.0), jnp.asarray(uv, jnp.float32), faces


@pytest.mark.slow
def test_what_is_hidden_takes_nothing_from_what_hides_it():
    sheets = two_sheets()
    image = np.zeros((64, 64, 3), np.float32)
    image[..., 1] = 1.0
    image[24:40, 24:40] = [1.0, 0, 0]  # the near sheet
    found = extract(jnp.asarray(image), *sheets, 128, trusted=jnp.ones((64, 64), dtype=bool))
    far, near = np.split(np.asarray(found.texture), 2, axis=1)
    seen_far, seen_near = np.split(np.asarray(found.visible), 2, axis=1)
    np.testing.assert_allclose(far[seen_far], np.tile([0, 1.0, 0], (seen_far.sum(), 1)), atol=1e-6)
    np.testing.assert_allclose(near[seen_near], np.tile([1.0, 0, 0], (seen_near.sum(), 1)), atol=1e-6)
    # hidden: a third of the far sheet (the near one's silhouette and a pixel around it), which is filled with green
    assert 0.7 < seen_far.mean() / seen_near.mean() < 1.1
    middle = far[40:88, 20:44]
    assert not seen_far[50:78, 26:38].any()
    np.testing.assert_allclose(middle, np.broadcast_to([0, 1.0, 0], middle.shape), atol=1e-5)
    # the gaps between the charts continue the charts beside them
    np.testing.assert_allclose(found.texture[:, 0], np.tile([0, 1.0, 0], (128, 1)), atol=1e-5)
    np.testing.assert_allclose(found.texture[:, -1], np.tile([1.0, 0, 0], (128, 1)), atol=1e-5)
    # pixels that are not trusted are not read
    kept = np.ones((64, 64), bool)
    kept[:, :20] = False
    part = extract(jnp.asarray(np.where(kept[..., None], image, 0.3)), *sheets, 128, trusted=jnp.asarray(kept))
    assert np.asarray(part.visible).sum() < np.asarray(found.visible).sum()
    np.testing.assert_allclose(part.texture, found.texture, atol=1e-5)


@pytest.mark.slow
def test_it_is_linear_in_the_image_and_maps_over_images():
    vertices, faces, camera, uv, uv_faces = two_sheets()
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(32, 32, 3)), jnp.float32)

    @jax.jit
    @jax.vmap
    def texture_and_gradient(image):
        def weighted(image):
            texture = render_jax.extract_texture(image, vertices, faces, camera, uv, uv_faces, 32).texture
            return (texture * weights).sum(), texture

        return jax.grad(weighted, has_aux=True)(image)

    images = jnp.stack([photograph(1, 64), photograph(2, 64)])
    gradients, textures = texture_and_gradient(images)
    for image, texture, gradient in zip(images, textures, gradients, strict=True):
        # no constant part, so the texture times the weights is the image times the gradient
        np.testing.assert_allclose((texture * weights).sum(), (image * gradient).sum(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-5)
    assert np.isfinite(gradients).all()
    assert np.abs(textures[0] - textures[1]).max() > 0.1


@pytest.mark.slow
def test_a_weak_perspective_camera_and_a_mesh_that_is_not_seen(ball):
    vertices, faces, _, uv, uv_faces = ball
    camera = render_jax.WeakPerspective(400.0, jnp.array([48.0, 48.0]))
    image = photograph(3)
    found = extract(image, vertices, faces, camera, uv, uv_faces, 256)
    decibels, share, *_ = drawn_back(found, (vertices, faces, camera, uv, uv_faces), image, 1)
    assert decibels >= 35
    assert share > 0.6
    unseen = extract(image, vertices + jnp.array([[0, 0, -2.0]]), faces, camera, uv, uv_faces, 256)
    assert not np.asarray(unseen.visible).any()
    np.testing.assert_array_equal(unseen.texture, 0)


def test_holes_are_filled_from_around():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(13, 22, 2)), jnp.float32)
    weight = jnp.asarray(np.random.default_rng(1).uniform(size=(13, 22)) < 0.2, jnp.float32)
    filled = np.asarray(fill_holes(jnp.where(weight[..., None] > 0, image, 0), weight))
    known = np.asarray(weight) > 0
    np.testing.assert_allclose(filled[known], np.asarray(image)[known], atol=1e-6)
    for channel in range(2):
        values = np.asarray(image)[known][:, channel]
        assert (filled[..., channel] >= values.min() - 1e-6).all()
        assert (filled[..., channel] <= values.max() + 1e-6).all()
    # a constant stays the constant, and one known pixel fills everything
    lone = jnp.zeros((13, 22)).at[8, 2].set(0.3)
    np.testing.assert_allclose(fill_holes(jnp.full((13, 22, 2), 0.7), lone), 0.7, atol=1e-6)
    np.testing.assert_array_equal(fill_holes(image, jnp.zeros((13, 22))), 0)


def test_filled_images_are_averaged_right_in_one_program():
    random = np.random.default_rng(5)
    images = random.uniform(size=(3, 256, 256, 3)).astype(np.float32)
    weights = (random.uniform(size=(3, 256, 256)) > 0.3).astype(np.float32)

    def mean(images, weights):
        filled = jax.vmap(render_jax.fill_holes)(images, weights)
        return (weights[..., None] * filled).sum(axis=0)

    # Compiled as a whole this once came out with the first channel in the place of all (a compiler's fault).
    expected = (weights[..., None] * images).sum(axis=0)
    np.testing.assert_allclose(jax.jit(mean)(images, weights), expected, atol=1e-5)


def test_wrong_input_is_refused():
    vertices, faces, camera, uv, uv_faces = two_sheets()
    image = jnp.zeros((8, 8, 3))
    with pytest.raises(ValueError, match="float image"):
        render_jax.extract_texture(jnp.zeros((8, 8, 3), jnp.uint8), vertices, faces, camera, uv, uv_faces, 16)
    with pytest.raises(ValueError, match="one row a face"):
        render_jax.extract_texture(image, vertices, faces, camera, uv, uv_faces[:2], 16)
    with pytest.raises(ValueError, match=r"\(T, 2\)"):
        render_jax.rasterize_atlas(jnp.zeros((4, 3)), uv_faces, 16)
    with pytest.raises(ValueError, match="trusted"):
        render_jax.extract_texture(
            image, vertices, faces, camera, uv, uv_faces, 16, trusted=jnp.ones((4, 4), dtype=bool)
        )
    with pytest.raises(ValueError, match="weight"):
        render_jax.fill_holes(image, jnp.ones((4, 4)))
