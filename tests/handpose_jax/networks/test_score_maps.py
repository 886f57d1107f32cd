"""Where score maps put keypoints, and the bumps that networks are trained on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose_jax.networks import decode_score_maps, render_heat_maps

decode = jax.jit(decode_score_maps, static_argnums=1)
heat_maps = jax.jit(render_heat_maps, static_argnums=(1, 2))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 31), (31, 0), (13, 27)])
def test_a_cell_of_32_decodes_to_its_centre(row: int, column: int):
    """Cell (i, j) of a 32x32 map is ((j + 0.5)/16 - 1, (i + 0.5)/16 - 1)."""
    scores = np.zeros((32, 32, 2), np.float32)
    scores[row, column, 1] = 1.0
    expected = [[0.5 / 16 - 1, 0.5 / 16 - 1], [(column + 0.5) / 16 - 1, (row + 0.5) / 16 - 1]]
    for subcell in (False, True):
        np.testing.assert_allclose(decode(jnp.asarray(scores), subcell), expected, rtol=0.0, atol=1e-7)


def test_oblong_maps_and_batches():
    scores = np.zeros((3, 4, 8, 5), np.float32)
    scores[2, 3, 6, 4] = 0.5
    found = decode(jnp.asarray(scores), False)
    assert found.shape == (3, 5, 2)
    np.testing.assert_allclose(found[2, 4], [6.5 / 4 - 1, 3.5 / 2 - 1], rtol=0.0, atol=1e-6)


def test_heat_maps_equal_the_formula():
    random = np.random.default_rng(0)
    keypoints = random.uniform(-1.2, 1.2, (2, 21, 2))
    found = heat_maps(jnp.asarray(keypoints, jnp.float32), 16, 1.7)
    assert found.shape == (2, 16, 16, 21)
    for image, i, j, k in random.integers(0, [2, 16, 16, 21], (200, 4)):
        cell = np.array([(j + 0.5) / 8 - 1, (i + 0.5) / 8 - 1])
        squared = np.sum(((cell - keypoints[image, k]) * 8) ** 2)  # 8 cells an NDC unit.
        np.testing.assert_allclose(found[image, i, j, k], np.exp(-squared / (2 * 1.7**2)), rtol=1e-4, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.21, 4.0]))
def test_decoding_a_heat_map_returns_the_keypoint_to_half_a_cell_and_subcell_to_less(seed: int, deviation: float):
    keypoints = np.random.default_rng(seed).uniform(-0.95, 0.95, (21, 2)).astype(np.float32)
    maps = heat_maps(jnp.asarray(keypoints), 32, deviation)
    cells = np.abs(np.asarray(decode(maps, False)) - keypoints) * 16
    assert cells.max() <= 0.5 + 1e-3
    finer = np.abs(np.asarray(decode(maps, True)) - keypoints) * 16
    # Keypoints whose cell is at the border are not moved off its centre; elsewhere the parabola is nearly a Gaussian.
    inner = (np.abs(keypoints) < 15 / 16).all(axis=1)
    assert finer[inner].max() < 0.08


def test_level_maps_stay_finite_and_pass_no_gradient():
    level = jnp.zeros((4, 4, 3))
    for subcell in (False, True):
        np.testing.assert_allclose(decode(level, subcell), -0.75)
    gradient = jax.jit(jax.grad(lambda maps: decode(maps, False).sum() + decode(maps, True).sum()))
    np.testing.assert_array_equal(gradient(level), 0.0)
    gradient = jax.jit(jax.grad(lambda maps: decode(maps, False).sum()))(heat_maps(jnp.zeros((3, 2)), 4, 1.0))
    np.testing.assert_array_equal(gradient, 0.0)
