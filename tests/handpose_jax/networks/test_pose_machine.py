"""The convolutional pose machine: size, stages, plain NumPy, and the reader of its published weights."""

import collections
import functools
import os
import pathlib
import pickle
import tracemalloc
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mano_jax
from handpose_jax.networks import PoseMachine, decode_score_maps, read_pose_machine_weights
from mano_jax.python2_pickle import python2_pickle
from tests.handpose_jax.networks.made_up_weights import made_up_images
from tests.handpose_jax.networks.reference import convolve, max_pool

SMALLEST = PoseMachine(width=0.05)

# Layers of the published network: (name, kernel, channels in, channels out), written out from its description.
LAYERS = [
    *[("conv1_1", 3, 3, 64), ("conv1_2", 3, 64, 64)],
    *[("conv2_1", 3, 64, 128), ("conv2_2", 3, 128, 128)],
    *[("conv3_1", 3, 128, 256), ("conv3_2", 3, 256, 256), ("conv3_3", 3, 256, 256), ("conv3_4", 3, 256, 256)],
    *[("conv4_1", 3, 256, 512), ("conv4_2", 3, 512, 512)],
    *[("conv4_3", 3, 512, 256), ("conv4_4", 3, 256, 256), ("conv4_5", 3, 256, 256), ("conv4_6", 3, 256, 256)],
    ("conv4_7", 3, 256, 128),
    *[("conv5_1", 1, 128, 512), ("conv5_2", 1, 512, 21)],
    *[("conv6_1", 7, 149, 128), *[(f"conv6_{layer}", 7, 128, 128) for layer in (2, 3, 4, 5)]],
    *[("conv6_6", 1, 128, 128), ("conv6_7", 1, 128, 21)],
    *[("conv7_1", 7, 149, 128), *[(f"conv7_{layer}", 7, 128, 128) for layer in (2, 3, 4, 5)]],
    *[("conv7_6", 1, 128, 128), ("conv7_7", 1, 128, 21)],
]


def shapes_of(network: PoseMachine, size: int = 8) -> dict[tuple[str, ...], Any]:
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, size, size, 3))))
    return flax.traverse_util.flatten_dict(dict(shapes["params"]))


def published(network: PoseMachine, dtype: type[np.floating] = np.float32) -> dict[str, np.ndarray]:
    """Made-up weights under the published names."""
    random, names = np.random.default_rng(1), {"kernel": "weights", "bias": "biases"}
    result = {}
    for (layer, leaf), array in shapes_of(network).items():
        numbers = random.normal(size=array.shape) / np.sqrt(max(1, array.size // array.shape[-1]))
        result[f"PoseNet2D/{layer}/{names[leaf]}"] = numbers.astype(dtype)
    return result


def written(content: object, folder: pathlib.Path) -> pathlib.Path:
    path = folder / "posenet.pickle"
    path.write_bytes(pickle.dumps(content, 2))
    return path


def reference(weights: dict[str, np.ndarray], images: np.ndarray) -> list[np.ndarray]:
    """Score maps in the file's own order of keypoints, float64."""

    def conv(x, layer):
        return convolve(x, weights[f"PoseNet2D/{layer}/weights"], 1, weights[f"PoseNet2D/{layer}/biases"])

    def hidden(x, *layers):
        for layer in layers:
            x = conv(x, layer)
            x = np.where(x > 0.0, x, 0.01 * x)
        return x

    x = images.astype(np.float64) - 0.5
    x = max_pool(hidden(x, "conv1_1", "conv1_2"), 2, 2, 0)
    x = max_pool(hidden(x, "conv2_1", "conv2_2"), 2, 2, 0)
    x = max_pool(hidden(x, *(f"conv3_{n}" for n in range(1, 5))), 2, 2, 0)
    encoding = hidden(x, *(f"conv4_{n}" for n in range(1, 8)))
    scores = [conv(hidden(encoding, "conv5_1"), "conv5_2")]
    for stage in (6, 7):
        x = np.concatenate([scores[-1], encoding], axis=-1)
        scores.append(conv(hidden(x, *(f"conv{stage}_{n}" for n in range(1, 7))), f"conv{stage}_7"))
    return scores


def test_layers_and_parameters_of_the_published_network():
    flat = shapes_of(PoseMachine())
    kernels = {layer: array.shape for (layer, leaf), array in flat.items() if leaf == "kernel"}
    assert kernels == {name: (kernel, kernel, inside, out) for name, kernel, inside, out in LAYERS}
    by_hand = sum(kernel * kernel * inside * out + out for _, kernel, inside, out in LAYERS)
    assert sum(array.size for array in flat.values()) == by_hand == 17_518_847


def test_three_score_maps_of_32_cells_from_256_pixels():
    network = PoseMachine()
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    scores = jax.eval_shape(network.apply, variables, jnp.zeros((2, 256, 256, 3)))
    assert scores.shape == (2, 3, 32, 32, 21)
    with pytest.raises(ValueError, match="8 n"):
        jax.eval_shape(network.apply, variables, jnp.zeros((2, 100, 256, 3)))


def test_width_scales_hidden_layers_only():
    kernels = {layer: array.shape[-1] for (layer, _), array in shapes_of(PoseMachine(width=0.25)).items()}
    assert kernels["conv1_1"] == 16
    assert kernels["conv4_2"] == 128
    assert {kernels[layer] for layer in ("conv5_2", "conv6_7", "conv7_7")} == {21}


@functools.cache
def jitted_apply():
    return jax.jit(SMALLEST.apply)


@pytest.mark.parametrize("order", ["rhd", "canonical"])
def test_read_weights_give_plain_numpys_score_maps_in_canonical_order(tmp_path: pathlib.Path, order: str):
    weights = published(SMALLEST)
    variables = read_pose_machine_weights(written(weights, tmp_path), SMALLEST, order)
    images = made_up_images(2, 40)[:, :, :24]
    found = np.asarray(jitted_apply()(variables, images))
    expected = np.stack(reference(weights, images), axis=1)
    place = np.asarray(mano_jax.CANONICAL_FROM_ORDER[order])
    np.testing.assert_allclose(found, expected[..., place], rtol=0.0, atol=2e-5 * np.abs(expected).max())
    assert decode_score_maps(jnp.asarray(found)).shape == (2, 3, 21, 2)


@pytest.mark.parametrize("protocol", [0, 2, 3, 5, "Python 2"])
def test_every_protocol_other_networks_in_the_file_and_float64(tmp_path: pathlib.Path, protocol: int | str):
    weights = published(SMALLEST, np.float64)
    others = {f"{scope}/conv1_1/weights": np.ones((3, 3), np.float32) for scope in ("PosePrior", "HandSegNet")}
    path = tmp_path / "posenet.pickle"
    content = weights | others
    path.write_bytes(pickle.dumps(content, protocol) if isinstance(protocol, int) else python2_pickle(content))
    variables = read_pose_machine_weights(path, SMALLEST)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_array_equal(
        variables["params"]["conv3_2"]["kernel"], weights["PoseNet2D/conv3_2/weights"].astype(np.float32)
    )
    expected = jax.eval_shape(lambda: SMALLEST.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))
    assert jax.tree.structure(variables) == jax.tree.structure(dict(expected))


class Runs:
    """Pickles as a call."""

    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


NAME = "PoseNet2D/conv1_1/weights"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights, command: weights | {NAME: Runs(os.system, (command,))}, "posix.system"),
        (lambda weights, command: weights | {"PosePrior/x": Runs(eval, (command,))}, "eval"),
        (lambda weights, command: Runs(os.system, (command,)), "posix.system"),
        (lambda weights, command: collections.OrderedDict(weights), "collections.OrderedDict"),
        (lambda weights, command: list(weights), "got list"),
        (lambda weights, command: {n: a for n, a in weights.items() if n != NAME}, f"missing {NAME}"),
        (lambda weights, command: weights | {"PoseNet2D/conv8_1/weights": np.ones(2)}, "unexpected PoseNet2D/conv8_1"),
        (lambda weights, command: {n[1:]: a for n, a in weights.items()}, "(62 in all)"),
        (lambda weights, command: weights | {NAME: np.ones((3, 3, 3, 5))}, "must have shape [3, 3, 3, 4]"),
        (lambda weights, command: weights | {NAME: np.ones((3, 3, 3, 4), np.int32)}, "an array of int32"),
        (lambda weights, command: weights | {NAME: "text"}, "got str"),
        (lambda weights, command: weights | {NAME: np.full((3, 3, 3, 4), np.inf)}, "finite"),
        (lambda weights, command: weights | {NAME: np.full((3, 3, 3, 4), 1e300)}, "finite"),
        (lambda weights, command: weights | {NAME: np.array([None])}, "dtype 'O8'"),
        (lambda weights, command: weights | {3: np.ones(2)}, "names as keys"),
    ],
)
def test_hostile_and_foreign_files(tmp_path: pathlib.Path, change, message: str):
    command = f"touch {tmp_path / 'SENTINEL'}"
    path = written(change(published(SMALLEST), command), tmp_path)
    with pytest.raises(ValueError, match=r"posenet\.pickle: ") as caught:
        read_pose_machine_weights(path, SMALLEST)
    assert message in str(caught.value)
    assert "MANO" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "the pickle ran something"


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", b"PK\x03\x04", b"\x80\x02}", b"\x80\x02}q\x00(X\xff\xff\xff\x7f"]
)
def test_damaged_files_and_small_memory(tmp_path: pathlib.Path, content: bytes):
    path = tmp_path / "posenet.pickle"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match="pickle"):
        read_pose_machine_weights(path, SMALLEST)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_unknown_order_and_missing_file(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="keypoint order must be one of"):
        read_pose_machine_weights(tmp_path / "x", SMALLEST, "alphabetical")
    with pytest.raises(FileNotFoundError):
        read_pose_machine_weights(tmp_path / "x", SMALLEST)
