"""The hard pass against an independent float64 rasterizer, drawings, and everything that breaks other rasterizers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import render_jax
from render_jax.window_pass import nearest_faces, window_size

rasterize = jax.jit(render_jax.rasterize, static_argnames=("image_size", "cull", "perspective"))

# Most tests draw into this size with meshes filled up to these counts, so they share one compiled program.
IMAGE = (20, 26)
VERTICES, FACES = 256, 384


def padded(vertices, faces, dtype: type = np.float32):
    """The mesh with unused vertices and faces of no area added."""
    vertices, faces = np.asarray(vertices, dtype), np.asarray(faces, np.int32)
    filled_vertices, filled_faces = np.ones((VERTICES, 3), dtype), np.zeros((FACES, 3), np.int32)
    filled_vertices[: len(vertices)], filled_faces[: len(faces)] = vertices, faces
    return jnp.asarray(filled_vertices), jnp.asarray(filled_faces)


def draw(vertices, faces, image_size=IMAGE, **options):
    fragments = rasterize(*padded(vertices, faces), image_size=image_size, **options)
    return jax.tree.map(np.asarray, fragments)


def something_of_everything(vertices, faces):
    """A smooth function of depth and barycentric coordinates whose weights differ from pixel to pixel; the index."""
    fragments = render_jax.rasterize(vertices, faces, IMAGE)
    wave = jnp.sin(jnp.arange(IMAGE[0] * IMAGE[1], dtype=vertices.dtype)).reshape(IMAGE)
    corner = jnp.asarray([0.3, -1.1, 0.7], vertices.dtype)
    # bounded, so that only the rasterizer can be at fault where a depth is 1e30
    value = (wave * jnp.tanh(fragments.depth)).sum()
    return value + (wave[..., None] * fragments.barycentric * corner[None, None]).sum(), fragments.face_index


value_and_gradient = jax.jit(jax.value_and_grad(something_of_everything, has_aux=True))


def assert_agrees(fragments, expected, unsure=0.03):
    index = np.asarray(fragments.face_index)
    assert expected.sure.mean() > 1 - unsure
    np.testing.assert_array_equal(index[expected.sure], expected.face_index[expected.sure])
    same = expected.sure & (index >= 0)
    np.testing.assert_allclose(np.asarray(fragments.depth)[same], expected.depth[same], rtol=2e-5)
    np.testing.assert_allclose(np.asarray(fragments.barycentric)[same], expected.barycentric[same], atol=2e-3)
    assert (np.asarray(fragments.depth)[index < 0] == 0).all()
    np.testing.assert_allclose(np.asarray(fragments.barycentric).sum(-1), index >= 0, atol=1e-6)


@pytest.mark.parametrize(("image_size", "perspective"), [(IMAGE, True), (IMAGE, False), ((170, 45), True)])
def test_agrees_with_the_reference_on_random_triangles(image_size, perspective, reference, meshes):
    for seed in range(3):
        vertices, faces = meshes.triangle_soup(seed, 40, image_size)
        fragments = draw(vertices, faces, image_size, perspective=perspective)
        assert_agrees(fragments, reference(vertices, faces, image_size, perspective), unsure=0.05)
        assert (fragments.face_index >= 0).mean() > 0.3


@pytest.mark.parametrize("flip", [False, True])
def test_closed_mesh_has_no_holes_and_shows_its_near_side(flip, reference, meshes):
    vertices, faces = meshes.sphere()
    faces = faces[:, ::-1] if flip else faces
    screen = (vertices * [9, 9, 0.3] + [12.3, 10.2, 1]).astype(np.float32)
    fragments = draw(screen, faces)
    assert_agrees(fragments, reference(screen, faces, IMAGE), unsure=0.05)
    np.testing.assert_array_equal(
        render_jax.front_facing(jnp.asarray(screen), faces), _outward_to_viewer(vertices, faces, flip)
    )
    v, u = np.mgrid[: IMAGE[0], : IMAGE[1]] + 0.5
    inside = np.hypot(u - 12.3, v - 10.2) < 8.5
    assert (fragments.face_index[inside] >= 0).all()
    assert (fragments.depth[inside] < 1).all()


def _outward_to_viewer(vertices, faces, flip):
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normals * corners.mean(axis=1)).sum(axis=1) > 0).all() == (not flip)
    return normals[:, 2] < 0


def test_culling_leaves_out_one_side(meshes):
    vertices, faces = meshes.sphere()
    screen = (vertices * [9, 9, 0.3] + [12, 10, 1]).astype(np.float32)
    both, front, back = (draw(screen, faces, cull=cull) for cull in (None, "back", "front"))
    np.testing.assert_array_equal(both.face_index, front.face_index)
    seen = back.face_index >= 0
    assert seen.sum() > 200
    assert (back.depth[seen] >= front.depth[seen]).all()
    is_front = np.asarray(render_jax.front_facing(jnp.asarray(screen), faces))
    assert not is_front[back.face_index[seen]].any()


def test_drawing_of_two_triangles():
    # 0: upper left half of a square whose corners are pixel centres. 1: nearer, over its right side; its slanted side
    # from (3.2, 0.9) to (5.9, 3.1) passes row 1.5 at u = 3.94 and row 2.5 at u = 5.16.
    vertices = [[0.5, 0.5, 2], [4.5, 0.5, 2], [0.5, 4.5, 2], [3.2, 0.9, 1], [5.9, 3.1, 1], [3.2, 3.1, 1]]
    index = draw(vertices, [[0, 1, 2], [3, 4, 5]]).face_index
    drawing = ["".join(".01"[value + 1] for value in row) for row in index[:6, :7]]
    assert drawing == ["00000..", "0001...", "00011..", "00.....", "0......", "......."]
    assert (index[6:] == -1).all()
    assert (index[:, 7:] == -1).all()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_centres_on_a_shared_edge_belong_to_the_lower_index(order):
    # The diagonal of the square runs through pixel centres.
    vertices = [[0.5, 0.5, 1], [3.5, 0.5, 1], [3.5, 3.5, 1], [0.5, 3.5, 1]]
    index = draw(vertices, np.array([[0, 1, 2], [0, 2, 3]])[order]).face_index[:4, :4]
    np.testing.assert_array_equal(np.diag(index), 0)
    row, column = np.mgrid[:4, :4]
    np.testing.assert_array_equal(index[column > row], order.index(0))
    np.testing.assert_array_equal(index[column < row], order.index(1))


def test_equal_faces_and_orientations_keep_the_lowest_index():
    index = draw([[0, 0, 1], [9, 0, 1], [0, 9, 1]], [[0, 1, 2], [0, 2, 1], [1, 2, 0]]).face_index
    assert set(np.unique(index)) == {-1, 0}


BAD_FACES = {
    "zero area": [[1, 1, 1], [5, 5, 1], [9, 9, 1]],
    "repeated vertex": [[1, 1, 1], [1, 1, 1], [9, 2, 1]],
    "behind": [[0, 0, -1], [9, 0, -1], [0, 9, -1]],
    "partly behind": [[0, 0, 1], [9, 0, -1], [0, 9, 1]],
    "depth zero, far away": [[1e30, -1e30, 0], [-1e30, 1e30, 0], [1e30, 1e30, 0]],
    "far away": [[1e30, -1e30, 1], [-1e30, 1e30, 1], [1e30, 1e30, 1]],
    "tiny depth": [[0, 0, 1e-40], [9, 0, 1e-30], [0, 9, 1e-25]],
    "nan": [[np.nan, 0, 1], [9, 0, 1], [0, 9, 1]],
    "nan depth": [[0, 0, np.nan], [9, 0, 1], [0, 9, 1]],
    "infinite": [[np.inf, 0, 1], [9, 0, 1], [0, -np.inf, 1]],
    "infinite depth": [[0, 0, np.inf], [9, 0, np.inf], [0, 9, np.inf]],
    "out of view": [[-50, 0, 1], [-9, 0, 1], [-20, 9, 1]],
}


@pytest.mark.parametrize("name", BAD_FACES)
def test_bad_faces_cover_nothing_and_spoil_nothing(name):
    good = [[1, 2, 2], [14, 3, 3], [4, 13, 4]]
    vertices = np.array(BAD_FACES[name] + good, np.float32)
    faces = [[0, 1, 2], [3, 4, 5]]
    fragments, alone = draw(vertices, faces), draw(good, [[0, 1, 2]])
    np.testing.assert_array_equal(fragments.face_index == 1, alone.face_index == 0)
    assert not (fragments.face_index == 0).any()
    np.testing.assert_allclose(fragments.depth, alone.depth, rtol=1e-6)
    (value, _), gradient = value_and_gradient(*padded(vertices, faces))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert (gradient[:3] == 0).all()
    assert (gradient[3:6] != 0).any()


def test_triangle_much_larger_than_the_image_covers_all_of_it(reference):
    vertices = np.array([[-3000, -2000, 1], [4000, -2500, 2], [300, 5000, 3]], np.float32)
    fragments = draw(vertices, [[0, 1, 2]])
    assert_agrees(fragments, reference(vertices, [[0, 1, 2]], IMAGE))
    assert (fragments.face_index == 0).all()


def test_all_faces_in_one_pixel(meshes):
    vertices, faces = meshes.sphere()
    fragments = draw(vertices * [0.3, 0.3, 0.3] + [5.5, 2.5, 1], faces)
    assert np.argwhere(fragments.face_index >= 0).tolist() == [[2, 5]]
    assert abs(float(fragments.depth[2, 5]) - 0.7) < 0.01


def test_many_faces_over_the_whole_image_need_no_capacity():
    # 80 faces on each of the 7,650 pixels: far more windows than one block of the loop holds.
    corners = np.array([[-300, -100], [300, -100], [30, 900]])
    depths = np.random.default_rng(0).permutation(np.linspace(1, 2, 80))
    vertices = np.concatenate([np.column_stack([corners, np.full(3, depth)]) for depth in depths])
    index = draw(vertices, np.arange(240).reshape(-1, 3), (170, 45)).face_index
    assert (index == depths.argmin()).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1e4))
def test_a_fan_around_a_pixel_centre_or_anywhere_has_no_hole(seed, size):
    # Eight faces around a vertex at a pixel centre, near one or elsewhere: every centre inside the ring is covered.
    random = np.random.default_rng(seed)
    centre = np.array([6.5, 4.5]) + random.choice([0, 1e-6, 0.3]) * random.normal(size=2)
    angles = np.linspace(0, 2 * np.pi, 9)[:8] + random.uniform(0, 0.7, 8)
    ring = centre + size * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    vertices = np.column_stack([np.concatenate([[centre], ring]), np.ones(9)])
    index = draw(vertices, [[0, 1 + k, 1 + (k + 1) % 8] for k in range(8)]).face_index
    v, u = np.mgrid[: IMAGE[0], : IMAGE[1]] + 0.5
    # The widest gap of the ring is 1.49 rad, so the circle of radius cos(0.75) = 0.73 lies in it.
    inside = np.hypot(u - centre[0], v - centre[1]) < 0.7 * size
    assert (index[inside] >= 0).all()


def test_edges_that_pass_centres_within_rounding_leave_no_hole():
    # Two faces on either side of v = 3 u - 1, which passes through centres (j + 0.5, 3 j + 0.5); its ends are rounded.
    random = np.random.default_rng(0)
    for _ in range(150):
        low, high = random.uniform([-3, 7], [0, 9]).astype(np.float32)
        ends = [[low, np.float32(3) * low - 1, 1], [high, np.float32(3) * high - 1, 1]]
        sides = [[*random.uniform([-20, 10], [-15, 30]), 1], [*random.uniform([20, -5], [40, 5]), 1]]
        index = draw(ends + sides, [[0, 1, 2], [1, 0, 3]]).face_index
        assert (index[[0, 3, 6, 9, 12, 15, 18], [0, 1, 2, 3, 4, 5, 6]] >= 0).all()


def test_gradient_of_a_centre_on_the_border_is_that_of_the_inside():
    with jax.enable_x64(True):
        corners = np.array([[0.5, 0.5, 2], [4.5, 0.5, 2.5], [0.5, 4.5, 3]])
        vertices, faces = padded(corners, [[0, 1, 2]], np.float64)

        def border_depth(vertices):
            return render_jax.rasterize(vertices, faces, (4, 5)).depth[0, 2]

        gradient = np.asarray(jax.jit(jax.grad(border_depth))(vertices))[:3]
        step = np.random.default_rng(0).normal(size=(3, 3))
        step[:2, 1] = -1  # the border through the centre moves outwards
        moved = vertices.at[:3].add(1e-7 * step)
        slope = (jax.jit(border_depth)(moved) - jax.jit(border_depth)(vertices)) / 1e-7
        np.testing.assert_allclose((gradient * step).sum(), slope, rtol=1e-5)


NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.floats(-20, 40, width=32)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS | st.floats(0.125, 4, width=32)), min_size=6, max_size=6))
def test_no_input_makes_nan(corners):
    (value, _), gradient = value_and_gradient(*padded(corners, [[0, 1, 2], [3, 4, 5], [1, 3, 5]]))
    assert np.isfinite(value)
    assert not np.isnan(gradient).any()


def test_gradients_agree_with_finite_differences(meshes):
    with jax.enable_x64(True):
        vertices, faces = meshes.sphere(rows=6, columns=8)
        vertices, faces = padded(vertices.astype(np.float64) * [9.3, 8.1, 0.3] + [12.2, 9.7, 1], faces, np.float64)
        (_, index), gradient = value_and_gradient(vertices, faces)
        random = np.random.default_rng(0)
        checked = 0
        for _ in range(12):
            step = 1e-6 * random.normal(size=vertices.shape) * [1, 1, 0.03]
            (ahead, index_ahead), _ = value_and_gradient(vertices + step, faces)
            (behind, index_behind), _ = value_and_gradient(vertices - step, faces)
            # A direction in which another face comes into view within the step has no derivative to compare with.
            if (index_ahead == index).all() and (index_behind == index).all():
                np.testing.assert_allclose((gradient * step).sum(), (ahead - behind) / 2, rtol=1e-5, atol=1e-12)
                checked += 1
        assert checked >= 10


def test_interpolated_positions_lie_on_the_rays_and_keep_their_gradient(meshes):
    vertices, faces = meshes.sphere()
    points = (0.1 * vertices + [0.02, -0.01, 0.4]).astype(np.float32)
    camera = render_jax.Pinhole(90.0, 110.0, 30.0, 26.0)
    camera = camera.shifted(20, 14)
    points, faces = padded(points, faces)
    fragments = rasterize(camera.to_screen(points), faces, image_size=IMAGE)
    interpolate = jax.jit(render_jax.interpolate)
    positions = interpolate(fragments, points[faces])
    u, v = np.meshgrid(np.arange(IMAGE[1]) + 0.5, np.arange(IMAGE[0]) + 0.5)
    rays = camera.unproject(jnp.asarray(np.stack([u, v], axis=-1), jnp.float32), fragments.depth)
    np.testing.assert_allclose(positions, rays, atol=2e-6)
    assert positions.shape == (*IMAGE, 3)
    scalar = interpolate(fragments, points[faces][..., 2])
    np.testing.assert_allclose(scalar, fragments.depth, atol=1e-6)


def test_parallel_projection_interpolates_affinely():
    fragments = draw([[0, 0, 1], [20, 0, 3], [0, 20, 7]], [[0, 1, 2]], perspective=False)
    row, column = np.mgrid[: IMAGE[0], : IMAGE[1]] + 0.5
    expected = 1 + column / 20 * 2 + row / 20 * 6
    assert fragments.mask.sum() > 180
    np.testing.assert_allclose(fragments.depth[fragments.mask], expected[fragments.mask], rtol=1e-5)


@pytest.mark.slow
def test_vmap_equals_a_loop_also_nested_and_of_gradients(meshes):
    vertices, faces = meshes.sphere(rows=6, columns=8)
    screen = (vertices * [9, 9, 0.3] + [12, 10, 1]).astype(np.float32)
    # the last image is empty, the one before it fills the picture
    batch = [screen, screen * [1.2, 0.7, 1], screen * [4, 4, 1] - [36, 30, 0], screen + np.array([500, 0, 0])]
    batch = jnp.stack([padded(vertices, faces)[0] for vertices in batch])
    faces = padded(screen, faces)[1]
    expected = [value_and_gradient(vertices, faces) for vertices in batch]
    (values, indices), gradients = jax.tree.map(lambda *leaves: np.stack(leaves), *expected)
    together = jax.jit(jax.vmap(jax.value_and_grad(something_of_everything, has_aux=True), in_axes=(0, None)))
    (values_together, indices_together), gradients_together = together(batch, faces)
    np.testing.assert_array_equal(indices_together, indices)
    np.testing.assert_allclose(values_together, values, rtol=1e-4)
    np.testing.assert_allclose(gradients_together, gradients, rtol=1e-4, atol=1e-4)
    assert (indices[3] == -1).all()
    assert (indices[2] >= 0).all()

    one = lambda vertices: render_jax.rasterize(vertices, faces, IMAGE).face_index  # noqa: E731
    nested = jax.jit(jax.vmap(jax.vmap(one)))(batch.reshape(2, 2, *batch.shape[1:]))
    np.testing.assert_array_equal(nested.reshape(indices.shape), indices)


def test_vmap_over_faces_and_concrete_faces(meshes):
    vertices, faces = meshes.sphere(rows=6, columns=8)
    screen, faces = padded(vertices * [9, 9, 0.3] + [12, 10, 1], faces)
    half = faces.at[1::2].set(0)
    batch = jax.jit(jax.vmap(lambda faces: render_jax.rasterize(screen, faces, IMAGE).face_index))
    concrete = jax.jit(lambda screen: render_jax.rasterize(screen, np.asarray(faces), IMAGE).face_index)
    expected = [rasterize(screen, table, image_size=IMAGE).face_index for table in (faces, half)]
    np.testing.assert_array_equal(batch(jnp.stack([faces, half])), jnp.stack(expected))
    np.testing.assert_array_equal(concrete(screen), expected[0])


def test_both_ways_of_merging_windows_agree(meshes):
    image_size = (5, 170)
    vertices, faces = meshes.triangle_soup(3, 60, image_size)
    triangles = jnp.asarray(vertices[faces])
    triangles = triangles.at[:, :, 2].set(1 / triangles[:, :, 2])
    # equal faces, so that ties are among them; and more windows than a block of either kind
    triangles = jnp.concatenate([triangles] * 100)
    drawn = jnp.arange(len(triangles)) % 7 != 0
    triangles = jnp.where(drawn[:, None, None], triangles, 0)
    merges = [
        jax.jit(lambda triangles, merge=merge: nearest_faces(triangles, drawn, image_size, merge))(triangles)
        for merge in ("sequential", "scatter")
    ]
    np.testing.assert_array_equal(*merges)
    index = np.asarray(merges[0])
    assert (index[index >= 0] < 2 * 60).all()  # of the copies the first that is drawn
    assert (index >= 0).mean() > 0.5


def test_float64_agrees_closely(reference, meshes):
    with jax.enable_x64(True):
        soup, triangles = meshes.triangle_soup(5, 40, IMAGE)
        vertices, faces = padded(soup, triangles, np.float64)
        fragments = rasterize(vertices, faces.astype(jnp.int64), image_size=IMAGE)
        expected = reference(soup, triangles, IMAGE)
        assert fragments.face_index.dtype == jnp.int32
        assert fragments.depth.dtype == jnp.float64
        np.testing.assert_array_equal(fragments.face_index, expected.face_index)
        np.testing.assert_allclose(fragments.depth, expected.depth, rtol=1e-10)
        np.testing.assert_allclose(fragments.barycentric, expected.barycentric, atol=1e-9)


def test_windows_grow_rather_than_overflow_their_count():
    assert window_size((64, 64), 1538) == 8
    assert window_size((224, 224), 1538) == 16
    size = window_size((1024, 1024), 50_000_000)
    assert 50_000_000 * (1024 // size) ** 2 < 2**31
    assert window_size((100_000, 16), 1) == 32


def test_no_faces_show_nothing():
    fragments = rasterize(jnp.ones((3, 3)), np.zeros((0, 3), np.int32), image_size=(4, 5))
    assert not np.asarray(fragments.mask).any()
    assert render_jax.interpolate(fragments, jnp.zeros((0, 3, 2))).shape == (4, 5, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vertices": jnp.zeros((2, 4, 3))}, "vmap"),
        ({"vertices": jnp.zeros((4, 2))}, r"shape \(vertices, 3\)"),
        ({"vertices": jnp.zeros((4, 3), jnp.int32)}, "float32"),
        ({"faces": np.zeros((1, 4), np.int32)}, r"\(faces, 3\)"),
        ({"faces": np.zeros((1, 3), np.float32)}, "integer"),
        ({"faces": np.array([[0, 1, 4]])}, r"0 \.\.\. 3"),
        ({"faces": np.array([[0, 1, -1]])}, r"0 \.\.\. 3"),
        ({"image_size": (0, 4)}, "positive"),
        ({"cull": "both"}, "back"),
    ],
)
def test_wrong_input_gets_a_clear_error(change, words):
    arguments = {"vertices": jnp.zeros((4, 3)), "faces": np.array([[0, 1, 2]]), "image_size": (4, 4)} | change
    with pytest.raises(ValueError, match=words):
        render_jax.rasterize(**arguments)


def test_vertex_attributes_without_faces_get_a_clear_error():
    fragments = rasterize(jnp.ones((3, 3)), np.array([[0, 1, 2]]), image_size=(4, 5))
    with pytest.raises(ValueError, match=r"attributes\[faces\]"):
        render_jax.interpolate(fragments, jnp.zeros((3, 2)))
