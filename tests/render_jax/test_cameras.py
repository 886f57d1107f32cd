"""Cameras against K in NumPy, and what resizing, cropping and mirroring must satisfy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render_jax import Pinhole, WeakPerspective, opengl_projection, opengl_view, pinhole_from_opengl, pose_from_opengl

K = np.array([[480.0, 0, 318.5], [0, 510.0, 241.0], [0, 0, 1]], np.float32)
POINTS = np.random.default_rng(0).uniform([-0.3, -0.2, 0.3], [0.3, 0.2, 0.9], (50, 3)).astype(np.float32)


def matrix_projection(matrix, points):
    homogeneous = np.asarray(points, np.float64) @ np.asarray(matrix, np.float64).T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def test_pinhole_is_its_matrix():
    camera = Pinhole.from_matrix(K)
    np.testing.assert_array_equal(camera.matrix(), K)
    np.testing.assert_array_equal(jax.jit(lambda matrix: Pinhole.from_matrix(matrix).matrix())(jnp.asarray(K)), K)
    np.testing.assert_allclose(camera.project(jnp.asarray(POINTS)), matrix_projection(K, POINTS), rtol=1e-6)
    screen = camera.to_screen(jnp.asarray(POINTS))
    np.testing.assert_array_equal(screen[:, 2], POINTS[:, 2])
    np.testing.assert_allclose(camera.unproject(screen[:, :2], screen[:, 2]), POINTS, atol=1e-6)


def test_a_batch_of_cameras_is_a_vmap():
    matrices = jnp.asarray(np.stack([K, 2 * K * [[1], [1], [0.5]]]).astype(np.float32))
    batch = jax.vmap(lambda matrix, points: Pinhole.from_matrix(matrix).project(points), in_axes=(0, None))
    for pixels, matrix in zip(batch(matrices, jnp.asarray(POINTS)), matrices, strict=True):
        np.testing.assert_allclose(pixels, matrix_projection(matrix, POINTS), rtol=1e-6)


@pytest.mark.parametrize("make", ["pinhole", "weak"])
def test_resizing_shifting_and_mirroring_do_to_pixels_what_they_do_to_images(make):
    camera = Pinhole.from_matrix(K)
    if make == "weak":
        camera = WeakPerspective.from_pinhole(camera, 0.6)
    points = jnp.asarray(POINTS)
    u, v = np.asarray(camera.project(points)).T
    pairs = [
        (camera.resized(0.5), points, (0.5 * u, 0.5 * v)),
        (camera.resized(0.5, 3.0), points, (0.5 * u, 3 * v)),
        (camera.shifted(20.25, -7.0), points, (u - 20.25, v + 7)),
        (camera.mirrored(640), points * jnp.array([[-1.0, 1, 1]]), (640 - u, v)),
    ]
    for changed, its_points, expected in pairs:
        np.testing.assert_allclose(changed.project(its_points), np.stack(expected, axis=-1), atol=1e-3)
        pixels, depth = changed.project(its_points), its_points[:, 2]
        np.testing.assert_allclose(changed.unproject(pixels, depth), its_points, atol=1e-6)


def test_weak_perspective_agrees_at_the_root_depth_also_where_pixels_are_not_square():
    pinhole = Pinhole.from_matrix(K)
    weak = WeakPerspective.from_pinhole(pinhole, 0.55)
    flat = jnp.asarray(POINTS).at[:, 2].set(0.55)
    np.testing.assert_allclose(weak.project(flat), pinhole.project(flat), rtol=1e-5)
    np.testing.assert_allclose(weak.scale, 480 / 0.55, rtol=1e-6)
    # and the depth plays no part
    np.testing.assert_array_equal(weak.project(flat), weak.project(flat.at[:, 2].set(9.0)))


@settings(deadline=None, max_examples=20)
@given(st.floats(0.25, 3, width=32), st.floats(-0.25, 0.25, width=32), st.floats(-0.25, 0.25, width=32))
def test_weak_and_full_perspective_come_back(depth, x, y):
    pinhole = Pinhole.from_matrix(K)
    placed = jnp.array([x, y, depth], jnp.float32)
    weak = WeakPerspective.from_placement(pinhole, placed)
    np.testing.assert_allclose(weak.placement(pinhole), placed, rtol=1e-4, atol=1e-5)
    # around the root, at its depth, both see the same
    flat = jnp.asarray(POINTS * [1, 1, 0], jnp.float32)
    moved = pinhole.project(flat + placed[None])
    np.testing.assert_allclose(weak.project(flat), moved, rtol=1e-4, atol=1e-2)
    # as a camera of points in its own frame
    at_depth = flat + jnp.array([[0, 0, depth]], jnp.float32)
    own = WeakPerspective.from_pinhole(pinhole, np.float32(depth))
    np.testing.assert_allclose(own.to_pinhole(np.float32(depth)).matrix(), K, rtol=1e-5)
    np.testing.assert_allclose(own.to_pinhole(np.float32(depth)).project(at_depth), own.project(at_depth), atol=0.02)


def test_normalized_weak_perspective_is_that_of_the_square():
    scale, shift = 1.3, np.array([0.05, -0.1], np.float32)
    camera = WeakPerspective.from_normalized(scale, jnp.asarray(shift), (480, 640))
    square = scale * (POINTS[:, :2] + shift)  # -1 ... 1 over the middle 480 pixels
    np.testing.assert_allclose(camera.project(jnp.asarray(POINTS)), square * 240 + [320, 240], atol=1e-3)


def to_pixels(clip, height, width):
    """OpenGL's viewport, with the picture's top row first."""
    device = clip[:, :3] / clip[:, 3:]
    return np.stack([(device[:, 0] + 1) / 2 * width, (1 - device[:, 1]) / 2 * height], axis=-1), device[:, 2]


@pytest.mark.parametrize("kind", ["pinhole", "weak"])
def test_opengl_matrices_give_the_same_pixels(kind):
    height, width = 480, 640
    camera = Pinhole.from_matrix(K)
    if kind == "weak":
        camera = WeakPerspective.from_pinhole(camera, 0.6)
    random = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    translation = np.array([0.02, -0.03, 0.7])
    world = random.uniform(-0.2, 0.2, (30, 3))
    view = opengl_view(jnp.asarray(rotation, jnp.float32), jnp.asarray(translation, jnp.float32))
    projection = opengl_projection(camera, (height, width), near=0.1, far=5.0)
    eye = np.column_stack([world, np.ones(30)]) @ np.asarray(view, np.float64).T
    seen = world @ rotation.T + translation
    np.testing.assert_allclose(eye[:, :3], seen * [1, -1, -1], atol=1e-6)
    pixels, closeness = to_pixels(eye @ np.asarray(projection, np.float64).T, height, width)
    np.testing.assert_allclose(pixels, camera.project(jnp.asarray(seen, jnp.float32)), atol=2e-3)
    order = np.argsort(seen[:, 2])
    assert (np.diff(closeness[order]) > 0).all()
    ends = np.array([[0, 0, -0.1, 1.0], [0, 0, -5, 1]]) @ np.asarray(projection, np.float64).T
    np.testing.assert_allclose(ends[:, 2] / ends[:, 3], [-1, 1], atol=1e-5)
    back = pose_from_opengl(view)
    np.testing.assert_allclose(back[0], rotation, atol=1e-6)
    np.testing.assert_allclose(back[1], translation, atol=1e-6)
    if kind == "pinhole":
        np.testing.assert_allclose(pinhole_from_opengl(projection, (height, width)).matrix(), K, rtol=1e-5)


def test_homogeneous_coordinates_are_the_projection_before_division():
    camera = Pinhole.from_matrix(K)
    points = jnp.asarray(POINTS).at[::2, 2].multiply(-1)
    homogeneous = np.asarray(camera.to_homogeneous(points), np.float64)
    np.testing.assert_allclose(
        homogeneous, np.asarray(points, np.float64) @ K.T.astype(np.float64), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], camera.project(points), rtol=1e-4)
    weak = WeakPerspective.from_pinhole(camera, 0.5)
    np.testing.assert_allclose(weak.to_homogeneous(points)[:, :2], weak.project(points), rtol=1e-6)
    np.testing.assert_array_equal(weak.to_homogeneous(points)[:, 2], 1)


def test_depth_zero_has_finite_values_and_gradients():
    camera = Pinhole.from_matrix(K)
    points = jnp.array([[0.1, -0.2, 0.0], [0.1, 0.2, 1e-9], [0.1, 0.2, -1e-9], [0.0, 0.0, 0.0]])
    assert np.isfinite(camera.project(points)).all()
    for jacobian in (jax.jacrev(camera.project), jax.jacfwd(camera.project)):
        assert np.isfinite(jacobian(points)).all()
    assert camera.project(points)[1, 0] > 0 > camera.project(points)[2, 0]


def test_field_of_view_spans_the_longer_side():
    camera = Pinhole.from_field_of_view((480, 640), 60.0)
    edge = np.array([[np.tan(np.radians(30)), 0.0, 1.0]], np.float32)
    np.testing.assert_allclose(camera.project(jnp.asarray(edge)), [[640, 240]], rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(50, 2000, width=32), min_size=2, max_size=2),
    st.lists(st.floats(-100, 900, width=32), min_size=2, max_size=2),
    st.floats(0.125, 8, width=32),
    st.floats(-300, 300, width=32),
)
def test_changes_can_be_undone(focal, centre, factor, shift):
    camera = Pinhole(*focal, *centre)
    back = camera.resized(factor).resized(1 / factor).shifted(shift, -shift).shifted(-shift, shift)
    back = back.mirrored(640).mirrored(640)
    np.testing.assert_allclose(back.matrix(), camera.matrix(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(4), "3x3"),
        (np.diag([np.nan, 1, 1]), "finite"),
        (np.diag([-500.0, 500, 1]), "fx, fy > 0"),
        (np.diag([500.0, 0, 1]), "fx, fy > 0"),
        (K.T, "skew"),
        (2 * K, "skew"),
        (K + np.array([[0, 5, 0], [0, 0, 0], [0, 0, 0]]), "skew"),
    ],
)
def test_malformed_matrices_are_refused(matrix, words):
    with pytest.raises(ValueError, match=words):
        Pinhole.from_matrix(np.asarray(matrix, np.float32))


def test_other_wrong_input_is_refused():
    camera = Pinhole.from_matrix(K)
    with pytest.raises(ValueError, match="last axis"):
        camera.project(jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match="last axis"):
        camera.unproject(jnp.zeros((4, 3)), jnp.ones(4))
    with pytest.raises(ValueError, match="180"):
        Pinhole.from_field_of_view((480, 640), 180.0)
    with pytest.raises(ValueError, match="4x4"):
        pose_from_opengl(jnp.eye(3))
    with pytest.raises(ValueError, match="4x4"):
        pinhole_from_opengl(jnp.eye(3), (480, 640))
