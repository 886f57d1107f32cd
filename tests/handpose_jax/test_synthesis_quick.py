"""The quick quality and what hides hands: truth agrees with the picture, keys decide all, parts by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

import mano_jax
import render_jax
from handpose_jax.synthesis import SynthesisOptions, keys_of, synthesis_tables, synthetic_batch
from handpose_jax.synthesis.backgrounds import cut_out
from handpose_jax.synthesis.images import SyntheticHand
from handpose_jax.synthesis.occluders import place_second_hand, sample_object, solids
from handpose_jax.synthesis.quick_rendering import in_covered_tiles
from handpose_jax.synthesis.quick_surface import TEXELS, details_at
from handpose_jax.synthesis.sampling import sample_view
from handpose_jax.synthesis.sensor import nearly_normal
from handpose_jax.synthesis.skin import RIM_SHADE, skin_map, skin_pattern
from handpose_jax.synthesis.surface import openness_at, palmar_side, patches_of, surface_topology
from handpose_jax.synthesis.visibility import visible_joints

SIZE, COUNT = 48, 8
OCCLUDED = SynthesisOptions(
    image_size=SIZE, quality="quick", pose_candidates=1, object_share=0.6, second_hand_share=0.4, noise=(0.0, 0.0)
)
GREY = np.full((2, SIZE + 4, SIZE + 9, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def hand():
    return mano_jax.open_hand("right")


@pytest.fixture(scope="module")
def tables(hand):
    return synthesis_tables(hand, OCCLUDED)


@pytest.fixture(scope="module")
def made(hand, tables) -> SyntheticHand:
    return batch(keys_of(2, COUNT), hand, tables)


def batch(keys, hand, tables) -> SyntheticHand:
    left = np.zeros(COUNT, bool)
    return jax.device_get(synthetic_batch(keys, hand, left, OCCLUDED, tables, GREY))


def test_shapes_and_ranges(made):
    assert made.image.shape == (COUNT, SIZE, SIZE, 3)
    assert made.mask.shape == made.full_mask.shape == (COUNT, SIZE, SIZE)
    assert made.visible.shape == (COUNT, 21)
    assert made.visible.dtype == bool
    assert all(np.isfinite(leaf).all() for leaf in made)
    for leaf in (made.image, made.mask, made.full_mask):
        assert leaf.min() >= 0.0
        assert leaf.max() <= 1.0


def test_an_image_depends_on_its_key_alone(made, hand, tables):
    """The same keys in another order: the same images, bit for bit, in that order."""
    for one, other in zip(made, batch(keys_of(2, COUNT)[::-1], hand, tables), strict=True):
        np.testing.assert_array_equal(one[::-1], other)


@pytest.mark.slow
def test_images_drawn_together_are_those_drawn_alone(made, hand, tables):
    options = {"backgrounds": GREY, "together": 4}
    together = jax.device_get(
        synthetic_batch(keys_of(2, COUNT), hand, np.zeros(COUNT, bool), OCCLUDED, tables, **options)
    )
    # A sample on an edge may fall to either side by rounding.
    for name in ("image", "mask", "full_mask"):
        apart = np.abs(getattr(made, name) - getattr(together, name))
        assert np.quantile(apart, 0.995) < 1e-4
    np.testing.assert_allclose(made.keypoints, together.keypoints, atol=1e-3)


def test_full_mask_is_the_silhouette_of_the_mesh(made, hand):
    def covered(vertices, K):
        screen = render_jax.Pinhole.from_matrix(K).resized(2).to_screen(vertices)
        return render_jax.rasterize(screen, hand.faces, (2 * SIZE, 2 * SIZE)).mask

    drawn = np.asarray(jax.jit(jax.vmap(covered))(made.vertices, made.K))
    drawn = drawn.reshape(COUNT, SIZE, 2, SIZE, 2).mean(axis=(2, 4))
    # Camera and vertices come by way of the host, so a sample on an edge may change sides.
    assert (np.abs(made.full_mask - drawn) > 1e-6).mean() < 1e-3


def test_visible_mask_is_a_part_of_the_full_one(made):
    assert (made.mask <= made.full_mask + 1e-6).all()
    hidden = 1.0 - made.mask.sum(axis=(1, 2)) / made.full_mask.sum(axis=(1, 2))
    # Of these eight, some are hidden to a large part, some not to speak of.
    assert hidden.max() > 0.3
    assert hidden.min() < 0.1


def test_joints_where_the_hand_is_hidden_are_not_visible(made):
    counted = 0
    for hand in range(COUNT):
        column, row = np.floor(made.keypoints[hand]).astype(int).T
        # Not the wrist, before which the own forearm may lie.
        hidden = (made.full_mask[hand, row, column] > 0.99) & (made.mask[hand, row, column] < 0.01)
        hidden[0] = False
        assert not made.visible[hand, hidden].any()
        counted += hidden.sum()
    assert counted >= 5
    assert 0.2 < made.visible.mean() < 0.8


def test_visibility_of_a_plate_before_some_joints():
    """Joints at 0.5 m; a plate of another thing before the left ones, own skin 5 mm before the middle ones."""
    x = np.linspace(-0.1, 0.1, 21)
    joints = jnp.asarray(np.stack([x, 0.0 * x, 0.0 * x + 0.5], axis=1), jnp.float32)
    camera = render_jax.Pinhole(150.0, 150.0, 32.0, 32.0)

    def square(left, right, depth):
        return [[left, -0.05, depth], [right, -0.05, depth], [right, 0.05, depth], [left, 0.05, depth]]

    vertices = jnp.asarray(square(-0.043, 0.043, 0.495) + square(-0.12, -0.045, 0.3), jnp.float32)
    faces = np.array([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]], np.int32)

    @jax.jit
    def seen_of(vertices):
        index = render_jax.rasterize(camera.to_screen(vertices), faces, (64, 64)).face_index
        return visible_joints(joints, camera.project(joints), vertices, faces, index, 2)

    # The plate hides what lies to the left of -0.045 * 5 / 3 at the joints' depth.
    np.testing.assert_array_equal(seen_of(vertices), x > -0.0751)
    far = vertices.at[:4, 2].set(0.4)
    np.testing.assert_array_equal(seen_of(far), (x > 0.054) | (np.abs(x + 0.065) < 0.01))


def test_solids_are_closed_and_face_outwards():
    table = solids()
    volumes = (4.0 / 3.0 * np.pi, 8.0, 2.0 * np.pi)
    for vertices, normals, volume in zip(table.vertices, table.normals, volumes, strict=True):
        mesh = trimesh.Trimesh(vertices, table.faces, process=False)
        mesh.merge_vertices(merge_norm=True)
        assert mesh.is_watertight
        assert 0.85 * volume < mesh.volume <= volume + 1e-4  # inscribed
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)
        corners = vertices[table.faces]
        own = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        assert (np.einsum("fc,fkc->fk", own, normals[table.faces]) > 0.7).all()


def test_objects_come_with_their_share_and_where_they_should(hand):
    zeros = jnp.zeros(3)
    joints = mano_jax.keypoints(hand, jnp.zeros(45), jnp.zeros(10), zeros, jnp.asarray([0.0, 0.0, 0.5]))
    keys = jax.random.split(jax.random.key(0), 64)

    def objects(share, held):
        options = SynthesisOptions(object_share=share, object_held=held)
        return np.asarray(jax.jit(jax.vmap(lambda key: sample_object(key, joints, options).vertices))(keys))

    before = objects(1.0, 0.0)
    present = np.ptp(before, axis=1).max(axis=1) > 0.0
    # Left out are those that would hide most of the hand; none is longer than a box's diagonal.
    assert present.mean() > 0.6
    assert np.ptp(before, axis=1).max() < 2.0 * np.sqrt(3.0) * 0.8 * SynthesisOptions().object_size[1]
    depth = before[present].mean(axis=1)[:, 2]
    assert (depth < 0.95 * np.asarray(joints)[:, 2].max()).all()
    assert (depth > 0.25).all()
    some = objects(0.5, 1.0)
    assert np.ptp(some, axis=1).max() < 2.0 * np.sqrt(3.0) * SynthesisOptions().object_size[1]
    absent = np.ptp(some, axis=1).max(axis=1) == 0.0
    assert 0.3 < absent.mean() < 0.7
    np.testing.assert_allclose(some[absent][:, 0], np.broadcast_to(joints[0], (absent.sum(), 3)), atol=1e-7)
    palm, tips = joints[np.array([0, 5, 17])].mean(axis=0), joints[np.array([4, 8, 12, 16, 20])].mean(axis=0)
    between = np.broadcast_to(0.5 * (palm + tips), (len(some[~absent]), 3))
    np.testing.assert_allclose(some[~absent].mean(axis=1), between, atol=0.01)


def test_second_hand_lies_at_the_first_one():
    rng = np.random.default_rng(0)
    first, second = (jnp.asarray(rng.normal(0.0, 0.05, (21, 3)), jnp.float32) for _ in range(2))
    first, elbow = first + jnp.asarray([[0.0, 0.0, 0.6]]), second[0]
    options = SynthesisOptions(second_hand_share=1.0)
    place = jax.jit(jax.vmap(lambda key: place_second_hand(key, first, second, elbow, options)))
    placed = place(jax.random.split(jax.random.key(1), 40))
    for mirrored, translation in zip(placed.mirrored, placed.translation, strict=True):
        moved = np.asarray(second) * np.array([-1.0 if mirrored else 1.0, 1.0, 1.0]) + np.asarray(translation)
        apart = moved[None] - np.asarray(first)[:, None]
        near = np.abs(apart[..., :2]).max(-1) <= 0.03 + 1e-5
        depth = np.abs(apart[..., 2])
        assert (near & (depth >= 0.02 - 1e-5) & (depth <= 0.06 + 1e-5)).any()
    assert np.asarray(placed.present).mean() > 0.3
    translated = np.asarray(second) + np.asarray(placed.translation)[:, None]
    # Those behind the hand hide nothing.
    behind = ~np.asarray(placed.mirrored) & (translated[..., 2].min(axis=1) > np.asarray(first)[:, 2].max())
    assert np.asarray(placed.present)[behind].all()
    assert 0.6 < np.asarray(placed.mirrored).mean() <= 1.0


def test_covered_tiles_hold_what_the_function_gives():
    """Any size, in squares with something in them as if all were computed, 0 elsewhere."""
    index = np.full((50, 39), -1, np.int32)
    index[3, 4], index[20:34, 30:39] = 5, 7
    planes = jax.jit(lambda index: in_covered_tiles(lambda i, u, v: [(i >= 0) * (100.0 * v + u), 1.0 * i], index, 2))(
        index
    )
    row, column = np.indices(index.shape)
    expected = np.where(index >= 0, 100.0 * (row + 0.5) + column + 0.5, 0.0)
    np.testing.assert_allclose(planes[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(planes[1])[index >= 0], index[index >= 0])
    empty = jax.jit(lambda index: in_covered_tiles(lambda i, u, v: [u], index, 1))(np.full((17, 17), -1, np.int32))
    np.testing.assert_array_equal(empty[0], 0.0)


def test_details_are_those_of_the_skin_at_the_texel(hand, tables):
    """At a texel of a few faces, and none on the face that stands for all others."""
    faces, texel = np.array([0, 300, 700, 1537]), np.array([1.0, 2.0, 1.0]) / (TEXELS - 1)
    palmar = jax.jit(palmar_side)(hand, tables.rest)
    corners = np.asarray(jnp.concatenate([tables.rest, palmar[:, None]], axis=1))[np.asarray(hand.faces)[faces]]
    points = np.einsum("c,fcx->fx", texel, corners).astype(np.float32)
    pattern = jax.jit(lambda points: skin_pattern(skin_map(hand), points[:, :3], points[:, 3]))(points)
    weights = [jnp.full(len(faces), share) for share in texel]
    dark, nail, pale = details_at(tables.details, jnp.asarray(faces), weights)
    np.testing.assert_allclose(dark, 1.0 - (1.0 - pattern.dark) * (1.0 - RIM_SHADE * pattern.rim), atol=2e-3)
    np.testing.assert_allclose(nail, pattern.nail, atol=2e-3)
    np.testing.assert_allclose(pale, pattern.pale, atol=2e-3)
    assert float(np.max(tables.details)) > 0.5
    for value in details_at(tables.details, jnp.full(4, len(hand.faces)), weights):
        np.testing.assert_array_equal(value, 0.0)


def test_patches_occlude_like_single_vertices(hand, tables):
    faces, patches = surface_topology(hand.topology).coarse, patches_of(hand.topology)
    assert patches.min() == 0
    assert len(np.unique(patches)) == patches.max() + 1 < len(patches) // 3
    normals = render_jax.vertex_normals(tables.rest, faces)
    exact, cheap = (
        np.asarray(
            jax.jit(lambda points, normals, own=own: openness_at(points, normals, faces, own))(tables.rest, normals)
        )
        for own in (None, patches)
    )
    assert np.abs(exact - cheap).mean() < 0.03
    assert np.corrcoef(exact, cheap)[0, 1] > 0.85


def test_cut_out_backgrounds_are_squares_of_the_pictures():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 19, 17, 3)).astype(np.uint8)
    squares = jax.jit(jax.vmap(lambda key: cut_out(key, jnp.asarray(pictures), 16)))(
        jax.random.split(jax.random.key(0), 24)
    )
    possible = {}
    for picture in range(3):
        for row in range(4):
            for column in range(2):
                square = pictures[picture, row : row + 16, column : column + 16]
                possible[square.tobytes()] = possible[square[:, ::-1].tobytes()] = picture
    found = [possible[np.round(255.0 * np.asarray(square)).astype(np.uint8).tobytes()] for square in squares]
    assert set(found) == {0, 1, 2}
    with pytest.raises(ValueError, match="at least 32 pixels"):
        cut_out(jax.random.key(0), jnp.asarray(pictures), 32)


def test_views_from_palm_and_back():
    options = SynthesisOptions(view_within=60.0)
    keys = jax.random.split(jax.random.key(0), 2000)
    rotations = np.asarray(jax.jit(jax.vmap(lambda key: sample_view(key, options)))(keys))
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (2000, 3, 3)), atol=1e-5
    )
    # The direction to the camera, -z of its frame, in the model's frame, against the back's normal, y.
    cosine = -rotations[:, 2, 1]
    assert (np.abs(cosine) >= 0.5 - 1e-5).all()
    assert 0.45 < (cosine > 0).mean() < 0.55
    # Uniform on the caps: the cosine is uniform.
    np.testing.assert_allclose(np.quantile(np.abs(cosine), [0.25, 0.5, 0.75]), [0.625, 0.75, 0.875], atol=0.02)


def test_noise_of_four_bytes():
    noise = np.asarray(nearly_normal(jax.random.bits(jax.random.key(0), (200_000,), jnp.uint32)))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1.0) < 0.01
    assert abs((np.abs(noise) < 1.0).mean() - 0.683) < 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quality": "best"}, "quality must be"),
        ({"object_share": 1.5}, "object_share must be a share"),
        ({"object_size": (0.01, 0.3)}, "object_size must be a range"),
        ({"view_within": 90.0}, "view_within must be an angle"),
        ({"forearm_length": 0.0}, "forearm_length must be a share"),
    ],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SynthesisOptions(**change)
