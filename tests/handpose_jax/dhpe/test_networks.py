"""The estimator and the refiner: sizes, the recurrence of Eqs. 5 and 6, what gradients reach, and the ablations."""

import dataclasses
import functools
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.dhpe.configuration import (
    SMALL_NETWORKS,
    TINY_NETWORKS,
    DhpeOptions,
    LossOptions,
    NetworkOptions,
    Parametrisation,
    RefinementOptions,
)
from handpose_jax.dhpe.networks import Estimate, HandMeshEstimator, cut_out
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.networks import decode_score_maps
from handpose_jax.projection import project_mesh
from tests.handpose_jax.networks.made_up_weights import made_up, made_up_images

PARAMETRISATION = Parametrisation()


@functools.cache
def model() -> mano_jax.HandModel:
    return mano_jax.open_hand("right")


def estimator(**settings: Any) -> HandMeshEstimator:
    return HandMeshEstimator(dataclasses.replace(TINY_NETWORKS, **settings), PARAMETRISATION)


def shapes_of(network: HandMeshEstimator) -> dict[str, Any]:
    size, hand = network.options.image_size, model()
    return dict(jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), hand)))


def made_up_variables(network: HandMeshEstimator) -> dict[str, Any]:
    """Weights of NumPy by name (compiling the initialisation would take half the test), the heads' small."""
    flat, shapes = {}, flax.traverse_util.flatten_dict(shapes_of(network))
    leaf: Any
    for path, leaf in shapes.items():
        name = "/".join(path) + ("_running_var" if path[-1] == "var" else "")
        # Kernels have their inputs first here, and last in what `made_up` takes.
        numbers = made_up(name, leaf.shape[::-1]).transpose() if leaf.ndim > 1 else made_up(name, leaf.shape)
        flat[path] = jnp.asarray(numbers * (0.2 if path[1] in ("estimator", "refiner") else 1.0))
    return flax.traverse_util.unflatten_dict(flat)


@functools.cache
def estimated() -> tuple[dict[str, Any], np.ndarray, np.ndarray, Estimate, dict[str, Any]]:
    """Variables, images, masks, what the tiny network makes of them, and the gradient of its 2D and 3D joints."""
    network = estimator()
    variables, images = made_up_variables(network), made_up_images(2, 32)
    masks = np.random.default_rng(3).uniform(size=(2, 16, 16)).astype(np.float32)

    def value(params):
        estimate = network.apply({**variables, "params": params}, images, model(), False, masks)
        assert isinstance(estimate, Estimate)
        return jnp.sum(estimate.joints_3d**2) + jnp.sum(estimate.joints_2d**2), estimate

    gradient, estimate = jax.jit(jax.grad(value, has_aux=True))(variables["params"])
    return variables, images, masks, estimate, gradient


def test_the_papers_sizes():
    params = shapes_of(HandMeshEstimator(NetworkOptions(), PARAMETRISATION))["params"]
    assert params["estimator"]["kernel"].shape == (2153, 63)
    assert params["refiner"]["kernel"].shape == (2216, 42)
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    assert counts == {
        "backbone": 23_508_032,
        "pose_machine": 17_518_847,
        "estimator": 2153 * 63 + 63,
        "refiner": 2216 * 42 + 42,
    }
    small = shapes_of(HandMeshEstimator(SMALL_NETWORKS, PARAMETRISATION))["params"]
    assert small["estimator_hidden_0"]["kernel"].shape == (256 + 42 + 63, 512)
    assert small["estimator"]["kernel"].shape == (512, 63)
    assert sum(leaf.size for leaf in jax.tree.leaves(small)) < 4_000_000


def test_three_steps_of_equations_5_and_6():
    """Recomputed in NumPy from the features, the score maps and the two layers."""
    variables, _, _, estimate, _ = estimated()
    estimator_layer, refiner_layer = (variables["params"][name] for name in ("estimator", "refiner"))
    features = np.asarray(estimate.features, np.float64)
    h = np.zeros((2, 63))
    project_h = jax.jit(lambda hand, h: project_mesh(hand, decode(hand, h, PARAMETRISATION)))
    joints = np.asarray(decode_score_maps(estimate.score_maps[:, -1]), np.float64)
    np.testing.assert_allclose(estimate.joints_2d[:, 0], joints, atol=1e-6)
    assert estimate.joints_2d.shape == (2, 4, 21, 2)
    for t in range(3):
        seen = np.concatenate([features, joints.reshape(2, 42), h], axis=1)
        h = h + seen @ np.asarray(estimator_layer["kernel"]) + np.asarray(estimator_layer["bias"])
        found = jax.tree.map(lambda leaf, t=t: leaf[:, t], estimate.h)
        np.testing.assert_allclose(found.flatten(), h, rtol=0.0, atol=2e-5)
        mesh = project_h(model(), found)
        np.testing.assert_allclose(estimate.joints_3d[:, t], mesh.joints_3d, rtol=0.0, atol=2e-5)
        np.testing.assert_allclose(estimate.projected_2d[:, t], mesh.joints_2d, rtol=0.0, atol=2e-5)
        seen = [features, h, np.asarray(mesh.joints_3d).reshape(2, 63), joints.reshape(2, 42)]
        refined = np.concatenate(seen, axis=1) @ np.asarray(refiner_layer["kernel"]) + np.asarray(refiner_layer["bias"])
        joints = refined.reshape(2, 21, 2)
        np.testing.assert_allclose(estimate.joints_2d[:, t + 1], joints, rtol=0.0, atol=5e-5)
    np.testing.assert_array_equal(estimate.prediction.flatten(), estimate.h.flatten()[:, -1])


@pytest.mark.slow
def test_no_gradient_passes_the_arg_max():
    gradient = estimated()[-1]
    assert all(float(jnp.abs(leaf).max()) == 0.0 for leaf in jax.tree.leaves(gradient["pose_machine"]))
    for part in ("backbone", "estimator", "refiner"):
        assert all(float(jnp.abs(leaf).max()) > 0.0 for leaf in jax.tree.leaves(gradient[part])), part
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient[part]))


def test_foreground_features_are_those_of_the_image_cut_out():
    variables, images, masks, estimate, _ = estimated()
    network = estimator()
    apply = jax.jit(lambda images: network.apply(variables, images, method="features"))
    enlarged = jax.image.resize(jnp.asarray(masks), (2, 32, 32), "bilinear")
    expected = apply(images * np.asarray(enlarged)[..., None])
    assert estimate.foreground_features is not None
    np.testing.assert_allclose(estimate.foreground_features, expected, rtol=0.0, atol=1e-5)
    np.testing.assert_allclose(estimate.features, apply(images), rtol=0.0, atol=1e-5)
    np.testing.assert_array_equal(cut_out(jnp.asarray(images), jnp.ones((2, 32, 32))), images)
    np.testing.assert_allclose(cut_out(jnp.asarray(images), jnp.ones((2, 8, 8))), images, rtol=1e-6)


def test_one_look_at_the_crop_serves_features_and_score_maps():
    """With a shared pyramid: maps of a quarter of the crop, and none of the published network's own first layers."""
    network = estimator(shared_features=6, pose_machine_stages=1, estimator_width=16)
    shapes = shapes_of(network)["params"]
    assert set(shapes["pose_machine"]) == {"conv5_1", "conv5_2"}
    assert set(shapes) == {
        *("backbone", "pyramid", "pose_machine", "estimator_hidden_0", "estimator_hidden_1", "estimator", "refiner")
    }
    estimate = jax.eval_shape(lambda v: network.apply(v, jnp.zeros((2, 32, 32, 3)), model()), shapes_of(network))
    assert estimate.score_maps.shape == (2, 1, 8, 8, 21)


@pytest.mark.slow
def test_foreground_of_some_crops_only():
    """The groups' order is kept, and the crops that are looked at twice are the first of their groups."""
    network = estimator(iterations=1)
    variables, images = made_up_variables(network), made_up_images(4, 32)
    masks = np.random.default_rng(3).uniform(size=(4, 32, 32)).astype(np.float32)
    run = jax.jit(lambda every: network.apply(variables, images, model(), False, masks, every), static_argnums=0)
    all_of_them, some = run(1), run(2)
    assert isinstance(all_of_them, Estimate)
    assert isinstance(some, Estimate)
    np.testing.assert_allclose(some.features, all_of_them.features, atol=1e-5)
    assert some.foreground_features is not None
    assert all_of_them.foreground_features is not None
    np.testing.assert_allclose(some.foreground_features, all_of_them.foreground_features[::2], atol=1e-5)


def test_the_heads_start_at_the_mean_hand_and_at_the_identity():
    """An untrained refiner keeps j2D, and an untrained estimator hardly moves h."""
    network = estimator()
    features, joints = jnp.ones((1, 64)), jnp.asarray(made_up("joints", (1, 21, 2)))
    h = HandVector.unflatten(0.1 * jnp.ones((1, 63)))
    key = jax.random.key(0, impl="rbg")
    stepped, _ = network.init_with_output(key, features, joints, h, method="estimate_step")
    assert float(jnp.abs(stepped.flatten() - h.flatten()).max()) < 0.2
    refined, _ = network.init_with_output(key, features, h, jnp.ones((1, 21, 3)), joints, method="refine_step")
    np.testing.assert_allclose(refined, joints, atol=0.2)


@pytest.mark.parametrize(
    ("settings", "steps", "refiner"),
    [({"iterations": 1}, 1, True), ({"refine_2d": False}, 3, False), ({"use_2d": False}, 3, False)],
)
def test_ablations_are_switches(settings: dict[str, Any], steps: int, refiner: bool):
    network = estimator(**settings)
    variables = shapes_of(network)
    assert ("refiner" in variables["params"]) == refiner
    estimate = jax.eval_shape(lambda v: network.apply(v, jnp.zeros((2, 32, 32, 3)), model()), variables)
    assert estimate.joints_3d.shape == (2, steps, 21, 3)
    assert estimate.h.shape.shape == (2, steps, 10)
    assert estimate.joints_2d.shape == (2, steps + 1, 21, 2)
    assert estimate.foreground_features is None


def test_bfloat16_stays_in_the_networks():
    network = estimator(dtype="bfloat16")
    variables = shapes_of(network)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    estimate = jax.eval_shape(lambda v: network.apply(v, jnp.zeros((2, 32, 32, 3)), model()), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(estimate)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (NetworkOptions, {"pose_machine_size": 250}),
        (NetworkOptions, {"iterations": 0}),
        (NetworkOptions, {"pose_machine_stages": 0}),
        (NetworkOptions, {"shared_features": -1}),
        (NetworkOptions, {"estimator_width": -1}),
        (LossOptions, {"heat_map_loss": "absolute"}),
        (LossOptions, {"features_every": 0}),
        (NetworkOptions, {"dtype": "float8"}),
        (RefinementOptions, {"optimizer": "newton"}),
        (RefinementOptions, {"target": "truth"}),
        (RefinementOptions, {"prior_of": "median"}),
    ],
)
def test_impossible_options(options, settings):
    with pytest.raises(ValueError, match="must be"):
        options(**settings)


def test_options_are_static():
    """Hashable and compared by content: what `jit` needs of a static argument."""
    assert hash(DhpeOptions()) == hash(DhpeOptions())
    assert dataclasses.replace(DhpeOptions(), networks=TINY_NETWORKS) != DhpeOptions()
