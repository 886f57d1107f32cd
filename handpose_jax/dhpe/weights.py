"""Trained weights as files: numbers in safetensors, the configuration that they belong to in a JSON beside them.

`NAME.json` says which options the networks were made with and in which files the numbers lie (`NAME.safetensors`, or
`NAME-1-of-2.safetensors` ... where one file would grow too large). Either file names the whole.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

import mano_jax
from handpose_jax.dhpe.configuration import DhpeOptions
from handpose_jax.dhpe.networks import HandMeshEstimator
from handpose_jax.training.config_options import options_from

FORMAT = "handpose_jax dhpe weights 1"
REFERENCE = "reference"
"""In place of a path: the weights that come with the package, small networks trained on synthetic images alone."""
_REFERENCE_FILE = pathlib.Path(__file__).parents[1] / "reference_weights" / "dhpe_small.json"
LARGEST_FILE = 15_000_000
"""Bytes."""


class Weights(NamedTuple):
    """What runs a network.

    Attributes:
      variables: "params" and "batch_stats".
      options: of the whole system.
      notes: what is known of them: seed, scores, revision; JSON's types.
      source: file or folder, in words.
    """

    variables: dict[str, Any]
    options: DhpeOptions
    notes: dict[str, Any]
    source: str


def variable_shapes(options: DhpeOptions) -> dict[str, jax.ShapeDtypeStruct]:
    """Name ("params/backbone/stem/kernel") -> shape and type of every variable of these options."""
    network, size = HandMeshEstimator(options.networks, options.parametrisation), options.networks.image_size
    model = mano_jax.open_hand("right")
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), model))
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(dict(shapes), sep="/")
    return flat


def save_weights(
    path: str | os.PathLike,
    variables: Mapping[str, Any],
    options: DhpeOptions,
    notes: Mapping[str, Any] | None = None,
    half: bool = False,
    largest_file: int = LARGEST_FILE,
) -> list[pathlib.Path]:
    """Writes `path` (.json) and its numbers beside it; each file is written beside and renamed, the JSON last.

    Args:
      path: of the JSON; its folder is made if missing.
      variables: "params" and "batch_stats".
      options: that they were trained with.
      notes: anything to remember, of JSON's types.
      half: store 16-bit floats: half the size, rounded to three digits.
      largest_file: bytes of numbers in one file; a single larger array gets a file of its own.

    Returns:
      The files, the JSON first.

    Raises:
      ValueError: the path is no .json, or the variables are not those of the options.
    """
    path = pathlib.Path(path)
    if path.suffix != ".json":
        raise ValueError(f"weights are saved under the name of their JSON, such as weights/dhpe.json, got {path}")
    flat = flax.traverse_util.flatten_dict(dict(variables), sep="/")
    arrays = {name: np.ascontiguousarray(value, np.float16 if half else None) for name, value in sorted(flat.items())}
    _check_shapes(str(path), {name: array.shape for name, array in arrays.items()}, options)
    parts: list[dict[str, np.ndarray]] = [{}]
    for name, array in arrays.items():
        if parts[-1] and sum(one.nbytes for one in parts[-1].values()) + array.nbytes > largest_file:
            parts.append({})
        parts[-1][name] = array
    stem, count = path.stem, len(parts)
    files = [f"{stem}.safetensors" if count == 1 else f"{stem}-{n}-of-{count}.safetensors" for n in range(1, count + 1)]
    content = {"format": FORMAT, "files": files, "options": dataclasses.asdict(options), "notes": dict(notes or {})}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, part in zip(files, parts, strict=True):
        _replace(path.parent / file, safetensors.numpy.save(part))
    _replace(path, text.encode())
    return [path, *(path.parent / file for file in files)]


def load_weights(path: str | os.PathLike = REFERENCE) -> Weights:
    """Weights from their JSON, or from the safetensors file of that name; or the reference weights.

    Raises:
      OSError: a file is missing or unreadable.
      ValueError: not such files, other names or shapes than the options', or a number that is not finite.
    """
    path = _REFERENCE_FILE if path == REFERENCE else pathlib.Path(path)
    path = path.with_suffix(".json") if path.suffix == ".safetensors" else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: expected the JSON of DHPE weights (format {FORMAT!r}); save_weights writes it")
    options = options_from(DhpeOptions, content.get("options", {}), f"{path}: options")
    arrays: dict[str, np.ndarray] = {}
    for file in content.get("files", []):
        part = path.parent / pathlib.PurePath(str(file)).name
        with part.open("rb"):  # A missing or unreadable file fails here, with its own error.
            pass
        try:
            arrays |= safetensors.numpy.load_file(part)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{part}: not a whole safetensors file ({error}); copy it again") from None
    _check_shapes(str(path), {name: array.shape for name, array in arrays.items()}, options)
    bad = next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)
    if bad:
        raise ValueError(f"{path}: {bad} must hold finite numbers; the file is damaged or was saved after a NaN")
    variables = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    return Weights(_nested(variables), options, dict(content.get("notes", {})), f"weights {path.name}")


def load_checkpoint(workdir: str | os.PathLike) -> Weights:
    """The averaged weights of the newest checkpoint of a folder of `launch.train`; nothing in it is changed.

    `notes` holds the whole recorded config under "config" and the step under "step".

    Raises:
      OSError, ValueError: the folder holds no run of DHPE, no checkpoint, or one of other networks than its config's.
    """
    workdir = pathlib.Path(workdir)
    try:
        config = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{workdir}: no config.json; expected the --workdir of launch.train") from None
    except ValueError as error:
        raise ValueError(f"{workdir / 'config.json'}: not JSON ({error})") from None
    if not isinstance(config, dict) or config.get("system") != "dhpe" or not isinstance(config.get("dhpe"), dict):
        raise ValueError(f"{workdir}: expected a run of system 'dhpe' in its config.json")
    options = options_from(DhpeOptions, config["dhpe"], f"{workdir / 'config.json'}: dhpe")
    folder = workdir / "checkpoints"
    steps = [int(one.name) for one in folder.iterdir() if one.name.isdigit()] if folder.is_dir() else []
    if not steps:
        raise ValueError(f"{folder}: holds no checkpoint yet; train longer, or shorten loop.checkpoint_every")
    newest = folder / str(max(steps))
    from orbax.checkpoint import v1 as ocp

    try:
        # Onto one device of this machine, wherever it was saved.
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        saved: Any = ocp.metadata(str(newest.resolve())).metadata
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved)
        state: Any = ocp.load(str(newest.resolve()), abstract)
        averaged = state["averaged"]
    except Exception as error:  # Orbax raises what its parts raise: of the file system, of JSON, of TensorStore.
        raise ValueError(f"{newest}: cannot be read as a checkpoint ({type(error).__name__})") from error
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(averaged, sep="/")
    _check_shapes(str(newest), {name: tuple(leaf.shape) for name, leaf in flat.items()}, options)
    variables = {name: jnp.asarray(np.asarray(leaf), jnp.float32) for name, leaf in flat.items()}
    notes = {"config": config, "step": max(steps)}
    return Weights(_nested(variables), options, notes, f"checkpoint of step {max(steps)} in {workdir.name}")


def refined_as(weights: Weights, steps: int | None, fit: bool | None) -> Weights:
    """With other numbers of refinement steps, with or without the fit after them; None leaves what there is."""
    chosen = {name: value for name, value in (("steps", steps), ("fit", fit)) if value is not None}
    refinement = dataclasses.replace(weights.options.refinement, **chosen)
    return weights._replace(options=dataclasses.replace(weights.options, refinement=refinement))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {"batch_stats": {}, **flax.traverse_util.unflatten_dict(dict(flat), sep="/")}


def _check_shapes(where: str, found: Mapping[str, tuple[int, ...]], options: DhpeOptions) -> None:
    expected = {name: tuple(leaf.shape) for name, leaf in variable_shapes(options).items()}
    wrong = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{where}: weights of another architecture: {name} is {found.get(name, 'absent')}, and with backbone "
            f"{options.networks.backbone!r} {expected.get(name, 'not expected')} ({len(wrong)} names or shapes differ)"
        )


def _replace(path: pathlib.Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".unfinished")
    beside.write_bytes(content)
    os.replace(beside, path)
