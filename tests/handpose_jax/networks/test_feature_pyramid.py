"""The feature pyramid against plain NumPy, at sizes that do not halve evenly."""

from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from handpose_jax.networks import FeaturePyramid
from tests.handpose_jax.networks.made_up_weights import made_up
from tests.handpose_jax.networks.reference import convolve

SIZES = ((7, 5), (4, 3), (2, 2))
"""Rows and columns of each stage: halved, rounded up."""


def made_up_pyramid() -> tuple[FeaturePyramid, dict, list[np.ndarray]]:
    network = FeaturePyramid(channels=6)
    stages = [made_up(f"stage{level}", (2, *size, 3 + level)) for level, size in enumerate(SIZES)]
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), [jnp.asarray(stage) for stage in stages]))
    flat = {}
    leaf: Any
    for path, leaf in flax.traverse_util.flatten_dict(dict(shapes)).items():
        name = "/".join(path) + {"var": "_running_var", "scale": "_weight"}.get(path[-1], "")
        flat[path] = made_up(name, leaf.shape)
    return network, flax.traverse_util.unflatten_dict(flat), stages


def test_levels_are_summed_from_the_coarsest_to_the_finest():
    network, variables, stages = made_up_pyramid()
    params, statistics = variables["params"], variables["batch_stats"]
    expected = None
    for level in (3, 2, 1):
        x = convolve(stages[level - 1], params[f"lateral{level}"]["kernel"])
        if expected is not None:
            x = x + np.kron(expected, np.ones((1, 2, 2, 1)))[:, : x.shape[1], : x.shape[2]]
        x = convolve(x, params[f"level{level}"]["kernel"])
        norm, known = params[f"level{level}_norm"], statistics[f"level{level}_norm"]
        x = (x - known["mean"]) / np.sqrt(known["var"].astype(np.float64) + 1e-5) * norm["scale"] + norm["bias"]
        expected = np.maximum(x, 0.0)
    found = jax.jit(network.apply)(variables, stages)
    assert found.shape == (2, 7, 5, 6)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5)


def test_training_updates_the_statistics_of_every_level():
    network, variables, stages = made_up_pyramid()
    _, updated = jax.jit(lambda v, x: network.apply(v, x, True, mutable=["batch_stats"]))(variables, stages)
    before, after = variables["batch_stats"], updated["batch_stats"]
    for level in (1, 2, 3):
        for name in ("mean", "var"):
            assert np.abs(before[f"level{level}_norm"][name] - after[f"level{level}_norm"][name]).max() > 1e-3
