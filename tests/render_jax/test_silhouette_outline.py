"""The outline mode: right where the outline is, blind to contours inside it, with a gradient that moves it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import render_jax
from render_jax import contour_edges, outline_coverage, outline_windows
from tests.render_jax import silhouette_reference as reference

IMAGE = (24, 30)

draw = jax.jit(functools.partial(render_jax.soft_silhouette, mode="outline"), static_argnames=("image_size", "backend"))


def finger_before_palm():
    """A long box before a square one, as closed surfaces: its sides have the palm behind them."""
    box = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([triangle for a, b, c, d in sides for triangle in ([a, b, c], [a, c, d])], np.int32)
    palm = box * [15.3, 12.2, 0.1] + [6.2, 9.7, 1.0]
    finger = box * [4.4, 15.1, 0.1] + [11.9, 2.3, 0.7]
    return np.concatenate([palm, finger]).astype(np.float32), np.concatenate([faces, faces + 8])


@pytest.mark.parametrize("sigma", [0.05, 6.0])
def test_agrees_with_a_sampled_outline(sigma, meshes):
    image_size = (66, 84)
    vertices, faces = reference.star(meshes.sphere, 8, 15, image_size)
    alpha = draw(vertices=jnp.asarray(vertices), faces=faces, image_size=image_size, sigma=sigma)
    error = np.abs(alpha - reference.outline(vertices, faces, image_size, sigma))
    # Within 1.5 px of a place where an inner contour meets the outline, the inner one is still seen.
    assert np.quantile(error, 0.98) < 3e-3
    assert error.mean() < 2e-3


def test_half_lies_on_the_outline_and_far_pixels_are_exact():
    # The edge at u = 10.5 passes through the centres of column 10.
    vertices = jnp.array([[10.5, -30, 1], [80.0, 12, 1], [10.5, 60, 1]])
    alpha = draw(vertices=vertices, faces=np.array([[0, 1, 2]]), image_size=IMAGE, sigma=1.25)
    np.testing.assert_allclose(alpha[:, 10], 0.5, atol=1e-6)
    np.testing.assert_allclose(alpha[5, 11:14], 1 / (1 + np.exp(-np.array([1, 4, 9]) / 1.25)), rtol=1e-5)
    np.testing.assert_allclose(alpha[5, 7:10], 1 / (1 + np.exp(np.array([9, 4, 1]) / 1.25)), rtol=1e-5)
    assert (alpha[:, :6] == 0).all()
    assert (alpha[8:16, 16:20] == 1).all()


@pytest.mark.parametrize("backend", ["windows", "dense"])
def test_contours_inside_the_outline_are_not_seen(backend):
    vertices, faces = finger_before_palm()
    alpha = draw(vertices=jnp.asarray(vertices), faces=faces, image_size=IMAGE, sigma=1.25, backend=backend)
    # Rows of the palm away from its border: the finger's sides cross them, and nothing is to be seen of them.
    assert (alpha[14:17, 10:18] == 1).all()
    error = np.abs(alpha - reference.outline(vertices, faces, IMAGE, 1.25))
    # Where the finger's sides meet the palm's border, they are seen for another pixel.
    junctions = np.zeros(IMAGE, bool)
    junctions[8:13, 10:18] = True
    assert error[~junctions].max() < 1e-3
    assert error.max() < 0.35


def test_count_of_faces_is_right_for_open_crossing_and_left_out_faces(meshes):
    vertices, faces = meshes.triangle_soup(5, 30, IMAGE)
    vertices[:3, 2] = -1
    valid = vertices[faces][:, :, 2].min(axis=1) > 0
    edges = contour_edges.mesh_edges(faces)
    weight = contour_edges.contour_weights(edges, jnp.asarray(vertices)[faces][:, :, :2], jnp.asarray(valid))
    segments = jnp.asarray(vertices)[edges.vertices][:, :, :2]
    margin = 3
    count = outline_coverage.count_faces(segments[None], weight[None], IMAGE, margin)[0]
    v, u = np.mgrid[-margin : IMAGE[0] + margin, -margin : IMAGE[1] + margin] + 0.5
    expected = np.sum(
        [
            reference.covered(vertices, face[None], np.stack([u, v], axis=-1)).astype(int)
            for face, use in zip(faces, valid, strict=True)
            if use
        ],
        axis=0,
    )
    assert (np.asarray(count) == expected).mean() > 0.999
    assert expected.max() > 2


def test_half_level_of_a_hard_mask_is_that_mask(meshes):
    vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)
    alpha = draw(vertices=jnp.asarray(vertices), faces=faces, image_size=IMAGE, sigma=1.25)
    mask = render_jax.rasterize(jnp.asarray(vertices), faces, IMAGE).mask
    np.testing.assert_array_equal(alpha > 0.5, mask)


def test_gradient_agrees_with_finite_differences(meshes):
    weight = np.random.default_rng(2).normal(size=IMAGE)
    with jax.enable_x64(True):
        vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)
        vertices = jnp.asarray(vertices, jnp.float64)

        def loss(vertices):
            return (render_jax.soft_silhouette(vertices, faces, IMAGE, 1.25, mode="outline") * weight).sum()

        value, gradient = jax.jit(jax.value_and_grad(loss))(vertices)
        assert value.dtype == gradient.dtype == jnp.float64
        evaluate, random = jax.jit(loss), np.random.default_rng(3)
        for _ in range(12):
            direction = jnp.asarray(random.normal(size=vertices.shape))
            difference = (evaluate(vertices + 1e-7 * direction) - evaluate(vertices - 1e-7 * direction)) / 2e-7
            np.testing.assert_allclose((gradient * direction).sum(), difference, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_backends_and_merges_agree(meshes):
    vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)
    weight = np.random.default_rng(4).normal(size=IMAGE).astype(np.float32)

    def both(backend):
        def loss(vertices):
            alpha = render_jax.soft_silhouette(vertices, faces, IMAGE, 1.25, mode="outline", backend=backend)
            return (alpha * weight).sum(), alpha

        (_, alpha), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(vertices))
        return alpha, gradient

    for one, two in zip(both("windows"), both("dense"), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)

    edges = contour_edges.mesh_edges(faces)
    corners = jnp.asarray(vertices)[faces][:, :, :2]
    net = contour_edges.contour_weights(edges, corners, jnp.ones(len(faces), bool))
    mesh = jnp.asarray(vertices)[edges.vertices][None, :, :, :2], net[None], jnp.full(1, 1.25)
    covered = jax.jit(outline_coverage.count_faces, static_argnums=(2, 3))(*mesh[:2], IMAGE, 8) > 0
    nearest = jax.jit(outline_windows.nearest_outline, static_argnames=("image_size", "margin", "merge"))
    found = [nearest(*mesh, covered, image_size=IMAGE, margin=8, merge=merge) for merge in ("sequential", "scatter")]
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    # Pixels nearest to a vertex are as near to two edges.
    assert (found[0][1] == found[1][1]).mean() > 0.9
    pull = jax.jit(outline_windows.outline_gradient, static_argnames=("image_size", "merge", "deterministic"))
    gradients = [
        pull(*mesh, found[0][1], jnp.asarray(weight)[None], image_size=IMAGE, merge=merge, deterministic=deterministic)
        for merge, deterministic in (("sequential", False), ("scatter", False), ("scatter", True))
    ]
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-4)
    np.testing.assert_allclose(gradients[0], gradients[2], atol=1e-4)


@pytest.mark.slow
def test_traced_faces_give_the_same_edges(meshes):
    vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)

    def loss(vertices, faces):
        alpha = render_jax.soft_silhouette(vertices, faces, IMAGE, 1.25, mode="outline", deterministic=True)
        return (alpha * alpha).sum()

    known = jax.jit(jax.value_and_grad(lambda v: loss(v, faces)))(jnp.asarray(vertices))
    traced = jax.jit(jax.value_and_grad(loss))(jnp.asarray(vertices), jnp.asarray(faces))
    np.testing.assert_allclose(known[0], traced[0], rtol=1e-6)
    np.testing.assert_allclose(known[1], traced[1], atol=1e-4)


def test_bad_faces_leave_no_trace():
    good = [[4, 4, 1], [20, 6, 1], [8, 16, 1]]
    bad = [[2, 2, 1], [np.nan, 3, 1], [9, 1e30, 0], [5, 5, 1], [5, 5, 1], [12, 12, -1]]
    vertices = jnp.array(good + bad, jnp.float32)
    faces = np.array([[0, 1, 2], [0, 3, 4], [1, 3, 5], [3, 6, 7], [0, 1, 8], [6, 6, 6]])

    def loss(vertices, faces):
        alpha = render_jax.soft_silhouette(vertices, faces, IMAGE, 1.25, mode="outline")
        return (alpha**2).sum(), alpha

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))  # faces traced: both meshes share one program
    (_, alpha), gradient = run(vertices, jnp.asarray(faces))
    alone = np.array([[0, 1, 2]] + 5 * [[6, 6, 6]])
    (_, expected), expected_gradient = run(vertices.at[3:].set(1), jnp.asarray(alone))
    np.testing.assert_array_equal(alpha, expected)
    np.testing.assert_allclose(gradient[:3], expected_gradient[:3], atol=1e-6)
    assert (gradient[3:] == 0).all()


@pytest.mark.parametrize("size", [64, 224])
def test_a_ball_fitted_to_its_own_mask_keeps_its_size(size, meshes):
    vertices, faces = meshes.sphere(16, 24)
    radius = 0.31 * size
    middle = np.array([0.5 * size + 0.2, 0.49 * size, 1])
    mask = reference.covered(vertices * [radius, radius, 0.2] + middle, faces, reference._pixel_centres((size, size)))

    @functools.partial(jax.jit, static_argnames="mode")
    def losses(scales, mode):
        target = mask.astype(np.float32) if mode == "softras" else render_jax.soften_mask(jnp.asarray(mask), 1.25)

        def loss(scale):
            screen = jnp.asarray(vertices) * scale * jnp.array([[radius, radius, 0.2]]) + jnp.asarray(middle)[None]
            alpha = render_jax.soft_silhouette(screen.astype(jnp.float32), faces, (size, size), 1.25, mode=mode)
            return ((alpha - target) ** 2).mean()

        return jax.lax.map(loss, scales)

    scales = np.linspace(0.9, 1.06, 65, dtype=np.float32)
    best = {}
    for mode in ("softras", "outline"):
        values = np.asarray(losses(jnp.asarray(scales), mode=mode))
        near = slice(max(values.argmin() - 8, 0), values.argmin() + 9)
        square, linear, _ = np.polyfit(scales[near] - 1, values[near], 2)
        best[mode] = 1 - linear / (2 * square)
    assert abs(best["outline"] - 1) < 0.005
    # and the bias that the outline mode is for: more than a pixel
    assert (1 - best["softras"]) * radius > 0.7


def test_softened_mask_by_hand():
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:20] = True  # its right border is the image's, where it is taken to go on
    soft = render_jax.soften_mask(jnp.asarray(mask), 0.8)
    np.testing.assert_allclose(soft[4, 3:5], 1 / (1 + np.exp(-np.array([0.25, 2.25]) / 0.8)), rtol=1e-6)
    np.testing.assert_allclose(soft[4, 1:3], 1 / (1 + np.exp(np.array([2.25, 0.25]) / 0.8)), rtol=1e-6)
    np.testing.assert_allclose(soft[1, 2], 1 / (1 + np.exp(0.5 / 0.8)), rtol=1e-6)  # off the corner, diagonally
    np.testing.assert_array_equal(soft[:, 8], soft[:, 11])
    np.testing.assert_allclose(soft[4, 11], 1 / (1 + np.exp(-6.25 / 0.8)), rtol=1e-6)
    np.testing.assert_array_equal(render_jax.soften_mask(jnp.zeros((4, 5)), 1.0), np.zeros((4, 5)))
    np.testing.assert_array_equal(render_jax.soften_mask(jnp.ones((4, 5)), 1.0), np.ones((4, 5)))
    with pytest.raises(ValueError, match="height, width"):
        render_jax.soften_mask(jnp.ones((2, 4, 5)), 1.0)
    with pytest.raises(ValueError, match="sigma > 0"):
        render_jax.soften_mask(jnp.ones((4, 5)), 0.0)
