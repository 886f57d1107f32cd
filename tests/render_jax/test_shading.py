"""Normals, lights, pictures and viewpoints against what they must be by geometry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import render_jax
from render_jax import Lights, Pinhole, WeakPerspective

SIZE = (24, 32)
CAMERA = Pinhole(60.0, 60.0, 16.0, 12.0)
render = jax.jit(render_jax.render, static_argnames=("image_size", "supersample", "cull", "soft_mode"))


def one_light(direction=(0, 0, -1), specular=0.0):
    return Lights(
        ambient=jnp.array([0.1, 0.2, 0.3]),
        directions=jnp.asarray([direction], jnp.float32),
        colours=jnp.array([[0.5, 0.4, 0.3]]),
        positions=jnp.zeros((0, 3)),
        lamp_colours=jnp.zeros((0, 3)),
        specular=specular,
    )


def wall(depth=1.0):
    """A square that fills the picture, facing the camera."""
    vertices = jnp.array([[-2.0, -2, depth], [2, -2, depth], [2, 2, depth], [-2, 2, depth]])
    return vertices, jnp.array([[0, 2, 1], [0, 3, 2]])


@pytest.mark.parametrize("size", [1.0, 1e-15, 1e15])
def test_normals_of_a_sphere_point_outwards_at_every_scale(size, meshes):
    vertices, faces = meshes.sphere(rows=24, columns=32)
    normals = render_jax.vertex_normals(jnp.asarray(vertices * np.float32(size)), faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert ((np.asarray(normals) * vertices).sum(axis=1) > 0.995).all()


def test_normals_are_weighted_by_area_and_zero_where_there_are_none():
    # vertex 0: a face of area 2 in the plane z = 0 and one of area 1 in the plane y = 0
    vertices = jnp.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 1], [5, 5, 5]])
    faces = jnp.array([[0, 1, 2], [0, 3, 1], [2, 2, 2]])
    normals = np.asarray(render_jax.vertex_normals(vertices, faces))
    np.testing.assert_allclose(normals[0], np.array([0, 1, 2]) / np.sqrt(5), atol=1e-6)
    np.testing.assert_array_equal(normals[4], 0)
    jacobian = jax.jit(jax.jacrev(render_jax.vertex_normals))(vertices, faces)
    assert np.isfinite(jacobian).all()
    assert (np.asarray(jacobian)[4] == 0).all()


def test_lambert_shading_of_a_wall():
    direction = np.array([0.6, 0, -0.8])
    vertices, faces = wall()
    colour = jnp.array([0.9, 0.5, 1.0])
    picture = render(vertices, faces, CAMERA, SIZE, colours=colour, lights=one_light(direction), supersample=1)
    expected = np.array([0.9, 0.5, 1.0]) * ([0.1, 0.2, 0.3] + 0.8 * np.array([0.5, 0.4, 0.3]))
    np.testing.assert_allclose(picture.image, np.broadcast_to(expected, (*SIZE, 3)), rtol=1e-5)
    np.testing.assert_array_equal(picture.mask, 1)
    # seen from behind it is lit as from the front; lit from behind, only the ambient light is left
    flipped = render(vertices, faces[:, ::-1], CAMERA, SIZE, colours=colour, lights=one_light(direction), supersample=1)
    np.testing.assert_allclose(flipped.image, picture.image, atol=1e-6)
    dark = render(vertices, faces, CAMERA, SIZE, colours=colour, lights=one_light(-direction), supersample=1)
    np.testing.assert_allclose(dark.image[3, 5], np.array([0.9, 0.5, 1.0]) * [0.1, 0.2, 0.3], rtol=1e-5)


def test_highlight_and_lamp_follow_their_formulas():
    position = np.array([[0.1, -0.2, 1.0]])
    lamp = np.array([0.3, 0.1, 0.2])
    lights = Lights(
        ambient=jnp.zeros(3),
        directions=jnp.zeros((0, 3)),
        colours=jnp.zeros((0, 3)),
        positions=jnp.asarray(lamp[None], jnp.float32),
        lamp_colours=jnp.array([[1.0, 0.5, 0.25]]),
        specular=0.4,
        shininess=10.0,
    )
    normal = np.array([[0.0, 0.0, -1.0]])
    shaded = render_jax.shade(
        jnp.asarray(normal, jnp.float32), jnp.asarray(position, jnp.float32), jnp.full((1, 3), 0.8), lights
    )
    unit = lambda vector: vector / np.linalg.norm(vector)  # noqa: E731
    towards, view = unit(lamp - position[0]), unit(-position[0])
    strength = 0.8 * (normal[0] @ towards) + 0.4 * (normal[0] @ unit(towards + view)) ** 10
    np.testing.assert_allclose(shaded[0], strength * np.array([1.0, 0.5, 0.25]), rtol=1e-5)


def test_shading_agrees_with_an_independent_sum_over_lights():
    random = np.random.default_rng(0)
    unit = lambda vectors: vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)  # noqa: E731
    normals, colours = unit(random.normal(size=(50, 3))), random.uniform(size=(50, 3))
    positions = random.uniform([-0.3, -0.3, 0.3], [0.3, 0.3, 0.9], (50, 3))
    directions, lamps = unit(random.normal(size=(3, 3))), random.uniform(-1, 1, (2, 3))
    ambient, far_colours, lamp_colours = (
        random.uniform(size=3),
        random.uniform(size=(3, 3)),
        random.uniform(size=(2, 3)),
    )
    specular, shininess = 0.35, 17.0
    expected = np.zeros((50, 3))
    for point in range(50):
        towards = [*zip(directions, far_colours, strict=True)]
        towards += [(unit(lamp - positions[point]), light) for lamp, light in zip(lamps, lamp_colours, strict=True)]
        expected[point] = ambient * colours[point]
        for direction, light in towards:
            lambert = normals[point] @ direction
            if lambert > 0:
                halfway = unit(direction + unit(-positions[point]))
                highlight = max(normals[point] @ halfway, 0) ** shininess
                expected[point] += light * (lambert * colours[point] + specular * highlight)
    with jax.enable_x64(True):
        lights = Lights(ambient, directions, far_colours, lamps, lamp_colours, specular, shininess)
        lights = jax.tree.map(jnp.asarray, lights)
        arrays = (jnp.asarray(array) for array in (normals, positions, colours))
        np.testing.assert_allclose(jax.jit(render_jax.shade)(*arrays, lights), expected, rtol=1e-10, atol=1e-12)


def test_ambient_light_shows_colours_as_they_are():
    vertices, faces = wall()
    colour = jnp.array([0.9, 0.5, 0.1])
    picture = render(vertices, faces, CAMERA, SIZE, colours=colour, lights=render_jax.ambient_light(), supersample=1)
    np.testing.assert_allclose(picture.image, np.broadcast_to(colour, (*SIZE, 3)), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["outline", "softras"])
def test_soft_edges_are_composed_by_alpha_and_move_with_the_outline(mode):
    vertices = jnp.array([[-0.1, -0.1, 1.0], [0.1, -0.1, 1.0], [0.0, 0.15, 1.0]])
    faces = np.array([[0, 2, 1]])
    background = jnp.asarray(np.random.default_rng(0).uniform(size=(*SIZE, 3)), jnp.float32)
    colour = jnp.array([0.9, 0.5, 0.1])

    @jax.jit
    def loss_and_gradient(vertices, goal):
        def loss(vertices):
            picture = render_jax.render(
                vertices,
                faces,
                CAMERA,
                SIZE,
                colours=colour,
                lights=render_jax.ambient_light(),
                background=background,
                supersample=1,
                soft_edges=0.8,
                soft_mode=mode,
            )
            return ((picture.image - goal) ** 2).sum(), picture

        return jax.value_and_grad(loss, has_aux=True)(vertices)

    alpha = jax.jit(lambda points: render_jax.soft_silhouette(points, faces, SIZE, 0.8, mode=mode))(
        CAMERA.to_screen(vertices)
    )
    (_, picture), _ = loss_and_gradient(vertices, background)
    np.testing.assert_allclose(picture.mask, alpha, atol=1e-6)
    expected = np.asarray(alpha)[..., None] * np.asarray(colour) + (1 - np.asarray(alpha)[..., None]) * background
    np.testing.assert_allclose(picture.image, expected, atol=1e-5)
    hard = np.asarray(render_jax.rasterize(CAMERA.to_screen(vertices), faces, SIZE).mask)
    assert ((np.asarray(alpha) > 0.02) & ~hard).sum() > 20  # colour beyond the hard mask

    # one colour and one background would do; what hard edges cannot see is the motion sideways
    (_, moved), _ = loss_and_gradient(vertices.at[:, 0].add(0.01), background)
    _, gradient = loss_and_gradient(vertices, moved.image)
    ends = [loss_and_gradient(vertices.at[:, 0].add(step), moved.image)[0][0] for step in (1e-3, -1e-3)]
    slope = (ends[0] - ends[1]) / 2e-3
    assert slope < -1
    np.testing.assert_allclose(gradient[:, 0].sum(), slope, rtol=0.05)


@pytest.mark.slow
def test_soft_edges_show_the_colours_of_the_surface_nearby(meshes):
    vertices, faces = meshes.sphere()
    vertices = jnp.asarray((vertices * 0.12 + [0, 0, 1]).astype(np.float32))
    colours = jnp.where(vertices[:, :1] < 0, jnp.array([[1.0, 0, 0]]), jnp.array([[0, 0, 1.0]]))
    picture = render(
        vertices,
        faces,
        CAMERA,
        SIZE,
        colours=colours,
        lights=render_jax.ambient_light(),
        background=0.0,
        soft_edges=2.0,
    )
    image, mask = np.asarray(picture.image), np.asarray(picture.mask)
    border = (mask > 0.05) & (mask < 0.95)
    shown = image / np.maximum(mask, 1e-6)[..., None]
    left, right = border.copy(), border.copy()
    left[:, 11:], right[:, :21] = False, False  # towards the middle the colours of vertices blend
    assert left.sum() > 15
    # no black of the background in them, and hardly the other side's colour
    np.testing.assert_allclose(shown[border].sum(axis=-1), 1, atol=0.01)
    assert (shown[left][:, 0] > 0.8).all()
    assert (shown[right][:, 2] > 0.8).all()


def test_vertex_colours_are_interpolated_and_background_shows_around():
    vertices = jnp.array([[-0.1, -0.1, 1.0], [0.1, -0.1, 1.0], [0.0, 0.15, 1.0]])
    colours = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    lights = one_light()
    lights = Lights(jnp.ones(3), lights.directions, 0 * lights.colours, lights.positions, lights.lamp_colours)
    background = jnp.asarray(np.random.default_rng(0).uniform(size=(*SIZE, 3)), jnp.float32)
    picture = render(
        vertices,
        jnp.array([[0, 2, 1]]),
        CAMERA,
        SIZE,
        colours=colours,
        lights=lights,
        background=background,
        supersample=1,
    )
    covered = np.asarray(picture.mask) == 1
    assert 20 < covered.sum() < 120
    np.testing.assert_array_equal(np.asarray(picture.image)[~covered], np.asarray(background)[~covered])
    # the colours are barycentric coordinates, so they reproduce the pixel's place
    corners = np.asarray(CAMERA.project(vertices))
    row, column = np.argwhere(covered).T
    places = np.asarray(picture.image)[covered] @ corners
    np.testing.assert_allclose(places, np.stack([column + 0.5, row + 0.5], axis=-1), atol=2e-3)


def test_supersampled_mask_is_the_covered_area():
    vertices = jnp.array([[-0.1, -0.1, 1.0], [0.1, -0.1, 1.0], [0.0, 0.15, 1.0]])
    faces = jnp.array([[0, 2, 1]])
    area = 0.5 * 12.0 * 15.0
    picture = render(vertices, faces, CAMERA, SIZE, background=0.0, supersample=4)
    assert abs(float(picture.mask.sum()) - area) < 1.0
    partly = (np.asarray(picture.mask) > 0) & (np.asarray(picture.mask) < 1)
    assert partly.sum() > 20
    # a border pixel's brightness is that of the inside times its share
    inside = np.asarray(picture.image)[np.asarray(picture.mask) == 1].mean(axis=0)
    assert (np.asarray(picture.image)[partly] <= inside * 1.2).all()


def test_a_mirrored_scene_gives_the_mirrored_picture(meshes):
    vertices, faces = meshes.sphere()
    vertices = jnp.asarray((vertices * [0.15, 0.1, 0.1] + [0.03, -0.02, 1]).astype(np.float32))
    lights = one_light((0, -0.6, -0.8), specular=0.2)  # itself symmetric
    mirror = jnp.array([[-1.0, 1, 1]])
    picture = render(vertices, faces, CAMERA, SIZE, lights=lights)
    mirrored = render(vertices * mirror, faces, CAMERA.mirrored(SIZE[1]), SIZE, lights=lights)
    difference = np.abs(np.asarray(picture.image) - np.asarray(mirrored.image)[:, ::-1])
    assert np.quantile(difference, 0.99) < 1e-4


def test_weak_perspective_draws_the_same_size_at_every_depth(meshes):
    vertices, faces = meshes.sphere()
    camera = WeakPerspective(100.0, jnp.array([16.0, 12.0]))
    near, far = (
        render(jnp.asarray(vertices * 0.08 + [0, 0, depth], jnp.float32), faces, camera, SIZE) for depth in (0.5, 5.0)
    )
    np.testing.assert_array_equal(near.mask, far.mask)
    # 12 x 16 flat faces: a little less than the circle
    assert abs(float(near.mask.sum()) - np.pi * 64) < 8


def test_render_maps_over_batches_and_has_finite_gradients(meshes):
    vertices, faces = meshes.sphere(rows=6, columns=8)
    vertices = jnp.asarray((vertices * 0.12 + [0, 0, 1]).astype(np.float32))
    colours = jnp.full(vertices.shape, 0.6)

    def brightness(vertices, colours):
        picture = render_jax.render(vertices, faces, CAMERA, SIZE, colours=colours, background=0.0, supersample=1)
        return (picture.image**2).sum()

    batch = jnp.stack([vertices, vertices + jnp.array([[0.02, 0.01, 0.1]])])
    function = jax.jit(jax.vmap(jax.value_and_grad(brightness, argnums=(0, 1)), in_axes=(0, None)))
    values, (to_vertices, to_colours) = function(batch, colours)
    for one, value in zip(batch, values, strict=True):
        image = np.asarray(render(one, faces, CAMERA, SIZE, colours=colours, background=0.0, supersample=1).image)
        np.testing.assert_allclose(value, (image**2).sum(), rtol=1e-4)
    for gradient in (to_vertices, to_colours):
        assert np.isfinite(gradient).all()
        assert (np.abs(np.asarray(gradient)).max(axis=(1, 2)) > 0).all()
    # image = light * colour + highlight, so its change with the colour is known from two renderings
    step = 1e-2
    brighter, darker = (
        np.asarray(render(vertices, faces, CAMERA, SIZE, colours=colours + change, background=0.0, supersample=1).image)
        for change in (step, -step)
    )
    slope = ((brighter**2).sum() - (darker**2).sum()) / (2 * step)
    np.testing.assert_allclose(np.asarray(to_colours)[0].sum(), slope, rtol=2e-3)


def test_a_vertex_that_is_nan_costs_its_faces_only(meshes):
    vertices, faces = meshes.sphere(rows=6, columns=8)
    vertices = jnp.asarray((vertices * [0.12, 0.12, -0.12] + [0, 0, 1]).astype(np.float32))
    whole = brightness_and_gradient(vertices, jnp.asarray(faces))
    # the first face is among those lost: it is the one that empty pixels look up
    lost = faces[0][1]
    broken = brightness_and_gradient(vertices.at[lost].set(jnp.nan), jnp.asarray(faces))
    assert np.isfinite(broken[0][1]).all()
    assert np.isfinite(broken[1]).all()
    changed = np.abs(np.asarray(whole[0][1]) - np.asarray(broken[0][1])).max(axis=-1) > 1e-6
    assert 0 < changed.mean() < 0.3


@jax.jit
def brightness_and_gradient(vertices, faces):
    def brightness(vertices):
        picture = render_jax.render(vertices, faces, CAMERA, SIZE, background=0.0, supersample=1)
        return picture.image.sum(), picture.image

    return jax.value_and_grad(brightness, has_aux=True)(vertices)


def test_look_at_puts_the_target_in_the_middle_and_up_upwards():
    eye, target, up = jnp.array([1.0, 2.0, -3.0]), jnp.array([0.2, 0.1, 0.4]), jnp.array([0.0, 1.0, 0.0])
    rotation, translation = render_jax.look_at(eye, target, up)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) > 0.999
    np.testing.assert_allclose(rotation @ eye + translation, 0, atol=1e-6)
    distance = np.linalg.norm(eye - target)
    np.testing.assert_allclose(rotation @ target + translation, np.array([0, 0, distance]), atol=1e-6)
    upwards = np.asarray(rotation @ up)
    assert upwards[1] < -0.5
    np.testing.assert_allclose(upwards[0], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("eye", "up"), [([0.0, 0, 0], [0.0, 1, 0]), ([0.0, 3, 0], [0.0, 1, 0]), ([1.0, 1, 1], [0.0, 0, 0])]
)
def test_look_at_is_a_rotation_where_it_is_undetermined(eye, up):
    arguments = jnp.asarray(eye), jnp.zeros(3), jnp.asarray(up)
    rotation, _ = render_jax.look_at(*arguments)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.jacrev(render_jax.look_at))(*arguments)))


def test_turntable_goes_once_around():
    centre, up = jnp.array([0.1, 0.2, 0.3]), jnp.array([0.0, 1.0, 0.0])
    rotations, translations = render_jax.turntable(
        centre, 2.0, 8, up, start=jnp.array([0.0, 0.5, 1.0]), elevation=jnp.pi / 6
    )
    eyes = -jnp.einsum("nji,nj->ni", rotations, translations)
    np.testing.assert_allclose(np.linalg.norm(eyes - centre[None], axis=1), 2, rtol=1e-5)
    np.testing.assert_allclose(eyes[:, 1] - 0.2, 1, rtol=1e-5)
    angles = np.unwrap(np.arctan2(eyes[:, 0] - 0.1, eyes[:, 2] - 0.3))
    np.testing.assert_allclose(np.diff(angles), np.pi / 4, rtol=1e-4)


def test_wrong_pictures_are_refused():
    vertices, faces = wall()
    with pytest.raises(ValueError, match="background"):
        render_jax.render(vertices, faces, CAMERA, SIZE, background=jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="colours"):
        render_jax.render(vertices, faces, CAMERA, SIZE, colours=jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match="not both"):
        render_jax.render(vertices, faces, CAMERA, SIZE, near=0.1, soft_edges=1.0)
    with pytest.raises(ValueError, match="supersample"):
        render_jax.render(vertices, faces, CAMERA, SIZE, supersample=0)
