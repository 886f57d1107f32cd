"""Hand models from files and back: MANO's official pickles, .npz of the same fields, and this project's own .npz."""

import contextlib
import dataclasses
import io
import os
import pathlib
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from mano_jax import model_fields
from mano_jax.keypoints import FINGERTIP_VERTICES
from mano_jax.model import SIDES, HandModel
from mano_jax.model_fields import JOINTS, POSE_SIZE, VERTICES, Fields
from mano_jax.restricted_pickle import ForeignNameError, read_pickle

OWN_FORMAT = "mano_jax hand model 1"
MAX_BYTES = 64 * 2**20
"""Files, and archives unpacked, larger than this are refused: a MANO file has 4 MB."""
KNOWN_FIELDS = {
    *("v_template", "f", "J_regressor", "weights", "shapedirs", "posedirs", "kintree_table"),
    *("hands_components", "hands_mean", "hands_coeffs", "hands_stds"),
    *("format", "dtype", "basis_dtype", "side", "left_shape_corrected", "fingertip_names", "fingertip_vertices"),
    *("joint_template", "joint_shape_basis"),
}
"""The arrays read from an .npz file; others are left alone."""
FLOAT_TYPES = ("float64", "float32", "float16", "bfloat16")
OFFICIAL_LEFT_FINGERTIPS = FINGERTIP_VERTICES | {"745": (745, 317, 445, 556, 673)}
"""The official left hand is not the exact mirror of the right one: its middle fingertip has another number."""


def load(
    path: str | os.PathLike,
    side: str | None = None,
    correct_left_shape: bool = True,
    shape_components: int | None = None,
    dtype: DTypeLike | None = None,
) -> HandModel:
    """Read a hand model. Which format it is shows in the file's contents; nothing in a file is ever executed.

    Args:
      path: MANO_RIGHT.pkl or MANO_LEFT.pkl as published or saved again by Python 3, an .npz of the same fields, or an
        .npz written by `save`.
      side: "left" or "right". None for what the file records, else LEFT or RIGHT in the file's name, in any case.
      correct_left_shape: whether to negate the x of a left hand's shape basis, whose sign is wrong in MANO_LEFT.pkl
        (so that a shape means the same on both hands). Files that record whether that was done are left as they are.
      shape_components: how many shape components. None for all of this project's own file and for 10 of any other;
        official files hold 20.
      dtype: of the model's arrays. None for what this project's own file records, float32 for any other.

    Returns:
      The model. `model.topology.left_shape_corrected` says whether the correction was made, None for a right hand.

    Raises:
      ValueError: the file is no hand model: the message names the file, the check that failed, what was expected and
        what came; or the pickle names something foreign (refused by name); or the side is unknown or contradicts the
        file; or it holds fewer shape components.
      OSError: the file cannot be read.
    """
    path = pathlib.Path(path)
    if side is not None and side not in SIDES:
        raise ValueError(f"side must be 'left', 'right' or None, got {side!r}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected a hand model of at most {MAX_BYTES} bytes, got {path.stat().st_size}")
    content = path.read_bytes()
    try:
        fields = _read_archive(content) if content.startswith(b"PK") else _read_pickle(content)
        chosen_side = _chosen_side(fields, side, path.name)
        if _text(fields, "format") == OWN_FORMAT:
            return _own_model(fields, chosen_side, shape_components, dtype)
        return _official_model(fields, chosen_side, correct_left_shape, shape_components, dtype)
    except ValueError as error:
        message = " ".join(str(error).split())
        # Decoders quote what they could not read, which may be the whole file.
        raise ValueError(f"{path}: {message if len(message) <= 400 else message[:400] + '...'}") from error


def save(model: HandModel, path: str | os.PathLike) -> None:
    """Write a model as this project's own .npz, which `load` returns exactly.

    It holds MANO's fields under MANO's names beside the side, the fingertip vertices, whether the left hand's shape was
    corrected, the dtype, and the joints' template and shape basis to the last digit. The file appears whole or not at
    all: it is written beside `path` and renamed.

    Raises:
      ValueError: the model is not a whole hand of 778 vertices and 1,538 triangles.
      OSError: the file cannot be written; nothing is left behind.
    """
    path = pathlib.Path(path)
    size = (model.template.shape[0], model.faces.shape[0])
    if size != (VERTICES, model_fields.FACES):
        raise ValueError(
            f"expected a model of {VERTICES} vertices and {model_fields.FACES} triangles, got {size[0]} and {size[1]}; "
            "save the whole hand, not some of its vertices"
        )
    tips = model.topology.fingertip_vertices
    fields = {
        "format": np.array(OWN_FORMAT),
        "dtype": np.array(str(model.dtype)),
        "basis_dtype": np.array(str(model.blend_basis.dtype)),
        "side": np.array(model.side),
        "fingertip_names": np.array([name for name, _ in tips], np.str_),
        "fingertip_vertices": np.array([vertices for _, vertices in tips], np.int64).reshape(-1, 5),
        "kintree_table": np.array([model.parents, range(JOINTS)], np.int64),
        "f": model.faces,
        "v_template": _storable(model.template),
        "shapedirs": _storable(model.shape_basis),
        "posedirs": _storable(model.pose_correctives),
        "J_regressor": _storable(model.joint_regressor),
        "weights": _storable(model.skinning_weights),
        "hands_mean": _storable(model.pose_mean),
        "hands_components": _storable(model.pose_basis),
        "hands_stds": _storable(model.pose_standard_deviations),
        "joint_template": _storable(model.joint_template),
        "joint_shape_basis": _storable(model.joint_shape_basis),
    }
    if model.topology.left_shape_corrected is not None:
        fields["left_shape_corrected"] = np.array(model.topology.left_shape_corrected)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(beside, "wb") as file:
            np.savez(file, **fields)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _storable(array: jax.Array) -> np.ndarray:
    """The array in a dtype that .npy knows; float32 holds every 16-bit float exactly."""
    return np.asarray(array if array.dtype.itemsize >= 4 else array.astype(jnp.float32))


def _read_pickle(content: bytes) -> Fields:
    try:
        return read_pickle(content)
    except ForeignNameError:
        raise
    except ValueError as error:
        # Every pickle since Python 2.3 can say its protocol first; text, images and web pages do not.
        if content.startswith(b"\x80"):
            raise
        got = f"one that starts with {content[:8]!r}" if content else "an empty file"
        raise ValueError(f"expected a MANO pickle or an .npz file, got {got}") from error


def _read_archive(content: bytes) -> Fields:
    """The arrays of an .npz file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes unpacked, got {unpacked}")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if name in KNOWN_FIELDS}
    except Exception as error:  # Whatever zipfile, zlib or NumPy raise on foreign bytes means the same to the caller.
        raise ValueError(f"damaged or foreign .npz file: {error or type(error).__name__}") from error


def _text(fields: Fields, name: str) -> str | None:
    """A field that holds a word, None if it is missing."""
    value = fields.get(name)
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.shape == ():
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {type(value).__name__}")
    return value


def _flag(fields: Fields, name: str) -> bool | None:
    value = fields.get(name)
    if isinstance(value, np.ndarray) and value.dtype.kind == "b" and value.shape == ():
        value = bool(value)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {type(value).__name__}")
    return value


def _chosen_side(fields: Fields, wanted: str | None, file_name: str) -> str:
    recorded = _text(fields, "side")
    if recorded is not None and recorded not in SIDES:
        raise ValueError(f"side must be 'left' or 'right', the file records {recorded[:20]!r}")
    if recorded is not None and wanted not in (None, recorded):
        raise ValueError(f"the file records a {recorded} hand, side={wanted!r} was asked for; leave side out")
    named = [side for side in SIDES if side in file_name.lower()]
    chosen = wanted or recorded or (named[0] if len(named) == 1 else None)
    if chosen is None:
        raise ValueError("which hand it is shows neither in the file nor in its name; give side='left' or side='right'")
    return chosen


def _common(fields: Fields, weight_tolerance: float = model_fields.WEIGHT_SUM_TOLERANCE) -> dict[str, Any]:
    """The fields, checked, that every format holds in the same way, as arguments of `HandModel.create`."""
    return {
        "template": model_fields.floats(fields, "v_template", (VERTICES, 3)),
        "pose_correctives": model_fields.floats(fields, "posedirs", (VERTICES, 3, model_fields.CORRECTIVES)),
        "joint_regressor": model_fields.floats(fields, "J_regressor", (JOINTS, VERTICES)),
        "skinning_weights": model_fields.skinning_weights(fields, weight_tolerance),
        "pose_mean": model_fields.floats(fields, "hands_mean", (POSE_SIZE,)),
        "pose_basis": model_fields.floats(fields, "hands_components", (POSE_SIZE, POSE_SIZE)),
        "pose_standard_deviations": model_fields.pose_standard_deviations(fields),
        "faces": model_fields.faces(fields),
        "parents": model_fields.parents(fields),
    }


def _official_model(
    fields: Fields, side: str, correct_left_shape: bool, components: int | None, dtype: DTypeLike | None
) -> HandModel:
    basis = model_fields.shape_basis(fields, components)
    corrected = None
    if side == "left":
        corrected = _flag(fields, "left_shape_corrected")
        if corrected is None:
            corrected = correct_left_shape
            if correct_left_shape:
                basis = basis * np.array([-1.0, 1.0, 1.0])[:, None]
    if "fingertip_vertices" in fields:  # Official files do not record them; those of `save_mano` do.
        fingertips = _fingertips(fields)
    else:
        fingertips = OFFICIAL_LEFT_FINGERTIPS if side == "left" else FINGERTIP_VERTICES
    return HandModel.create(
        **_common(fields),
        shape_basis=basis,
        side=side,
        fingertip_vertices=fingertips,
        left_shape_corrected=corrected,
        dtype=jnp.float32 if dtype is None else dtype,
    )


def _own_model(fields: Fields, side: str, components: int | None, dtype: DTypeLike | None) -> HandModel:
    held = model_fields.floats(fields, "shapedirs", (VERTICES, 3, "components")).shape[2]
    basis = model_fields.shape_basis(fields, held if components is None else components)
    recorded = _text(fields, "dtype")
    if recorded not in FLOAT_TYPES:
        raise ValueError(f"dtype must be a float type, the file records {recorded!r}")
    # Without 64-bit mode a float64 file becomes a float32 model, as any array does in JAX.
    basis_dtype = _text(fields, "basis_dtype") or recorded
    if basis_dtype not in FLOAT_TYPES:
        raise ValueError(f"basis_dtype must be a float type, the file records {basis_dtype!r}")
    stored_itemsize = min(jnp.dtype(recorded).itemsize, jnp.dtype(basis_dtype).itemsize)
    basis_dtype = jax.dtypes.canonicalize_dtype(basis_dtype) if dtype is None else dtype
    dtype = jax.dtypes.canonicalize_dtype(recorded) if dtype is None else dtype
    # Half-precision models are stored as rounded as they were.
    tolerance, weight_tolerance = (1e-4, 1e-3) if stored_itemsize >= 4 else (1e-2, 3e-2)
    model = HandModel.create(
        **_common(fields, weight_tolerance),
        shape_basis=basis,
        side=side,
        fingertip_vertices=_fingertips(fields),
        left_shape_corrected=_flag(fields, "left_shape_corrected"),
        dtype=dtype,
    )
    # These follow from the other arrays up to rounding; the file has the rounding of the model that was saved.
    joints = {
        "joint_template": model_fields.floats(fields, "joint_template", (JOINTS, 3)),
        "joint_shape_basis": model_fields.floats(fields, "joint_shape_basis", (held, JOINTS, 3))[: basis.shape[2]],
    }
    for name, array in joints.items():
        if not np.allclose(np.asarray(getattr(model, name), np.float64), array, rtol=tolerance, atol=tolerance):
            raise ValueError(f"{name} must follow from J_regressor to {tolerance}; write the file again with save")
    model = dataclasses.replace(model, **{name: jnp.asarray(array, dtype) for name, array in joints.items()})
    return model.with_bases(basis_dtype)


def _fingertips(fields: Fields) -> dict[str, tuple[int, ...]]:
    names = fields.get("fingertip_names")
    if isinstance(names, tuple) and all(isinstance(name, str) for name in names):  # As a pickle has it.
        names = np.array(names, np.str_)
    if not isinstance(names, np.ndarray) or names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError("fingertip_names must be a list of words; write the file again with save")
    vertices = model_fields.integers(fields, "fingertip_vertices", (len(names), 5))
    if vertices.size and (vertices.min() < 0 or vertices.max() >= VERTICES):
        raise ValueError(f"fingertip_vertices must be 0 to {VERTICES - 1}, got {vertices.min()} to {vertices.max()}")
    return {str(name): tuple(int(vertex) for vertex in row) for name, row in zip(names, vertices, strict=True)}
