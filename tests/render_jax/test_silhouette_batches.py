"""Silhouettes under vmap, vmap of grad, shard_map, in float64, forward mode, and with traced faces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import render_jax
from render_jax import silhouette_faces, silhouette_moments
from render_jax.mesh_corners import add_runs, corners_of
from tests.render_jax import silhouette_reference as reference

IMAGE = (18, 22)
MODES_AND_BACKENDS = [("softras", "windows"), ("softras", "tiles"), ("outline", "windows")]


def some_images(sphere, count):
    """The same mesh shifted about, the last one out of view."""
    vertices, faces = reference.star(sphere, 6, 10, IMAGE)
    shift = np.random.default_rng(0).uniform(-4, 4, (count, 1, 3)).astype(np.float32) * np.array([1, 1, 0], np.float32)
    shift[-1] = 100
    return jnp.asarray(vertices[None] + shift), faces


def loss_and_picture(vertices, faces, sigma, mode, backend):
    alpha = render_jax.soft_silhouette(vertices, faces, IMAGE, sigma, mode=mode, backend=backend)
    wave = jnp.sin(jnp.arange(alpha.size, dtype=alpha.dtype)).reshape(alpha.shape)
    return (alpha * wave).sum(), alpha


@pytest.mark.parametrize(("mode", "backend"), MODES_AND_BACKENDS)
def test_vmap_of_value_and_gradient_is_a_loop(mode, backend, meshes):
    batch, faces = some_images(meshes.sphere, 4)
    sigmas = jnp.array([0.7, 1.0, 1.7, 1.0])

    def one(vertices, sigma):
        return jax.value_and_grad(loss_and_picture, has_aux=True)(vertices, faces, sigma, mode, backend)

    (_, alpha), gradient = jax.jit(jax.vmap(one))(batch, sigmas)
    alone = jax.jit(one)
    for index in range(4):
        (_, expected), expected_gradient = alone(batch[index], sigmas[index])
        np.testing.assert_allclose(alpha[index], expected, atol=2e-6)
        np.testing.assert_allclose(gradient[index], expected_gradient, atol=2e-5)
    assert np.abs(alpha[0] - alpha[1]).max() > 0.5
    assert (alpha[3] == 0).all()
    assert (gradient[3] == 0).all()


def test_nested_vmap_with_shared_vertices(meshes):
    batch, faces = some_images(meshes.sphere, 3)
    sigmas = jnp.array([0.5, 2.0])
    draw = jax.jit(
        jax.vmap(
            jax.vmap(lambda v, s: render_jax.soft_silhouette(v, faces, IMAGE, s), in_axes=(None, 0)), in_axes=(0, None)
        )
    )
    nested = draw(batch, sigmas)
    assert nested.shape == (3, 2, *IMAGE)
    one = jax.jit(lambda v, s: render_jax.soft_silhouette(v, faces, IMAGE, s))
    np.testing.assert_allclose(nested[1, 1], one(batch[1], sigmas[1]), atol=2e-6)
    np.testing.assert_allclose(nested[0, 0], one(batch[0], sigmas[0]), atol=2e-6)


@pytest.mark.parametrize(("mode", "backend"), MODES_AND_BACKENDS)
def test_four_devices_agree_with_one(mode, backend, meshes):
    batch, faces = some_images(meshes.sphere, 8)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(batch, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))

    def sharded(vertices):
        alpha = render_jax.sharded_soft_silhouettes(
            vertices, faces, IMAGE, 1.0, mesh=mesh, axis="data", mode=mode, backend=backend
        )
        return (alpha**2).sum(), alpha

    def plain(vertices):
        alpha = jax.vmap(lambda v: render_jax.soft_silhouette(v, faces, IMAGE, 1.0, mode=mode, backend=backend))(
            vertices
        )
        return (alpha**2).sum(), alpha

    (value, alpha), gradient = jax.jit(jax.value_and_grad(sharded, has_aux=True))(spread)
    (expected, picture), expected_gradient = jax.jit(jax.value_and_grad(plain, has_aux=True))(batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(alpha, picture, atol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-5)
    assert {shard.data.shape for shard in alpha.addressable_shards} == {(2, *IMAGE)}
    assert {shard.data.shape for shard in gradient.addressable_shards} == {(2, *batch.shape[1:])}


def test_sharding_refuses_what_it_cannot_share(meshes):
    batch, faces = some_images(meshes.sphere, 3)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(ValueError, match="evenly"):
        render_jax.sharded_soft_silhouettes(batch, faces, IMAGE, 1.0, mesh=mesh, axis="data")
    with pytest.raises(ValueError, match="axis of the mesh"):
        render_jax.sharded_soft_silhouettes(batch, faces, IMAGE, 1.0, mesh=mesh, axis="model")
    with pytest.raises(ValueError, match="batch, vertices, 3"):
        render_jax.sharded_soft_silhouettes(batch[0], faces, IMAGE, 1.0, mesh=mesh, axis="data")


@pytest.mark.parametrize("backend", ["windows", "tiles"])
def test_float64(backend, meshes):
    with jax.enable_x64(True):
        vertices, faces = reference.star(meshes.sphere, 6, 10, IMAGE)
        weight = np.random.default_rng(1).normal(size=IMAGE)

        def loss(vertices):
            alpha = render_jax.soft_silhouette(vertices, faces, IMAGE, 1.25, backend=backend)
            return (alpha * weight).sum(), alpha

        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (_, alpha), gradient = run(jnp.asarray(vertices, jnp.float64))
        assert alpha.dtype == gradient.dtype == jnp.float64
        expected, expected_gradient = reference.softras(vertices, faces, IMAGE, 1.25, weight)
        np.testing.assert_allclose(alpha, expected, atol=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-11)


@pytest.mark.parametrize("backend", ["windows", "tiles"])
def test_forward_mode_agrees_with_reverse_mode(backend, meshes):
    batch, faces = some_images(meshes.sphere, 2)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=IMAGE).astype(np.float32))
    tangents = jnp.asarray(np.random.default_rng(2).normal(size=(3, *batch.shape[1:])).astype(np.float32))
    alpha, moves = jax.jit(
        jax.vmap(
            lambda t: render_jax.soft_silhouette_jvp(batch[0], t, faces, IMAGE, 1.25, backend=backend),
            out_axes=(None, 0),
        )
    )(tangents)
    picture, pull = jax.vjp(lambda v: render_jax.soft_silhouette(v, faces, IMAGE, 1.25), batch[0])
    np.testing.assert_allclose(alpha, picture, atol=2e-6)
    (gradient,) = pull(weight)
    np.testing.assert_allclose(
        (moves * weight[None]).sum(axis=(1, 2)), (tangents * gradient[None]).sum(axis=(1, 2)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_traced_faces_agree_with_known_ones(deterministic, meshes):
    batch, faces = some_images(meshes.sphere, 2)

    def loss(vertices, faces):
        return (render_jax.soft_silhouette(vertices, faces, IMAGE, 1.0, deterministic=deterministic) ** 2).sum()

    traced = jax.jit(jax.grad(loss))
    known = jax.jit(jax.grad(lambda v: loss(v, faces)))(batch[0])
    np.testing.assert_allclose(traced(batch[0], jnp.asarray(faces)), known, atol=2e-5)
    np.testing.assert_array_equal(traced(batch[0], jnp.asarray(faces)), traced(batch[0], jnp.asarray(faces)))


@pytest.mark.parametrize("fan", [1, 9, 700])
def test_gradient_of_corners_adds_any_number_of_them(fan):
    # A fan: all its faces meet in vertex 0, far more than a row of the table holds.
    faces = np.stack([np.zeros(fan, int), np.arange(1, fan + 1), np.arange(2, fan + 2)], axis=1).astype(np.int32)
    vertices = jnp.zeros((fan + 3, 2))  # the last one belongs to no face
    weight = np.random.default_rng(fan).integers(-9, 9, (fan, 3, 2)).astype(np.float32)
    expected = np.zeros(vertices.shape, np.float32)
    np.add.at(expected, faces.reshape(-1), weight.reshape(-1, 2))
    known = jax.grad(lambda v: (corners_of(v, faces) * weight).sum())(vertices)
    np.testing.assert_array_equal(known, expected)


@pytest.mark.parametrize("window", [8, 16])
def test_moments_give_the_sums_that_single_pixels_give(window):
    random = np.random.default_rng(window)
    with jax.enable_x64(True):
        # Windows in, across and beside faces smaller and much larger than they are; the last entry is nobody's.
        triangles = random.uniform(-1, 1, (40, 3, 2)) * random.choice([3, 30, 3000], (40, 1, 1))
        table = silhouette_faces.pack(jnp.asarray(triangles), jnp.ones(40, bool), jnp.full(40, 1.25))
        row, column = jnp.asarray(random.integers(-12, 8, (2, 41)).astype(np.int32))
        weight = jnp.asarray(random.normal(size=(41, window, window)))

        @jax.jit
        def both(table, row, column, weight):
            terms = silhouette_faces.edge_terms(table, row, column, (window, window))
            pulls = silhouette_moments.pulls(terms, weight)
            moments = silhouette_moments.gradient_sums_by_moments(table, row, column, pulls)
            return moments, silhouette_faces.gradient_sums(terms, weight), pulls.part

        moments, sums, part = both(table, row, column, weight)
        assert set(np.unique(part)) == set(range(6))
        assert (sums[-1] == 0).all()
        np.testing.assert_allclose(moments, sums, rtol=1e-11, atol=1e-11 * np.abs(sums).max())


def test_runs_are_added_where_they_belong():
    entry = jnp.array([0, 0, 2, 2, 2, 3, 5], jnp.int32)
    values = jnp.arange(7.0)[:, None]
    total = add_runs(jnp.ones((5, 1)), entry, values)  # entry 5 is beyond the end and dropped
    np.testing.assert_array_equal(total[:, 0], [2, 1, 10, 6, 1])
