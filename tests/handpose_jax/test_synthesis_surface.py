"""Forearm, finer surface, occlusion, colours and backgrounds, each by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

import mano_jax
from handpose_jax.synthesis.backgrounds import clouds, sample_background
from handpose_jax.synthesis.colour import decoded, encoded, linear_from_lab
from handpose_jax.synthesis.forearm import border_ring, forearm_faces
from handpose_jax.synthesis.lighting import shadow_map
from handpose_jax.synthesis.sampling import collision
from handpose_jax.synthesis.skin import TONE_ANGLES, TONE_LAB, skin_colour, skin_map, skin_of_angle
from handpose_jax.synthesis.surface import hand_surface, openness_at, surface_topology


@pytest.fixture(scope="module")
def hand():
    return mano_jax.open_hand("right")


@pytest.fixture(scope="module")
def posed(hand):
    rng = np.random.default_rng(1)
    pose = mano_jax.pose_from_coefficients(hand, 0.5 * rng.normal(size=45) * np.asarray(hand.pose_standard_deviations))
    return jax.jit(mano_jax.forward)(
        hand, pose, jnp.zeros(10), jnp.asarray([0.4, -1.0, 0.7]), jnp.asarray([0.02, 0.0, 0.6])
    )


_surface = jax.jit(hand_surface, static_argnames="forearm_length")


def surface_of(hand, posed, bend=(0.3, -0.1), **options):
    bend = jnp.asarray(bend, jnp.float32)
    return _surface(hand, posed.vertices, posed.joints[0], posed.joint_rotations[0], bend, **options)


@pytest.mark.parametrize("length", [1.0, 0.03])
def test_surface_is_closed_and_keeps_the_hand(hand, posed, length):
    """No hole at the wrist, everything faces outwards, and the hand's own vertices stay where they are."""
    tables = surface_topology(hand.topology)
    surface = surface_of(hand, posed, forearm_length=length)
    mesh = trimesh.Trimesh(np.asarray(surface.vertices), tables.faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0.0
    np.testing.assert_array_equal(surface.vertices[: len(posed.vertices)], posed.vertices)
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1.0, atol=1e-5)
    assert tables.hand_faces == 4 * len(hand.faces)


def test_finer_surface_stays_near_the_mesh(hand, posed):
    """Middles of edges leave the flat triangles by under half a millimetre on the mean, two at sharp folds."""
    surface, tables = surface_of(hand, posed), surface_topology(hand.topology)
    coarse = np.asarray(surface.vertices)
    own = (tables.edges < len(hand.template)).all(axis=1)
    first = len(coarse) - len(tables.edges)
    moved = np.linalg.norm(coarse[first:] - 0.5 * coarse[tables.edges].sum(axis=1), axis=1)[own]
    assert 0.0001 < moved.mean() < 0.0006
    assert np.quantile(moved, 0.99) < 0.002


def test_unbent_forearm_continues_the_hand(hand, posed):
    """Its end lies where the hand's own x axis leads; a bend towards the back moves it there."""

    def end(bend):
        count = surface_topology(hand.topology).coarse.max()
        point = np.asarray(surface_of(hand, posed, bend).vertices)[count]
        return np.asarray(posed.joint_rotations[0]).T @ (point - np.asarray(posed.joints[0]))

    straight, back, thumb = end((0.0, 0.0)), end((0.4, 0.0)), end((0.0, 0.4))
    assert straight[0] > 0.22
    assert np.abs(straight[1:]).max() < 0.02
    np.testing.assert_allclose(np.linalg.norm(back), np.linalg.norm(straight), atol=1e-5)
    assert back[1] - straight[1] > 0.08
    assert thumb[2] - straight[2] > 0.08


def test_border_ring_is_the_one_hole(hand):
    ring = border_ring(hand.faces)
    assert len(ring) == 16
    assert len(set(ring.tolist())) == 16
    with pytest.raises(ValueError, match="one hole"):
        border_ring(forearm_faces(hand.faces))


def test_openness_of_simple_scenes():
    """A sphere sees the whole sky; the inside of a box sees none; a floor near a wall sees about half."""
    openness = jax.jit(openness_at)
    ball = trimesh.creation.icosphere(subdivisions=3)
    points, normals = (np.asarray(array, np.float32) for array in (ball.vertices, ball.vertex_normals))
    np.testing.assert_allclose(openness(points, normals, ball.faces), 1.0, atol=1e-5)
    inwards = openness(points, -normals, ball.faces[:, ::-1])
    # Seen from inside, the sphere's form factors sum to 1; the discs of near neighbours are soft.
    assert float(jnp.max(inwards)) < 0.15


def test_shadow_falls_behind_and_not_before():
    """A plate of 20 cm between light and floor: points behind it are dark, beside it and before it lit."""
    vertices = jnp.asarray([[-0.1, -0.1, 0.0], [0.1, -0.1, 0.0], [0.1, 0.1, 0.0], [-0.1, 0.1, 0.0], [0.4, 0.4, 0.5]])
    faces = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    shadows = jax.jit(lambda vertices: shadow_map(vertices, faces, jnp.asarray([0.0, 0.0, -1.0])))(vertices)
    points = jnp.asarray([[0.0, 0.0, 0.3], [0.3, 0.0, 0.3], [0.0, 0.0, -0.2], [0.05, -0.05, 0.0]])
    np.testing.assert_allclose(shadows.lit(points), [0.0, 1.0, 1.0, 1.0], atol=1e-5)


def test_skin_tones_have_their_angle():
    """The anchors keep the definition of the individual typology angle, and tones grow lighter along it."""
    for angle, (lightness, _, b) in zip(TONE_ANGLES, TONE_LAB, strict=True):
        assert abs(np.degrees(np.arctan2(lightness - 50.0, b)) - angle) < 1.5
    tone_of = jax.jit(skin_of_angle)
    brightness = [float(tone_of(angle).back.mean()) for angle in (-50.0, -10.0, 30.0, 60.0)]
    assert brightness == sorted(brightness)
    dark, light = tone_of(-50.0), tone_of(55.0)
    assert dark.palm.mean() / dark.back.mean() > 2.0
    assert 0.8 < light.palm.mean() / light.back.mean() < 1.2


def test_nails_lie_on_the_back_of_the_fingertips(hand):
    """A point of the nail is paler than the skin beside it; the pad beneath is not."""
    places, tone = jax.jit(skin_map)(hand), jax.jit(skin_of_angle)(-20.0)
    joint, axes, length = places.joints[5], places.frames[5], float(places.lengths[5])
    on_nail = joint + 0.75 * length * axes[2] + 0.006 * axes[1]
    before = joint + 0.20 * length * axes[2] + 0.006 * axes[1]
    pad = joint + 0.75 * length * axes[2] - 0.006 * axes[1]
    colours = jax.jit(skin_colour)(tone, places, jnp.stack([on_nail, before, pad]), jnp.asarray([-1.0, -1.0, -1.0]))
    assert colours[0].mean() > 1.3 * colours[1].mean()
    assert colours[0].mean() > 1.3 * colours[2].mean()


def test_colour_spaces():
    """Golden values: sRGB 0.5 is linear 0.21404 (IEC 61966-2-1); CIELAB white and mid grey."""
    np.testing.assert_allclose(decoded(jnp.asarray([0.0, 0.5, 1.0])), [0.0, 0.21404, 1.0], atol=1e-5)
    values = jnp.linspace(0.0, 1.0, 101)
    np.testing.assert_allclose(encoded(decoded(values)), values, atol=1e-5)
    assert np.isfinite(jax.grad(lambda x: encoded(x).sum())(jnp.asarray([0.0, 0.001, 0.5]))).all()
    np.testing.assert_allclose(linear_from_lab(jnp.asarray([100.0, 0.0, 0.0])), 1.0, atol=2e-3)
    np.testing.assert_allclose(linear_from_lab(jnp.asarray([50.0, 0.0, 0.0])), 0.18419, atol=1e-3)


def test_background_has_a_photograph_like_spectrum():
    """Amplitudes of clouds fall as frequency^-exponent, measured by a fit to the logarithms."""
    noise = np.asarray(jax.jit(clouds, static_argnums=1)(jax.random.key(0), 128, 1.2))[..., 0]
    amplitude = np.abs(np.fft.rfft2(noise))
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None])
    used = (frequency > 0.02) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[used]), np.log(amplitude[used]), 1)[0]
    assert abs(slope + 1.2) < 0.08
    picture = jax.jit(sample_background, static_argnums=1)(jax.random.key(1), 64)
    assert picture.shape == (64, 64, 3)
    assert float(picture.min()) >= 0.0
    assert float(picture.max()) <= 1.0


def test_collision_tells_crossed_fingers(hand):
    angles = np.zeros((2, 15, 3), np.float32)
    angles[1, 0, 1], angles[1, 3, 1] = -0.35, 0.35  # index and middle finger abducted into each other

    def collision_of(angles):
        pose = mano_jax.pose_from_angles(hand, angles)
        return collision(mano_jax.keypoints(hand, pose, jnp.zeros(10), jnp.zeros(3), jnp.zeros(3)))

    spread, crossed = jax.jit(jax.vmap(collision_of))(angles)
    assert float(spread) == 0.0
    assert float(crossed) > 1e-5
