"""Writing models in MANO's own format, for smplx, manotorch, manopth and whatever else reads the official files."""

import contextlib
import dataclasses
import io
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mano_jax import model_fields
from mano_jax.model import CORRECTIVE_SIZE, HandModel
from mano_jax.model_fields import JOINTS
from mano_jax.python2_pickle import SparseMatrix, Value, python2_pickle


def save_mano(model: HandModel, path: str | os.PathLike, left_shape_as_published: bool = False) -> None:
    """Write a model under MANO's names: a pickle like MANO_RIGHT.pkl (path ends in .pkl) or an .npz of the same arrays.

    The pickle has protocol 2, Python 2's spelling and a sparse joint regressor, as programs for MANO expect, but plain
    arrays in place of chumpy's objects: those who read it need no chumpy. Numbers are float64. Beside MANO's own
    fields it records the side, the fingertip vertices and the state of the left hand's shape basis, which `load`
    reads and others ignore. `hands_coeffs` are two made-up poses with the right standard deviations: a model does not
    keep the poses its pose space was made of.

    Args:
      model: the whole hand, 778 vertices and 1,538 triangles.
      path: ends in .pkl or .npz. The file appears whole or not at all.
      left_shape_as_published: write a left hand's shape basis with the wrong sign on x that MANO_LEFT.pkl has, for
        programs that correct it. False writes a basis that means the same on both hands.

    Raises:
      ValueError: another suffix, a model of some vertices only, or a right hand to be written as the published left.
      OSError: the file cannot be written; nothing is left behind.
    """
    path = pathlib.Path(path)
    if path.suffix not in (".pkl", ".npz"):
        raise ValueError(f"{path}: a MANO file's name must end in .pkl or .npz; this project's own files are save's")
    if (model.template.shape[0], model.faces.shape[0]) != (model_fields.VERTICES, model_fields.FACES):
        raise ValueError(f"expected a model of {model_fields.VERTICES} vertices; save the whole hand, not some of it")
    if left_shape_as_published and model.side != "left":
        raise ValueError("left_shape_as_published is about left hands, got a right one")
    if model.side == "left":
        model = with_left_shape(model, corrected=not left_shape_as_published)
    content = _npz(_fields(model)) if path.suffix == ".npz" else python2_pickle(_pickle_fields(model))
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def with_left_shape(model: HandModel, corrected: bool) -> HandModel:
    """A left hand whose shape basis has the right sign on x (`corrected`), or the wrong one of MANO_LEFT.pkl.

    Undoes or redoes what `load(..., correct_left_shape=...)` did, exactly. A left hand of which nothing is recorded, an
    exact mirror of a right one, counts as corrected.

    Raises:
      ValueError: the model is a right hand.
    """
    if model.side != "left":
        raise ValueError("the sign of the shape basis is a question of left hands, got a right one")
    state = model.topology.left_shape_corrected
    topology = dataclasses.replace(model.topology, left_shape_corrected=corrected)
    if (state is not False) == corrected:
        return dataclasses.replace(model, topology=topology)
    return dataclasses.replace(
        model,
        blend_basis=model.blend_basis.at[CORRECTIVE_SIZE:, 0].multiply(-1.0),
        joint_shape_basis=model.joint_shape_basis.at[:, :, 0].multiply(-1.0),
        topology=topology,
    )


def _double(array: jax.Array) -> np.ndarray:
    return np.asarray(array if array.dtype.itemsize >= 4 else array.astype(jnp.float32), np.float64)


def _fields(model: HandModel) -> dict[str, Value]:
    parents = np.array([model.parents, range(JOINTS)], np.int64)
    deviations = _double(model.pose_standard_deviations)
    fields: dict[str, Value] = {
        "v_template": _double(model.template),
        "f": model.faces.astype(np.uint32),
        "J_regressor": _double(model.joint_regressor),
        "J": _double(model.joint_template),
        "weights": _double(model.skinning_weights),
        "shapedirs": _double(model.shape_basis),
        "posedirs": _double(model.pose_correctives),
        "hands_components": _double(model.pose_basis),
        "hands_mean": _double(model.pose_mean),
        "hands_coeffs": np.stack([deviations, -deviations]),
        "hands_stds": deviations,
        "kintree_table": (parents % 2**32).astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "side": model.side,
        "fingertip_vertices": np.array([row for _, row in model.topology.fingertip_vertices], np.int64).reshape(-1, 5),
        "fingertip_names": tuple(name for name, _ in model.topology.fingertip_vertices),
    }
    if model.topology.left_shape_corrected is not None:
        fields["left_shape_corrected"] = model.topology.left_shape_corrected
    return fields


def _pickle_fields(model: HandModel) -> dict[str, Value]:
    fields = _fields(model)
    regressor = fields["J_regressor"]
    assert isinstance(regressor, np.ndarray)
    return fields | {"J_regressor": SparseMatrix(regressor)}


def _npz(fields: dict[str, Value]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(value) for name, value in fields.items()})  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()
