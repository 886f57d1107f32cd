"""Reads the published weights of the pose machine, pickled dictionaries of arrays, without running the pickle."""

import os
import pathlib
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from handpose_jax.networks.pose_machine import KEYPOINTS, PoseMachine
from mano_jax.keypoints import CANONICAL_FROM_ORDER
from mano_jax.restricted_pickle import PickledArray, kind_of, read_pickle

MAX_BYTES = 512 * 2**20
"""Larger files are refused: the published one has some 75 MB."""
SCOPE = "PoseNet2D/"
OTHER_SCOPES = ("HandSegNet/", "PosePrior/", "ViewpointNet/")
"""Networks that the same files hold beside the pose machine: left out on purpose."""
PUBLISHED_ORDER = "rhd"
"""Order of the keypoints in the published score maps: fingers from tip to base (mano_jax.reorder_keypoints)."""

_LEAVES = {"kernel": "weights", "bias": "biases"}


def read_pose_machine_weights(
    path: str | os.PathLike, network: PoseMachine, keypoint_order: str = PUBLISHED_ORDER
) -> dict[str, Any]:
    """Variables {"params"} of a pose machine from a file with the names `PoseNet2D/convX_Y/{weights,biases}`.

    The pickle is decoded, never executed: arrays and dictionaries are all that it may hold. The channels of the score
    maps are put into the canonical order of keypoints, where they are made and where the next stage reads them.

    Args:
      path: the pickle, written by Python 2 or 3.
      network: of the published size (width 1), or of the size the file was made for.
      keypoint_order: order of the keypoints in the file, one of `mano_jax.CANONICAL_FROM_ORDER`.

    Raises:
      ValueError: the pickle asks for anything but arrays; names, shapes or dtypes are not those of the network (the
        message gives them); a number is not finite; no such order.
      OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    if keypoint_order not in CANONICAL_FROM_ORDER:
        known = ", ".join(CANONICAL_FROM_ORDER)
        raise ValueError(f"keypoint order must be one of {known}, got {keypoint_order!r}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected weights of at most {MAX_BYTES} bytes, got {path.stat().st_size}")
    try:
        return {"params": _parameters(read_pickle(path.read_bytes()), network, keypoint_order)}
    except ValueError as error:
        # The reader speaks of the files it was made for; and decoders quote what they could not read.
        message = " ".join(str(error).replace("MANO", "weight").split())
        raise ValueError(f"{path}: {message if len(message) <= 400 else message[:400] + '...'}") from error


def _parameters(content: dict[str, object], network: PoseMachine, keypoint_order: str) -> dict[str, Any]:
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))["params"]
    flat: dict[tuple[str, str], Any] = flax.traverse_util.flatten_dict(dict(shapes))
    expected = {
        f"{SCOPE}{layer}/{_LEAVES[leaf]}": ((layer, leaf), array.shape) for (layer, leaf), array in flat.items()
    }
    present = {name for name in content if not name.startswith(OTHER_SCOPES)}
    for kind, names in (("missing", set(expected) - present), ("unexpected", present - set(expected))):
        if names:
            shown = ", ".join(name[:60] for name in sorted(names)[:3])
            raise ValueError(f"not the weights of this pose machine: {kind} {shown} ({len(names)} in all)")
    order = np.asarray(CANONICAL_FROM_ORDER[keypoint_order])
    refining = range(6, 5 + network.stages)
    makes_scores = {"conv5_2", *(f"conv{stage}_7" for stage in refining)}
    reads_scores = {f"conv{stage}_1" for stage in refining}
    result = {}
    for name, ((layer, leaf), shape) in expected.items():
        array = _array(name, content[name], shape)
        # Into canonical order: the last axis where scores are made, the first inputs where they are read.
        if layer in makes_scores:
            array = array[..., order]
        if layer in reads_scores and leaf == "kernel":
            array = np.concatenate([array[:, :, order], array[:, :, KEYPOINTS:]], axis=2)
        result[layer, leaf] = jnp.asarray(array)
    return flax.traverse_util.unflatten_dict(result)


def _array(name: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    array = value.array if isinstance(value, PickledArray) else None
    if array is None or array.dtype.kind != "f":
        got = kind_of(value) if array is None else f"an array of {array.dtype}"
        raise ValueError(f"{name} must be an array of floats, got {got}")
    if array.shape != shape:
        raise ValueError(
            f"{name} must have shape {list(shape)}, got {list(array.shape)}; is the network's width right?"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers; the file is damaged")
    return array
