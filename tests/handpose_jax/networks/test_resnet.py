"""ResNets against plain NumPy and torchvision, and the reader of torch's weights."""

import pathlib
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy

from handpose_jax.networks import ResNet, read_torch_resnet, resnet
from handpose_jax.networks.torch_weights import torch_name
from tests.handpose_jax.networks.made_up_weights import made_up, made_up_images
from tests.handpose_jax.networks.reference import convolve, max_pool

GOLDEN = pathlib.Path(__file__).parent / "golden" / "resnet.npz"
SMALLEST = {
    False: ResNet(stages=(2, 1), bottleneck=False, width=4),
    True: ResNet(stages=(1, 1), bottleneck=True, width=3),
}


def shapes_of(network: ResNet) -> dict[tuple[str, ...], Any]:
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    return flax.traverse_util.flatten_dict(dict(shapes))


def torch_state(network: ResNet) -> dict[str, np.ndarray]:
    """A state dict as torchvision writes it, of made-up weights."""
    state = {}
    for path, leaf in shapes_of(network).items():
        shape = leaf.shape if len(leaf.shape) == 1 else tuple(leaf.shape[axis] for axis in (3, 2, 0, 1))
        state[torch_name(path)] = made_up(torch_name(path), shape)
    counters = {name.replace("running_mean", "num_batches_tracked") for name in state if "running_mean" in name}
    state |= {name: made_up(name, ()) for name in counters}
    return state | {name: made_up(name, (5,)) for name in ("fc.weight", "fc.bias")}


def read_made_up(network: ResNet, folder: pathlib.Path) -> dict[str, Any]:
    safetensors.numpy.save_file(torch_state(network), folder / "weights.safetensors")
    return read_torch_resnet(folder / "weights.safetensors", network)


def reference(network: ResNet, state: dict[str, np.ndarray], images: np.ndarray) -> list[np.ndarray]:
    """The maps after each stage, from torch's names, float64."""

    def norm(x, name):
        weight, bias, mean, variance = (
            state[f"{name}.{field}"].astype(np.float64) for field in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    def conv(x, name, stride=1):
        return convolve(x, state[f"{name}.weight"].transpose(2, 3, 1, 0), stride)

    x = (images.astype(np.float64) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = max_pool(np.maximum(norm(conv(x, "conv1", 2), "bn1"), 0.0), 3, 2, 1)
    maps = []
    for stage, blocks in enumerate(network.stages, 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            strides = (1, stride, 1) if network.bottleneck else (stride, 1)
            y = x
            for number, step in enumerate(strides, 1):
                y = norm(conv(y, f"{name}.conv{number}", step), f"{name}.bn{number}")
                y = y if number == len(strides) else np.maximum(y, 0.0)
            if f"{name}.downsample.0.weight" in state:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = np.maximum(x + y, 0.0)
        maps.append(x)
    return maps


@pytest.mark.parametrize("bottleneck", [False, True])
def test_features_and_stages_equal_plain_numpy(tmp_path: pathlib.Path, bottleneck: bool):
    network = SMALLEST[bottleneck]
    images = made_up_images(2, 37)[:, :, :30]
    found: Any = jax.jit(network.apply)(read_made_up(network, tmp_path), images)
    expected = reference(network, torch_state(network), images)
    for stage, correct in zip(found.stages, expected, strict=True):
        np.testing.assert_allclose(stage, correct, rtol=0.0, atol=2e-5)
    np.testing.assert_allclose(found.pooled, expected[-1].mean(axis=(1, 2)), rtol=0.0, atol=1e-5)
    assert found.pooled.shape == (2, network.feature_size)


@pytest.mark.parametrize(
    "name",
    ["resnet18", pytest.param("resnet34", marks=pytest.mark.slow), pytest.param("resnet50", marks=pytest.mark.slow)],
)
def test_golden_outputs_of_torchvision(tmp_path: pathlib.Path, name: str):
    """Golden values: torchvision's networks with weights made up by name; `source` in golden/resnet.npz."""
    golden = np.load(GOLDEN)
    images = made_up_images(2, {"resnet18": 40, "resnet34": 33, "resnet50": 64}[name])
    network = resnet(name)
    found: Any = jax.jit(network.apply)(read_made_up(network, tmp_path), images)
    np.testing.assert_allclose(found.pooled, golden[f"{name}_pooled"], rtol=0.0, atol=1e-5)
    for number, stage in enumerate(found.stages, 1):
        np.testing.assert_allclose(stage[0, ..., ::61], golden[f"{name}_stage{number}"], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "features"),
    # The first three: torchvision's counts less those of `fc` (25,557,032; 21,797,672; 11,689,512).
    [
        ("resnet50", 25_557_032 - 2_049_000, 2048),
        ("resnet34", 21_797_672 - 513_000, 512),
        ("resnet18", 11_689_512 - 513_000, 512),
        ("small", 2_798_880 + 3 * 3 * 48 * 32 - 7 * 7 * 3 * 32, 256),
        ("tiny", 78_312, 64),
    ],
)
def test_parameter_counts(name: str, parameters: int, features: int):
    network = resnet(name)
    flat = shapes_of(network)
    assert sum(leaf.size for path, leaf in flat.items() if path[0] == "params") == parameters
    assert network.feature_size == features


def test_bfloat16_computes_low_and_keeps_high(tmp_path: pathlib.Path):
    network = SMALLEST[True].clone(dtype=jnp.bfloat16)
    assert all(leaf.dtype == jnp.float32 for leaf in shapes_of(network).values())
    variables = read_made_up(network, tmp_path)
    features = jax.eval_shape(network.apply, variables, jnp.zeros((1, 32, 32, 3)))
    assert features.pooled.dtype == jnp.float32
    assert {stage.dtype for stage in features.stages} == {jnp.dtype(jnp.bfloat16)}


def test_a_stem_of_patches_is_a_convolution_of_stride_four():
    """A 3x3 convolution over patches of 4x4 is one of 12x12 over pixels; 4 pixels of margin, zeros beyond the image."""
    network = ResNet(stages=(1,), bottleneck=False, width=5, patches=True)
    images = made_up_images(2, 22)
    key = jax.random.key(0, impl="rbg")
    variables = jax.jit(network.init)(key, images)
    _, state = jax.jit(lambda v, x: network.apply(v, x, capture_intermediates=True))(variables, images)
    kernel = np.asarray(variables["params"]["stem"]["kernel"], np.float64)
    kernel = kernel.reshape(3, 3, 4, 4, 3, 5).transpose(0, 2, 1, 3, 4, 5).reshape(12, 12, 3, 5)
    normalised = (images.astype(np.float64) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    padded = np.pad(normalised, ((0, 0), (4, 6), (4, 6), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (12, 12), axis=(1, 2))[:, ::4, ::4]
    expected = np.einsum("bhwcij,ijco->bhwo", windows, kernel)
    found = state["intermediates"]["stem"]["__call__"][0]
    assert found.shape == expected.shape == (2, 6, 6, 5)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5)


def test_training_normalises_by_the_batch_and_updates_by_a_tenth(tmp_path: pathlib.Path):
    network = SMALLEST[False]
    variables, images = read_made_up(network, tmp_path), made_up_images(3, 32)
    _, updated = jax.jit(lambda v, x: network.apply(v, x, True, mutable=["batch_stats"]))(variables, images)
    state = torch_state(network)
    x = (images - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    x = convolve(x, state["conv1.weight"].transpose(2, 3, 1, 0), 2)
    stem = updated["batch_stats"]["stem_norm"]
    mean = 0.9 * state["bn1.running_mean"] + 0.1 * x.mean(axis=(0, 1, 2))
    variance = 0.9 * state["bn1.running_var"] + 0.1 * x.var(axis=(0, 1, 2))
    np.testing.assert_allclose(stem["mean"], mean, rtol=0.0, atol=1e-5)
    np.testing.assert_allclose(stem["var"], variance, rtol=1e-4)


def test_an_untrained_block_passes_its_input_on():
    """The last scale of a block starts at zero, the others at one."""
    network = SMALLEST[True]
    key = jax.random.key(0, impl="rbg")  # Compiles in a fraction of the default generator's time.
    variables = jax.jit(lambda: network.init(key, jnp.zeros((1, 32, 32, 3))))()
    block = variables["params"]["stage1_block0"]
    np.testing.assert_array_equal(block["norm3"]["scale"], 0.0)
    np.testing.assert_array_equal(block["norm1"]["scale"], 1.0)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_weights_of_16_bits(tmp_path: pathlib.Path, dtype):
    network = SMALLEST[False]
    state = {name: jnp.asarray(tensor, dtype) for name, tensor in torch_state(network).items() if "num_" not in name}
    safetensors.flax.save_file(state, tmp_path / "weights.safetensors")
    variables = read_torch_resnet(tmp_path / "weights.safetensors", network)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    expected = np.asarray(jnp.asarray(made_up("bn1.bias", (4,)), dtype).astype(jnp.float32))
    np.testing.assert_array_equal(variables["params"]["stem_norm"]["bias"], expected)


def without(state: dict, *names: str) -> dict:
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "layer1.0.conv1.weight"), "missing layer1.0.conv1.weight"),
        (lambda state: state | {"layer3.0.conv1.weight": made_up("x", (2, 2))}, "unexpected layer3.0.conv1.weight"),
        (lambda state: {f"{n}0": t for n, t in state.items()}, "and "),
        (lambda state: state | {"bn1.weight": made_up("x", (9,))}, "other shapes for bn1.weight [9]"),
        (lambda state: state | {"bn1.weight": np.full(4, np.nan, np.float32)}, "bn1.weight must hold finite numbers"),
    ],
)
def test_weights_of_another_architecture(tmp_path: pathlib.Path, change, message: str):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(change(torch_state(SMALLEST[False])), path)
    with pytest.raises(ValueError, match="weights") as caught:
        read_torch_resnet(path, SMALLEST[False])
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}.", b"\xff" * 64])
def test_files_that_are_no_safetensors(tmp_path: pathlib.Path, content: bytes):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a safetensors file"):
        read_torch_resnet(path, SMALLEST[False])
    with pytest.raises(FileNotFoundError):
        read_torch_resnet(tmp_path / "nowhere.safetensors", SMALLEST[False])


def test_unknown_names_and_shapes():
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        resnet("resnet_50")
    with pytest.raises(ValueError, match=r"\(batch, height, width, 3\)"):
        jax.eval_shape(lambda: SMALLEST[False].init(jax.random.key(0), jnp.zeros((32, 32, 3))))
