"""The fields of a MANO model file, taken out of what the file holds and checked.

Every check says which field failed, what was expected and what came.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from mano_jax.restricted_pickle import PickledArray, PickledObject, kind_of

VERTICES, FACES, JOINTS, POSE_SIZE, CORRECTIVES = 778, 1538, 16, 45, 135
EXPOSED_SHAPE_COMPONENTS = 10
"""Of the 20 shape components in an official file, those that MANO's own programs use."""
WEIGHT_SUM_TOLERANCE = 1e-3

_ROOT_PARENTS = (-1, 2**32 - 1, 2**64 - 1)
"""The root's parent is -1; files hold it in unsigned integers as well."""

Fields = Mapping[str, object]


def floats(fields: Fields, name: str, shape: tuple[int | str, ...]) -> Float[np.ndarray, "..."]:
    """A field as a finite float64 array; `shape` gives sizes, or names of sizes that may be anything from 1 on.

    Raises:
      ValueError: the field is missing, not numbers, of another shape, or not finite in single precision.
    """
    array = _array(fields, name, "fiu", shape)
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.isfinite(array.astype(np.float32))
    if bad.any():
        worst = tuple(int(index) for index in np.argwhere(bad)[0])
        raise ValueError(f"{name} must hold finite numbers, got {array[worst]} at {worst} and {bad.sum()} such in all")
    return array.astype(np.float64)


def integers(fields: Fields, name: str, shape: tuple[int | str, ...]) -> Int[np.ndarray, "..."]:
    """A field as an integer array of the file's own dtype. Raises as `floats`."""
    return _array(fields, name, "iu", shape)


def _array(fields: Fields, name: str, kinds: str, shape: tuple[int | str, ...]) -> np.ndarray:
    if name not in fields:
        raise ValueError(f"{name} is missing; a MANO file holds it with shape {_shown(shape)}")
    value = fields[name]
    if isinstance(value, PickledObject) and value.role == "Ch":
        value = value.attributes.get("x")
    if isinstance(value, PickledObject) and value.role == "csc_matrix":
        value = _dense(value, name, shape)
    if isinstance(value, PickledArray):
        value = value.array
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
        got = f"dtype {value.dtype}" if isinstance(value, np.ndarray) else kind_of(value)
        wanted = "numbers" if "f" in kinds else "whole numbers"
        raise ValueError(f"{name} must be an array of {wanted}, got {got}")
    _check_shape(name, value.shape, shape)
    return value


def _check_shape(name: str, got: tuple[int, ...], expected: tuple[int | str, ...]) -> None:
    fits = len(got) == len(expected) and all(
        n >= 1 if isinstance(size, str) else n == size for n, size in zip(got, expected, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {_shown(expected)}, got {_shown(got)}")


def _shown(shape: tuple[int | str, ...]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"


def _dense(sparse: PickledObject, name: str, expected: tuple[int | str, ...]) -> Float[np.ndarray, "rows columns"]:
    """The matrix that a scipy csc_matrix stands for."""
    attributes = sparse.attributes
    shape = attributes.get("_shape", attributes.get("shape"))
    if type(shape) is not tuple or not all(type(size) is int for size in shape):
        raise ValueError(f"{name} is a sparse matrix without a shape")
    _check_shape(name, shape, expected)
    rows, columns = shape
    data = floats({f"{name}.data": attributes.get("data")}, f"{name}.data", ("non-zeros",))
    size = (len(data),)
    row = integers({f"{name}.indices": attributes.get("indices")}, f"{name}.indices", size).astype(np.int64)
    start = integers({f"{name}.indptr": attributes.get("indptr")}, f"{name}.indptr", (columns + 1,)).astype(np.int64)
    counts = np.diff(start)
    if start[0] != 0 or start[-1] != len(data) or (counts < 0).any() or row.min() < 0 or row.max() >= rows:
        raise ValueError(f"{name} is a sparse matrix whose indices do not fit its shape {_shown(shape)}")
    matrix = np.zeros(shape)
    np.add.at(matrix, (row, np.repeat(np.arange(columns), counts)), data)
    return matrix


def shape_basis(fields: Fields, components: int | None) -> Float[np.ndarray, "778 3 components"]:
    """`shapedirs`, a plain array or chumpy's Select of ten components out of twenty.

    Args:
      fields: of the file.
      components: how many are wanted; None for those the file exposes, 10 of a plain array at most.

    Raises:
      ValueError: the file holds fewer, or its Select is not a choice of its first components.
    """
    name, shape = "shapedirs", (VERTICES, 3, "components")
    value = fields.get(name)
    if isinstance(value, PickledObject) and value.role == "Select":
        held = floats({f"{name}.a": value.attributes.get("a")}, f"{name}.a", shape)
        indices = integers({f"{name}.idxs": value.attributes.get("idxs")}, f"{name}.idxs", ("indices",))
        preferred = value.attributes.get("preferred_shape")
        if type(preferred) is not tuple or not all(type(size) is int for size in preferred):
            raise ValueError(f"{name} is a selection without a shape")
        _check_shape(name, preferred, shape)
        exposed = preferred[2]
        inside = indices.size == VERTICES * 3 * exposed and indices.min() >= 0 and indices.max() < held.size
        if not inside or not np.array_equal(held.ravel()[indices].reshape(preferred), held[:, :, :exposed]):
            raise ValueError(f"{name} must select the first components of the {held.shape[2]} it holds")
    else:
        held = floats(fields, name, shape)
        exposed = min(EXPOSED_SHAPE_COMPONENTS, held.shape[2])
    wanted = exposed if components is None else components
    if not 1 <= wanted <= held.shape[2]:
        raise ValueError(f"the file holds {held.shape[2]} shape components, {wanted} were asked for")
    return held[:, :, :wanted]


def skinning_weights(fields: Fields, tolerance: float = WEIGHT_SUM_TOLERANCE) -> Float[np.ndarray, "778 16"]:
    """`weights`; each row sums to 1 within `tolerance`."""
    weights = floats(fields, "weights", (VERTICES, JOINTS))
    excess = np.abs(weights.sum(axis=1) - 1.0)
    worst = int(np.argmax(excess))
    if excess[worst] > tolerance:
        raise ValueError(f"the rows of weights must sum to 1, row {worst} sums to {weights[worst].sum():.6g}")
    return weights


def faces(fields: Fields) -> Int[np.ndarray, "1538 3"]:
    """`f`; vertex indices in range. Whether the triangles make a manifold is not asked."""
    triangles = integers(fields, "f", (FACES, 3))
    if triangles.min() < 0 or triangles.max() >= VERTICES:
        raise ValueError(
            f"f must hold vertex indices from 0 to {VERTICES - 1}, got {triangles.min()} to {triangles.max()}"
        )
    return triangles.astype(np.int32)


def parents(fields: Fields) -> tuple[int, ...]:
    """`kintree_table`: parents in its first row, the joints 0 to 15 in its second. The root's parent becomes -1."""
    table = integers(fields, "kintree_table", (2, JOINTS))
    first, second = (tuple(int(entry) for entry in row) for row in table)
    if second != tuple(range(JOINTS)):
        raise ValueError(f"the second row of kintree_table must be 0 to {JOINTS - 1}, got {second}")
    if first[0] not in _ROOT_PARENTS:
        raise ValueError(f"kintree_table: joint 0 must be the root, with parent -1 or 2^32 - 1, got {first[0]}")
    for joint, parent in enumerate(first[1:], start=1):
        if not 0 <= parent < joint:
            raise ValueError(f"kintree_table: the parent of joint {joint} must be 0 to {joint - 1}, got {parent}")
    return (-1, *first[1:])


def pose_standard_deviations(fields: Fields) -> Float[np.ndarray, "45"]:
    """Standard deviation of each pose coefficient.

    `hands_stds` where the file has it; else that of `hands_coeffs` over its rows (the coefficients of the poses that
    the pose basis was made of). Without either, or for a coefficient that does not vary there, 1.
    """
    if "hands_stds" in fields:
        deviations = floats(fields, "hands_stds", (POSE_SIZE,))
        if (deviations < 0.0).any():
            raise ValueError(f"hands_stds must not be negative, got {deviations.min():.6g}")
        return deviations
    if "hands_coeffs" not in fields:
        return np.ones(POSE_SIZE)
    deviations = floats(fields, "hands_coeffs", ("poses", POSE_SIZE)).std(axis=0)
    return np.where(deviations > 0.0, deviations, 1.0)
