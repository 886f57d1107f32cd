"""The "softras" silhouette against an independent float64 reference, on ordinary meshes and on what breaks others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import render_jax
from render_jax import silhouette_windows
from tests.render_jax import silhouette_reference as reference

# Most tests draw into this size with meshes filled up to these counts, so they share one compiled program a backend.
IMAGE = (20, 26)
VERTICES, FACES = 128, 240
BACKENDS = ("windows", "tiles", "dense")


def padded(vertices, faces):
    """The mesh with unused vertices and faces of no area added."""
    filled_vertices, filled_faces = np.ones((VERTICES, 3), np.float32), np.zeros((FACES, 3), np.int32)
    filled_vertices[: len(vertices)], filled_faces[: len(faces)] = vertices, faces
    return jnp.asarray(filled_vertices), jnp.asarray(filled_faces)


def weighted_sum(vertices, faces, sigma, cotangent, image_size, backend):
    alpha = render_jax.soft_silhouette(vertices, faces, image_size, sigma, backend=backend)
    return (alpha * cotangent).sum(), alpha


value_and_gradient = jax.jit(jax.value_and_grad(weighted_sum, has_aux=True), static_argnames=("image_size", "backend"))


def wave(image_size):
    return np.random.default_rng(7).normal(size=image_size).astype(np.float32)


def draw(vertices, faces, sigma, backend="windows"):
    """alpha and gradient in float32, without the vertices that fill up."""
    (_, alpha), gradient = value_and_gradient(
        *padded(vertices, faces), jnp.float32(sigma), wave(IMAGE), image_size=IMAGE, backend=backend
    )
    return np.asarray(alpha), np.asarray(gradient)[: len(vertices)]


def assert_agrees(result, expected, image=2e-4, most_pixels=2e-5, gradient=1e-3):
    """Largest error of a pixel, error of 99.9 % of the pixels, error of the gradient relative to its norm."""
    error = np.abs(result[0] - expected[0])
    assert np.isfinite(result[0]).all()
    assert np.isfinite(result[1]).all()
    assert error.max() <= image
    assert np.quantile(error, 0.999) <= most_pixels
    scale = np.linalg.norm(expected[1])
    assert np.linalg.norm(result[1] - expected[1]) <= gradient * scale + 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_triangle_by_hand(backend):
    # A right triangle from (5, 5); the pixel centre (7.5, 4.5) is 0.5 above its upper edge, (7.5, 6.5) is 1.5 below it.
    vertices = np.array([[5, 5, 1], [25, 5, 1], [5, 25, 1]], np.float32)
    alpha, _ = draw(vertices, [[0, 1, 2]], 2.0, backend)
    np.testing.assert_allclose(alpha[4, 7], 1 / (1 + np.exp(0.25 / 2)), rtol=1e-6)
    np.testing.assert_allclose(alpha[6, 7], 1 / (1 + np.exp(-2.25 / 2)), rtol=1e-6)
    # Nearest to the corner (5, 5): squared distance 0.5.
    np.testing.assert_allclose(alpha[4, 4], 1 / (1 + np.exp(0.5 / 2)), rtol=1e-6)
    # Two equal faces: 1 - (1 - p)².
    twice, _ = draw(vertices, [[0, 1, 2], [0, 2, 1]], 2.0, backend)
    np.testing.assert_allclose(twice, 1 - (1 - alpha) ** 2, atol=1e-6)


@pytest.mark.parametrize(("size", "sigma"), [(64, 1.25), (224, 1.25)])
def test_agrees_with_the_reference_on_a_closed_mesh_of_1536_faces(size, sigma, meshes):
    image_size = (size, size)
    vertices, faces = reference.star(meshes.sphere, 25, 32, image_size)
    assert len(faces) == 1536
    cotangent = wave(image_size)
    function = jax.jit(
        jax.value_and_grad(lambda v: weighted_sum(v, faces, sigma, cotangent, image_size, "windows"), has_aux=True)
    )
    (_, alpha), gradient = function(jnp.asarray(vertices))
    expected = reference.softras(vertices, faces, image_size, sigma, cotangent)
    assert 0.1 < (expected[0] > 0.5).mean() < 0.6
    assert_agrees((np.asarray(alpha), np.asarray(gradient)), expected)


def test_gradient_agrees_with_finite_differences_of_the_reference(meshes):
    vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)
    _, gradient = draw(vertices, faces, 1.25)
    random, step = np.random.default_rng(1), 1e-6
    for _ in range(12):
        direction = random.normal(size=vertices.shape)
        moved = [
            (reference.softras(vertices + sign * step * direction, faces, IMAGE, 1.25) * wave(IMAGE)).sum()
            for sign in (1, -1)
        ]
        difference = (moved[0] - moved[1]) / (2 * step)
        norm = np.linalg.norm(gradient) * np.linalg.norm(direction)
        # A random direction is nearly perpendicular to the gradient, so compare with the size it would typically have.
        assert abs((gradient * direction).sum() - difference) <= 2e-3 * norm / np.sqrt(direction.size)


def _triangle(*corners):
    return np.array(corners, np.float32), np.array([[0, 1, 2]], np.int32)


def _beside_a_good_face(*corners):
    """A face beside an ordinary one that shares no vertex with it."""
    good = [[4, 4, 1], [20, 6, 1], [8, 16, 1]]
    return np.array([*good, *corners], np.float32), np.array([[0, 1, 2], [3, 4, 5]], np.int32)


HARD_CASES = {
    "zero area": _beside_a_good_face([9, 9, 1], [9, 9, 1], [9, 9, 1]),
    "collinear": _beside_a_good_face([2, 2, 1], [8, 8, 1], [14, 14, 1]),
    "behind": _beside_a_good_face([2, 2, -1], [18, 3, -1], [9, 15, -1]),
    "half behind": _beside_a_good_face([2, 2, 1], [18, 3, 1], [9, 15, -0.1]),
    "depth zero": _beside_a_good_face([2, 2, 1], [18, 3, 1], [9, 15, 0]),
    "depth zero at 1e30": _beside_a_good_face([2, 2, 1], [1e30, -1e30, 0], [9, 15, 1]),
    "not a number": _beside_a_good_face([2, 2, 1], [np.nan, 3, 1], [9, 15, 1]),
    "infinite": _beside_a_good_face([2, 2, 1], [3, np.inf, 1], [9, 15, 1]),
    "infinite depth": _beside_a_good_face([2, 2, 1], [18, 3, np.inf], [9, 15, 1]),
    "out of view": _triangle([-50, -40, 1], [-30, -45, 1], [-44, -20, 1]),
    "just out of view": _triangle([-9, 2, 1], [-1, 8, 1], [-6, 15, 1]),
    "far out of view": _beside_a_good_face([1e15, 1e15, 1], [1e15, 2e15, 1], [2e15, 1e15, 1]),
    "over all of the image": _triangle([-40, -40, 1], [100, -40, 1], [10, 90, 1]),
    "clockwise": _triangle([4, 4, 1], [20, 6, 1], [8, 16, 1]),
    "counter-clockwise": _triangle([4, 4, 1], [8, 16, 1], [20, 6, 1]),
    "corners on pixel centres": _triangle([4.5, 4.5, 1], [20.5, 4.5, 1], [4.5, 15.5, 1]),
    "symmetric": _triangle([6.5, 4.5, 1], [18.5, 4.5, 1], [12.5, 10.5, 1]),
    "great depth": _triangle([4, 4, 1e30], [20, 6, 1e30], [8, 16, 1e-30]),
    "repeated faces": (_triangle([4, 4, 1], [20, 6, 1], [8, 16, 1])[0], np.array([[0, 1, 2]] * 9, np.int32)),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_hard_cases(backend):
    for name, (vertices, faces) in HARD_CASES.items():
        alpha, gradient = draw(vertices, faces, 1.25, backend)
        expected = reference.softras(vertices, faces, IMAGE, 1.25, wave(IMAGE))
        try:
            # On a face's axis of symmetry two edges are equally near, and each is as right.
            tolerance = 2 if name == "symmetric" else 2e-3
            assert_agrees((alpha, gradient), expected, image=3e-4, most_pixels=3e-4, gradient=tolerance)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        unused = np.setdiff1d(np.arange(len(vertices)), [i for f in faces if reference.counted(vertices[f]) for i in f])
        assert (gradient[unused] == 0).all(), name
        assert (gradient[:, 2] == 0).all(), name
    empty, _ = draw(*HARD_CASES["out of view"], 1.25, backend)
    assert (empty == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sigma", [0.05, 1.25, 25.0])
def test_sizes_and_blurs(backend, sigma, meshes):
    vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)
    for name, scale, tolerance in (
        ("ordinary", 1, 2e-3),
        ("20 times the image", 40, 5e-3),
        ("8 x 8 pixels", 0.5, 5e-3),
    ):
        sized = (vertices - [13, 9.6, 0]) * [scale, scale, 1] + [13.1, 9.8, 0]
        sized = sized.astype(np.float32)
        expected = reference.softras(sized, faces, IMAGE, sigma, wave(IMAGE))
        assert_agrees(draw(sized, faces, sigma, backend), expected, image=3e-4, most_pixels=3e-4, gradient=tolerance)
        assert expected[0].max() > 0.9, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_faces_in_one_pixel_and_slivers(backend, meshes):
    vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)
    tiny = ((vertices - [13, 9.6, 0]) * [0.02, 0.02, 1] + [13.4, 9.6, 0]).astype(np.float32)
    expected = reference.softras(tiny, faces, IMAGE, 1.25, wave(IMAGE))
    assert_agrees(draw(tiny, faces, 1.25, backend), expected, image=2e-3, most_pixels=2e-3, gradient=2e-2)
    sliver = _triangle([3.2, 4.1, 1], [21.3, 12.7, 1], [12.25, 8.401, 1])
    expected = reference.softras(*sliver, IMAGE, 1.25, wave(IMAGE))
    assert expected[0].max() > 0.3
    assert_agrees(draw(*sliver, 1.25, backend), expected, image=1e-2, most_pixels=1e-2, gradient=0.2)


@pytest.mark.parametrize("deterministic", [False, True])
def test_scattered_windows_agree_with_windows_in_sequence(deterministic, meshes):
    vertices, faces = reference.star(meshes.sphere, 8, 15, IMAGE)
    triangles = jnp.asarray(vertices)[faces][None, :, :, :2]
    arrays = triangles, jnp.ones((1, len(faces)), bool), jnp.full(1, 1.25)
    weight = wave(IMAGE)[None]

    def both(merge, triangles, valid, sigma):
        options = {"image_size": IMAGE, "merge": merge, "deterministic": deterministic}
        mesh = triangles, valid, sigma
        moves = silhouette_windows.tangent(*mesh, jnp.ones_like(triangles), **options)
        return (
            silhouette_windows.transparency(*mesh, **options),
            silhouette_windows.gradient(*mesh, weight, **options),
            moves,
        )

    run = jax.jit(both, static_argnums=0)
    scattered = run("scatter", *arrays)
    for value, expected in zip(scattered, run("sequential", *arrays), strict=True):
        np.testing.assert_allclose(value, expected, atol=2e-5 * np.abs(expected).max(), rtol=1e-4)
    if deterministic:
        # Integers add to the same sum in any order: faces in another order give the same bits.
        order = np.random.default_rng(0).permutation(len(faces))
        shuffled = run("scatter", triangles[:, order], *arrays[1:])
        np.testing.assert_array_equal(scattered[0], shuffled[0])
        for value, again in zip(scattered, run("scatter", *arrays), strict=True):
            np.testing.assert_array_equal(value, again)


def test_square_is_the_same_in_other_units(meshes):
    vertices, faces = meshes.triangle_soup(3, 12, IMAGE)
    pixels = render_jax.soft_silhouette(jnp.asarray(vertices), faces, IMAGE, 1.5)
    units = (vertices - np.array([13, 10, 0], np.float32)) / np.array([10, 10, 1], np.float32)
    square = render_jax.soft_silhouette_in_square(jnp.asarray(units), faces, IMAGE, 0.015)
    np.testing.assert_allclose(square, pixels, atol=1e-4)
    np.testing.assert_allclose(render_jax.square_sigma((224, 224), 1e-4), 1.2544)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0.0}, "sigma > 0"),
        ({"sigma": jnp.ones(3)}, "one sigma"),
        ({"mode": "hard"}, "mode="),
        ({"backend": "cuda"}, "backend="),
        ({"vertices": jnp.ones((2, 3, 3))}, "one image"),
        ({"faces": np.array([[0, 1, 5]])}, "face indices"),
        ({"faces": jnp.array([[0, 1, 3]])}, "face indices"),
        ({"faces": jnp.array([[0, -1, 2]]), "mode": "outline"}, "face indices"),
        ({"image_size": (0, 4)}, "image_size"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    arguments = {"vertices": jnp.ones((3, 3)), "faces": np.array([[0, 1, 2]]), "image_size": (4, 4), "sigma": 1.0}
    with pytest.raises(ValueError, match=message):
        render_jax.soft_silhouette(**(arguments | change))


@pytest.mark.parametrize("mode", ["softras", "outline"])
def test_a_mesh_without_faces_is_an_empty_picture(mode):
    alpha = render_jax.soft_silhouette(jnp.ones((3, 3)), np.zeros((0, 3), np.int32), (4, 5), 1.0, mode=mode)
    np.testing.assert_array_equal(alpha, np.zeros((4, 5)))
