"""Look-ups in textures against NumPy, and textured pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import render_jax
from render_jax import FaceTexture, UVTexture, ambient_light

SIZE = (24, 32)
CAMERA = render_jax.Pinhole(60.0, 60.0, 16.0, 12.0)
sample = jax.jit(render_jax.sample_texture, static_argnames="wrap")
rasterize = jax.jit(render_jax.rasterize, static_argnames="image_size")
render = jax.jit(render_jax.render, static_argnames=("image_size", "supersample", "soft_mode"))
TEXTURE = np.random.default_rng(0).uniform(size=(5, 7, 3))

# What each mode makes of texel i of n, written as rules on integers.
WRAPPED = {
    "clamp": lambda i, n: np.clip(i, 0, n - 1),
    "repeat": lambda i, n: i % n,
    "mirror": lambda i, n: np.where(i % (2 * n) < n, i % (2 * n), 2 * n - 1 - i % (2 * n)),
}


def bilinear(texture, u, v, wrap):
    """Float64, one point: the texture goes on for ever by `wrap`, linear between texel centres."""
    height, width = texture.shape[:2]
    column, row = u * width - 0.5, (1 - v) * height - 0.5
    total = 0.0
    for i in (int(np.floor(row)), int(np.floor(row)) + 1):
        for j in (int(np.floor(column)), int(np.floor(column)) + 1):
            share = (1 - abs(row - i)) * (1 - abs(column - j))
            total = total + share * texture[WRAPPED[wrap](i, height), WRAPPED[wrap](j, width)]
    return total


@pytest.mark.parametrize("wrap", WRAPPED)
def test_bilinear_look_up_within_and_beyond_the_texture(wrap):
    uv = np.random.default_rng(1).uniform(-2.3, 3.3, (40, 2))
    uv[:8] = [[0, 0], [1, 1], [0.5 / 7, 0.5], [0, 1], [-1, 2], [0.999999, 1e-6], [1.5, -0.5], [2, 2]]
    expected = np.stack([bilinear(TEXTURE, u, v, wrap) for u, v in uv])
    found = sample(jnp.asarray(TEXTURE, jnp.float32), jnp.asarray(uv, jnp.float32), wrap=wrap)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_texel_centres_and_v_upwards():
    row, column = np.mgrid[:5, :7]
    centres = np.stack([(column + 0.5) / 7, 1 - (row + 0.5) / 5], axis=-1)
    found = sample(jnp.asarray(TEXTURE, jnp.float32), jnp.asarray(centres, jnp.float32), wrap="clamp")
    np.testing.assert_allclose(found, TEXTURE, atol=2e-6)
    # v = 1 is the upper border of row 0
    np.testing.assert_allclose(bilinear(TEXTURE, 0.5 / 7, 1.0, "clamp"), TEXTURE[0, 0])


def test_gradients_to_texture_and_coordinates():
    with jax.enable_x64(True):
        texture, uv = jnp.asarray(TEXTURE), jnp.asarray(np.random.default_rng(2).uniform(0.1, 0.9, (6, 2)))
        weights = np.random.default_rng(3).normal(size=(2, 6, 3))

        @jax.jit
        @jax.value_and_grad
        def loss(arguments):
            texture, batch = arguments
            looked_up = jax.vmap(lambda uv: render_jax.sample_texture(texture, uv, "repeat"))(batch)
            return (looked_up * weights).sum()

        batch = jnp.stack([uv, uv[::-1] * 0.9])
        _, (to_texture, to_uv) = loss((texture, batch))
        # linear in the texture: the gradient is what each look-up adds, scattered
        scattered = np.zeros_like(TEXTURE)
        for points, weight in zip(np.asarray(batch), weights, strict=True):
            for (u, v), one in zip(points, weight, strict=True):
                column, row = u * 7 - 0.5, (1 - v) * 5 - 0.5
                for i in range(int(np.floor(row)), int(np.floor(row)) + 2):
                    for j in range(int(np.floor(column)), int(np.floor(column)) + 2):
                        scattered[i % 5, j % 7] += (1 - abs(row - i)) * (1 - abs(column - j)) * one
        np.testing.assert_allclose(to_texture, scattered, atol=1e-12)
        step = 1e-6 * np.random.default_rng(4).normal(size=batch.shape)
        slope = (loss((texture, batch + step))[0] - loss((texture, batch - step))[0]) / 2
        np.testing.assert_allclose((np.asarray(to_uv) * step).sum(), slope, rtol=1e-6)
        # forward mode as well
        _, tangent = jax.jvp(lambda uv: render_jax.sample_texture(texture, uv).sum(), (uv,), (jnp.ones_like(uv),))
        expected = jax.grad(lambda uv: render_jax.sample_texture(texture, uv).sum())(uv).sum()
        np.testing.assert_allclose(tangent, expected, rtol=1e-9)


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=4, max_size=4), st.sampled_from(sorted(WRAPPED)))
def test_any_coordinates_give_a_colour_of_the_texture(uv, wrap):
    found = np.asarray(sample(jnp.asarray(TEXTURE, jnp.float32), jnp.asarray(uv, jnp.float32), wrap=wrap))
    assert (found >= TEXTURE.min() - 1e-6).all()
    assert (found <= TEXTURE.max() + 1e-6).all()


def square(depth=1.0, edge=0.16):
    """Facing the camera, its texture coordinates the unit square, v up: vertices, faces, uv."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    vertices = np.column_stack([(corners[:, 0] - 0.5) * edge, (0.5 - corners[:, 1]) * edge, np.full(4, depth)])
    return jnp.asarray(vertices, jnp.float32), jnp.array([[0, 1, 2], [0, 2, 3]]), jnp.asarray(corners, jnp.float32)


def test_an_upright_texture_is_seen_upright():
    vertices, faces, uv = square(edge=0.2)  # 12 pixels, from (10, 6) to (22, 18)
    texture = np.random.default_rng(5).uniform(size=(12, 12, 3)).astype(np.float32)
    paint = UVTexture(jnp.asarray(texture), uv, faces)
    picture = render(vertices, faces, CAMERA, SIZE, colours=paint, lights=ambient_light(), supersample=1)
    np.testing.assert_allclose(picture.image[6:18, 10:22], texture, atol=1e-4)
    np.testing.assert_array_equal(picture.image[:5], 1)


def test_textures_are_perspective_correct():
    vertices, faces, uv = square()
    tilted = vertices.at[2:, 2].set(2.0).at[2:, :2].multiply(1.5)
    # a texture that is a linear function of (u, v) shows the place on the square, which the ray gives independently
    centre = (np.arange(16) + 0.5) / 16
    ramp = np.stack([*np.broadcast_arrays(centre[None, :], 1 - centre[:, None]), np.zeros((16, 16))], axis=-1)
    paint = UVTexture(jnp.asarray(ramp, jnp.float32), uv, faces)
    picture = render(tilted, faces, CAMERA, SIZE, colours=paint, lights=ambient_light(), supersample=1, background=-1.0)
    fragments = rasterize(CAMERA.to_screen(tilted), faces, image_size=SIZE)
    row, column = np.argwhere(np.asarray(fragments.mask)).T
    corners = np.asarray(tilted, np.float64)
    for i, j in list(zip(row, column, strict=True))[::7]:
        face = np.asarray(faces)[int(fragments.face_index[i, j])]
        ray = np.array([(j + 0.5 - 16) / 60, (i + 0.5 - 12) / 60, 1])
        weights = np.linalg.solve(corners[face].T, ray)
        expected = (weights / weights.sum()) @ np.asarray(uv, np.float64)[face]
        expected = np.clip(expected, 0.5 / 16, 15.5 / 16)  # beyond the last texel centre the colour stays
        np.testing.assert_allclose(picture.image[i, j, :2], expected, atol=1e-4)
    assert len(row) > 60


def face_texture_reference(texels, barycentric):
    """Linear interpolation over the small triangle that holds the point, found by trying all of them."""
    edge = texels.shape[0] - 1
    place = np.array([barycentric[2], barycentric[1]]) * edge  # row, column
    for i in range(edge):
        for j in range(edge - i):
            triangles = [[(i, j), (i, j + 1), (i + 1, j)]]
            if i + j < edge - 1:
                triangles.append([(i + 1, j + 1), (i + 1, j), (i, j + 1)])
            for triangle in triangles:
                weights = np.linalg.solve(np.vstack([np.array(triangle, float).T, np.ones(3)]), [*place, 1])
                if weights.min() >= -1e-9:
                    return sum(weight * texels[corner] for weight, corner in zip(weights, triangle, strict=True))
    raise AssertionError("no triangle holds the point")


@pytest.mark.parametrize("edge", [2, 5])
def test_face_textures_are_linear_between_their_texels(edge):
    vertices, faces, _ = square()
    texels = np.random.default_rng(6).uniform(size=(2, edge, edge, 3))
    row, column = np.mgrid[:edge, :edge]
    texels[:, row + column >= edge] = np.nan  # never read
    picture = render(
        vertices,
        faces,
        CAMERA,
        SIZE,
        colours=FaceTexture(jnp.asarray(texels, jnp.float32)),
        lights=ambient_light(),
        supersample=1,
    )
    fragments = rasterize(CAMERA.to_screen(vertices), faces, image_size=SIZE)
    assert np.isfinite(picture.image).all()
    for i, j in np.argwhere(np.asarray(fragments.mask)):
        expected = face_texture_reference(
            texels[int(fragments.face_index[i, j])], np.asarray(fragments.barycentric[i, j], np.float64)
        )
        np.testing.assert_allclose(picture.image[i, j], expected, atol=1e-4)


def test_colours_of_faces():
    vertices, faces, _ = square()
    picture = render(
        vertices,
        faces,
        CAMERA,
        SIZE,
        colours=FaceTexture(jnp.array([[1.0, 0, 0], [0, 0, 1.0]])),
        lights=ambient_light(),
        supersample=1,
    )
    index = np.asarray(rasterize(CAMERA.to_screen(vertices), faces, image_size=SIZE).face_index)
    assert {0, 1} <= set(np.unique(index))
    np.testing.assert_allclose(np.asarray(picture.image)[index == 0], [[1, 0, 0]] * (index == 0).sum(), atol=1e-6)
    np.testing.assert_allclose(np.asarray(picture.image)[index == 1], [[0, 0, 1]] * (index == 1).sum(), atol=1e-6)


def test_a_texture_is_recovered_by_gradient_descent_from_a_batch_of_views():
    vertices, faces, uv = square()
    goal = jnp.asarray(np.random.default_rng(7).uniform(0.2, 0.8, (6, 6, 3)), jnp.float32)
    views = jnp.stack([vertices, vertices.at[:2, 2].set(1.2), vertices.at[1:3, 2].set(1.3)])

    def pictures(texture):
        paint = UVTexture(texture, uv, faces)
        draw = lambda view: render_jax.render(  # noqa: E731
            view, faces, CAMERA, SIZE, colours=paint, lights=ambient_light(), supersample=1
        )
        return jax.vmap(draw)(views).image

    target = jax.jit(pictures)(goal)
    step = jax.jit(jax.value_and_grad(lambda texture: ((pictures(texture) - target) ** 2).sum()))
    texture = jnp.full_like(goal, 0.5)
    first, _ = step(texture)
    for _ in range(60):
        _, gradient = step(texture)
        texture = texture - 0.05 * gradient
    assert step(texture)[0] < 1e-3 * first
    np.testing.assert_allclose(texture, goal, atol=0.05)


def test_wrong_textures_are_refused():
    vertices, faces, uv = square()
    texture = jnp.asarray(TEXTURE, jnp.float32)
    with pytest.raises(ValueError, match="255"):
        render_jax.sample_texture(jnp.zeros((4, 4, 3), jnp.uint8), uv)
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\)"):
        render_jax.sample_texture(texture, jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="mirror"):
        render_jax.sample_texture(texture, uv, "wrap")
    for colours, words in [
        (UVTexture(texture, uv, faces[:1]), "one row a face"),
        (UVTexture(texture[..., :2], uv, faces), r"\(height, width, 3\)"),
        (UVTexture(np.zeros((4, 4, 3), np.uint8), uv, faces), "255"),
        (FaceTexture(jnp.zeros((3, 3))), "texels"),
        (FaceTexture(jnp.zeros((2, 1, 1, 3))), "R >= 2"),
    ]:
        with pytest.raises(ValueError, match=words):
            render_jax.render(vertices, faces, CAMERA, SIZE, colours=colours)
    assert render_jax.sample_texture(texture, jnp.zeros((0, 2))).shape == (0, 3)
