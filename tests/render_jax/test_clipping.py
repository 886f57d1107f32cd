"""Faces that reach past the camera, against rays cast in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import render_jax

IMAGE = (20, 26)
NEAR = 0.05
# Every test draws meshes filled up to these counts, so they share compiled programs.
POINTS, FACES = 64, 24
CAMERA = (30.0, 34.0, 12.7, 9.1)


def padded(points, faces, dtype: type = np.float32):
    filled_points, filled_faces = np.ones((POINTS, 3), dtype), np.zeros((FACES, 3), np.int32)
    filled_points[: len(points)], filled_faces[: len(faces)] = points, faces
    return jnp.asarray(filled_points), jnp.asarray(filled_faces)


def pinhole(dtype: type = np.float32):
    return render_jax.Pinhole(*(jnp.asarray(value, dtype) for value in CAMERA))


rasterize = jax.jit(render_jax.rasterize_clipped, static_argnames=("image_size", "cull"))
unclipped = jax.jit(render_jax.rasterize, static_argnames="image_size")


def draw(points, faces, dtype: type = np.float32, near=NEAR, **options):
    arguments = *padded(points, faces, dtype), pinhole(dtype), IMAGE
    return jax.tree.map(np.asarray, rasterize(*arguments, near=jnp.asarray(near, dtype), **options))


def something_of_everything(points, faces, camera):
    fragments = render_jax.rasterize_clipped(points, faces, camera, IMAGE, near=NEAR)
    wave = jnp.sin(jnp.arange(IMAGE[0] * IMAGE[1], dtype=points.dtype)).reshape(IMAGE)
    corner = jnp.asarray([0.3, -1.1, 0.7], points.dtype)
    value = (wave * jnp.tanh(fragments.depth)).sum()
    return value + (wave[..., None] * fragments.barycentric * corner[None, None]).sum(), fragments.face_index


value_and_gradient = jax.jit(jax.value_and_grad(something_of_everything, argnums=(0, 2), has_aux=True))


def cast_rays(points, faces, near=NEAR):
    """Every pixel's ray against every face in float64: t r = sum of lambda_k P_k, of t >= near the nearest.

    Returns index, depth, barycentric, and where float32 may rightly decide otherwise.
    """
    points = np.asarray(points, np.float64)
    fx, fy, cx, cy = CAMERA
    v, u = np.mgrid[: IMAGE[0], : IMAGE[1]] + 0.5
    rays = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], axis=-1)
    index, depth = np.full(IMAGE, -1), np.full(IMAGE, np.inf)
    barycentric, unsure = np.zeros((*IMAGE, 3)), np.zeros(IMAGE, bool)
    for number, face in enumerate(faces):
        weights = rays @ np.linalg.inv(points[face])
        scale = 1 / weights.sum(axis=-1)
        weights = weights * scale[..., None]
        inside = (weights >= 0).all(axis=-1) & (scale >= near)
        unsure |= (np.abs(weights).min(axis=-1) < 1e-3) | (np.abs(scale - near) < 1e-3 * near)
        unsure |= inside & (np.abs(scale - depth) < 1e-4 * scale)
        nearer = inside & (scale < depth)
        index[nearer], depth[nearer], barycentric[nearer] = number, scale[nearer], weights[nearer]
    return index, np.where(index < 0, 0, depth), barycentric, unsure


FLOOR = np.array([[-20.0, 1.2, -7], [20, 1.2, -7], [20, 1.2, 30], [-20, 1.2, 30]]), [[0, 1, 2], [0, 2, 3]]


def test_a_floor_through_the_camera_has_no_holes_and_lies_where_it_must():
    with jax.enable_x64(True):
        fragments = draw(*FLOOR, dtype=np.float64)
        row = np.arange(IMAGE[0]) + 0.5
        below = row > CAMERA[3]
        depth = CAMERA[1] * 1.2 / (row[below] - CAMERA[3])
        seen = depth < 30
        expected = np.broadcast_to((below & np.isin(row, row[below][seen]))[:, None], IMAGE)
        np.testing.assert_array_equal(fragments.mask, expected)
        np.testing.assert_allclose(
            fragments.depth[fragments.mask], np.repeat(depth[seen], IMAGE[1]), rtol=1e-12, atol=1e-12
        )
        positions = np.einsum(
            "hwk,hwkc->hwc", fragments.barycentric, FLOOR[0][np.array(FLOOR[1])[fragments.face_index]]
        )
        np.testing.assert_allclose(positions[fragments.mask][:, 1], 1.2, rtol=1e-12)
        u = np.broadcast_to(np.arange(IMAGE[1]) + 0.5, IMAGE)[fragments.mask]
        across = (u - CAMERA[2]) / CAMERA[0] * fragments.depth[fragments.mask]
        np.testing.assert_allclose(positions[fragments.mask][:, 0], across, atol=1e-11)
    # in single precision the same, to the rounding of a floor 40 m wide
    single = draw(*FLOOR)
    np.testing.assert_array_equal(single.mask, expected)
    np.testing.assert_allclose(single.depth, fragments.depth, rtol=1e-4)
    # without clipping both faces are lost
    camera = pinhole()
    points, faces = padded(*FLOOR)
    assert not np.asarray(unclipped(camera.to_screen(points), faces, image_size=IMAGE).mask).any()


def crossing_triangles(seed, count=FACES - 4):
    """Triangles around the camera, most of them on both sides of the near plane."""
    random = np.random.default_rng(seed)
    middle = random.uniform([-1.5, -1.5, -0.3], [1.5, 1.5, 1.5], (count, 1, 3))
    corners = middle + random.uniform(-1.5, 1.5, (count, 3, 3))
    return corners.reshape(-1, 3).astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def test_triangles_through_the_near_plane_agree_with_cast_rays():
    cut, sure_share = [], []
    for seed in range(12):
        points, faces = crossing_triangles(seed)
        behind = (points[faces][:, :, 2] < NEAR).sum(axis=1)
        index, depth, barycentric, unsure = cast_rays(points, faces)
        fragments = draw(points, faces)
        sure = ~unsure
        np.testing.assert_array_equal(fragments.face_index[sure], index[sure])
        np.testing.assert_allclose(fragments.depth[sure], depth[sure], rtol=5e-4)
        np.testing.assert_allclose(fragments.barycentric[sure], barycentric[sure], atol=2e-3)
        cut.append([np.isin(index, np.flatnonzero(behind == count)).mean() for count in (0, 1, 2)])
        sure_share.append(sure.mean())
    assert np.mean(sure_share) > 0.9
    # pixels that see whole faces, faces with one corner behind the plane and with two
    assert (np.mean(cut, axis=0) > 0.05).all()


def test_gradients_are_those_of_the_whole_faces():
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        checked = 0
        for seed in range(4):
            points, faces = padded(*crossing_triangles(seed), np.float64)
            camera = pinhole(np.float64)
            (_, index), (to_points, to_camera) = value_and_gradient(points, faces, camera)
            assert (np.abs(np.asarray(to_points)).max(axis=1)[np.asarray(points)[:, 2] < NEAR] > 0).any()
            for _ in range(6):
                step = 1e-7 * random.normal(size=points.shape)
                turn = 1e-6 * random.normal(size=4)
                moved = [
                    value_and_gradient(
                        points + sign * step,
                        faces,
                        render_jax.Pinhole(*(value + sign * one for value, one in zip(CAMERA, turn, strict=True))),
                    )[0]
                    for sign in (1, -1)
                ]
                # A direction in which another face comes into view has no derivative to compare with.
                if all((other == index).all() for _, other in moved):
                    slope = (np.asarray(to_points) * step).sum() + np.dot(jax.tree.leaves(to_camera), turn)
                    np.testing.assert_allclose(slope, (moved[0][0] - moved[1][0]) / 2, rtol=2e-5, atol=1e-11)
                    checked += 1
        assert checked >= 16


@pytest.mark.parametrize("seed", range(8))
def test_a_room_around_the_camera_leaves_no_pixel_free(seed):
    random = np.random.default_rng(seed)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = [face for a, b, c, d in quads for face in ([a, b, c], [a, c, d])]
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    room = corners * random.uniform(0.2, 5, 3) @ rotation
    assert draw(room, faces).mask.all()


def test_what_lies_before_the_plane_is_as_without_clipping(meshes):
    points, faces = meshes.sphere(rows=4, columns=4)
    points = (0.3 * points + [0.05, 0.02, 0.9]).astype(np.float32)
    clipped = draw(points, faces)
    screen, filled = padded(np.asarray(pinhole().to_screen(jnp.asarray(points))), faces)
    plain = jax.tree.map(np.asarray, unclipped(screen, filled, image_size=IMAGE))
    np.testing.assert_array_equal(clipped.face_index, plain.face_index)
    np.testing.assert_allclose(clipped.depth, plain.depth, atol=1e-5)
    np.testing.assert_allclose(clipped.barycentric, plain.barycentric, atol=1e-4)
    back = draw(points, faces, cull="front")
    assert (back.depth[plain.mask] >= plain.depth[plain.mask]).all()
    assert (back.depth.max() > plain.depth.max() + 0.1).all()
    # cut open by the plane, it shows its inside
    inside = draw(points, faces, near=0.9)
    assert (inside.depth[inside.mask] >= 0.9).all()
    assert inside.mask.sum() > 50


def test_gradients_are_finite_where_corners_lie_at_the_camera_or_on_the_plane():
    good = [[-0.3, -0.2, 1.0], [0.4, -0.1, 1.2], [0.0, 0.4, 1.1]]
    cases = {
        "at the camera": [[0, 0, 0], [1, 0.2, 2], [-1, 0.3, 2]],
        "on the plane": [[0.1, 0, NEAR], [1, 0.2, 2], [-1, 0.3, NEAR]],
        "at depth 0": [[0.5, 0.1, 0], [1, 0.2, 2], [-1, 0.3, 2]],
        "behind": [[0.5, 0.1, -1], [1, 0.2, -2], [-1, 0.3, -2]],
        "not finite": [[np.nan, 0.1, 1], [1, np.inf, 2], [-1, 0.3, 2]],
        "far away": [[1e30, 0.1, 1], [1, 1e30, 2], [-1, 0.3, -1e30]],
        "edge-on": [[0, 0, -1], [0, 0, 2], [0, 0, 3]],
    }
    for name, bad in cases.items():
        (value, index), gradients = value_and_gradient(*padded(bad + good, [[0, 1, 2], [3, 4, 5]]), pinhole())
        assert np.isfinite(value), name
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)), name
        assert (np.asarray(index) == 1).any(), name
        if name in ("behind", "not finite", "far away", "edge-on"):
            assert not (np.asarray(index) == 0).any(), name
            assert (np.asarray(gradients[0])[:3] == 0).all(), name


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.floats(-2, 2, width=32)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=6, max_size=6))
def test_no_input_makes_nan(corners):
    arguments = *padded(corners, [[0, 1, 2], [3, 4, 5], [1, 3, 5]]), pinhole()
    (value, _), gradients = value_and_gradient(*arguments)
    assert np.isfinite(value)
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_maps_over_a_batch_and_over_near():
    meshes = [padded(*crossing_triangles(seed)) for seed in range(3)]
    points, faces = (jnp.stack(arrays) for arrays in zip(*meshes, strict=True))
    nears = jnp.array([0.05, 0.5, 1.0])
    one = lambda points, faces, near: render_jax.rasterize_clipped(points, faces, pinhole(), IMAGE, near=near)  # noqa: E731
    together = jax.jit(jax.vmap(one))(points, faces, nears)
    for number, near in enumerate(nears):
        alone = rasterize(points[number], faces[number], pinhole(), IMAGE, near=near)
        np.testing.assert_array_equal(together.face_index[number], alone.face_index)
        np.testing.assert_allclose(together.depth[number], alone.depth, rtol=1e-5)
        assert (alone.depth[alone.mask] >= near * (1 - 1e-5)).all()


@pytest.mark.slow
def test_a_parallel_projection_is_cut_as_well():
    camera = render_jax.WeakPerspective(10.0, jnp.array([13.0, 10.0]))
    # depth = 1 + x, seen where it is at least 0.5, that is x >= -0.5
    points = jnp.array([[-1.2, -1.0, -0.2], [1.2, -1, 2.2], [1.2, 1, 2.2], [-1.2, 1, -0.2]])
    faces = jnp.array([[0, 1, 2], [0, 2, 3]])
    fragments = jax.jit(lambda points: render_jax.rasterize_clipped(points, faces, camera, IMAGE, near=0.5))(points)
    u, v = np.meshgrid(np.arange(IMAGE[1]) + 0.5, np.arange(IMAGE[0]) + 0.5)
    x = (u - 13) / 10
    expected = (x >= -0.5) & (x <= 1.2) & (np.abs(v - 10) <= 10)
    np.testing.assert_array_equal(fragments.mask, expected)
    np.testing.assert_allclose(np.asarray(fragments.depth)[expected], 1 + x[expected], rtol=1e-5)


@pytest.mark.slow
def test_render_draws_the_floor_up_to_the_viewer():
    points, faces = jnp.asarray(FLOOR[0], jnp.float32), jnp.asarray(FLOOR[1])
    lights = render_jax.Lights(
        jnp.full(3, 0.25), jnp.array([[0.0, -1, 0]]), jnp.full((1, 3), 0.5), jnp.zeros((0, 3)), jnp.zeros((0, 3))
    )
    picture = jax.jit(
        lambda points: render_jax.render(
            points, faces, pinhole(), IMAGE, colours=jnp.ones(3), lights=lights, background=0.0, supersample=1, near=0.1
        )
    )(points)
    # from above, whatever way the faces wind, it is lit fully
    np.testing.assert_allclose(picture.image[-1], 0.75, rtol=1e-5)
    np.testing.assert_array_equal(picture.image[0], 0)


def test_wrong_input_is_refused():
    points, faces = padded(*FLOOR)
    with pytest.raises(ValueError, match="near > 0"):
        render_jax.rasterize_clipped(points, faces, pinhole(), IMAGE, near=0.0)
    with pytest.raises(ValueError, match="cull"):
        render_jax.rasterize_clipped(points, faces, pinhole(), IMAGE, cull="both")
    with pytest.raises(ValueError, match="vmap"):
        render_jax.rasterize_clipped(points[None], faces, pinhole(), IMAGE)
