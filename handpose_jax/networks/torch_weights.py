"""ResNet weights of torchvision and timm, from their safetensors files."""

import os
import pathlib
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from handpose_jax.networks.resnet import ResNet

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_SHORTCUT = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}
_STEM = {"stem": "conv1", "stem_norm": "bn1"}
_CLASSIFIER = ("fc.weight", "fc.bias")
_COUNTER = ".num_batches_tracked"


def torch_name(path: tuple[str, ...]) -> str:
    """torch's name of a variable: ("params", "stage1_block0", "norm2", "scale") -> "layer1.0.bn2.weight"."""
    *modules, leaf = path[1:]
    if len(modules) == 1:
        return f"{_STEM[modules[0]]}.{_LEAVES[leaf]}"
    block, layer = modules
    stage, number = block.removeprefix("stage").split("_block")
    layer = _SHORTCUT.get(layer) or layer.replace("convolution", "conv").replace("norm", "bn")
    return f"layer{stage}.{number}.{layer}.{_LEAVES[leaf]}"


def read_torch_resnet(path: str | os.PathLike, network: ResNet) -> dict[str, Any]:
    """Variables {"params", "batch_stats"} of `network` from a torchvision or timm state dict in a safetensors file.

    Every tensor of the file is accounted for. Left out on purpose: the classifier `fc` and the counters
    `num_batches_tracked`. 16-bit floats become float32.

    Raises:
      ValueError: not a safetensors file; or names or shapes are not those of this network (the message gives them, at
        most three of a kind); or a number is not finite.
      OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    with path.open("rb"):  # A missing or unreadable file fails here, with its own error.
        pass
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    flat: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(dict(shapes))
    variables = {torch_name(variable): (variable, leaf.shape) for variable, leaf in flat.items()}
    try:
        with safetensors.safe_open(path, framework="flax") as file:
            present = set(file.keys())
            ignored = {name for name in present if name in _CLASSIFIER or name.endswith(_COUNTER)}
            _check_names(path, set(variables) - present, present - ignored - set(variables))
            tensors = {name: np.asarray(jnp.asarray(file.get_tensor(name), jnp.float32)) for name in variables}
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: expected a safetensors file of ResNet weights, got one that does not parse ({error}); "
            "convert .pth files with safetensors.torch.save_file"
        ) from error
    result, wrong = {}, []
    for name, (variable, shape) in variables.items():
        tensor = tensors[name]
        tensor = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor  # [out, in, h, w] -> [h, w, in, out]
        if tensor.shape != shape:
            wrong.append(f"{name} {list(tensors[name].shape)}")
        elif not np.isfinite(tensor).all():
            raise ValueError(f"{path}: {name} must hold finite numbers; the file is damaged or was saved after a NaN")
        result[variable] = jnp.asarray(tensor)
    if wrong:
        raise ValueError(f"{path}: weights of another architecture: other shapes for {_some(wrong)}")
    return flax.traverse_util.unflatten_dict(result)


def _check_names(path: pathlib.Path, missing: set[str], unexpected: set[str]) -> None:
    complaints = [
        f"{kind} {_some(sorted(names))}" for kind, names in (("missing", missing), ("unexpected", unexpected)) if names
    ]
    if complaints:
        raise ValueError(f"{path}: weights of another architecture: {'; '.join(complaints)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(name[:60] for name in names[:3]) + more
