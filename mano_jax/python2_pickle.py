"""Writing a dictionary of arrays as Python 2 did, in protocol 2 and with the names that official MANO files use.

Every program that reads the official files reads these, with any NumPy and scipy and without chumpy. Python's own
pickle module writes the names of the NumPy and scipy installed here, which older ones do not know.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float


class SparseMatrix:
    """A matrix to be written as scipy's csc_matrix: programs for MANO call `.toarray()` on the joint regressor."""

    def __init__(self, matrix: Float[np.ndarray, "rows columns"]):
        columns, rows = np.nonzero(matrix.T)
        starts = np.searchsorted(columns, np.arange(matrix.shape[1] + 1))
        self.attributes = {
            "_shape": matrix.shape,
            "maxprint": 50,
            "indptr": starts.astype(np.int32),
            "indices": rows.astype(np.int32),
            "data": matrix[rows, columns],
        }


Value = str | bool | int | tuple | np.ndarray | SparseMatrix


def python2_pickle(fields: Mapping[str, Value]) -> bytes:
    """The pickle of a dictionary. To be read with `encoding="latin1"`, as the official files are.

    Raises:
      TypeError: a value of a kind that has no place in a model file.
    """
    return b"\x80\x02" + _dictionary(fields) + b"."


def _dictionary(fields: Mapping[str, Value]) -> bytes:
    return b"}(" + b"".join(_value(name) + _value(value) for name, value in fields.items()) + b"u"


def _value(value: Value) -> bytes:
    match value:
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + value.to_bytes(4, "little", signed=True)
        case str():
            return _string(value.encode("latin1"))
        case tuple():
            return b"(" + b"".join(_value(item) for item in value) + b"t"
        case np.ndarray():
            return _array(value)
        case SparseMatrix():
            return b"cscipy.sparse.csc\ncsc_matrix\n)\x81" + _dictionary(value.attributes) + b"b"
        case _:
            raise TypeError(f"a model file holds numbers, text and arrays, got {type(value).__name__}")


def _string(content: bytes) -> bytes:
    if len(content) < 256:
        return b"U" + bytes([len(content)]) + content
    return b"T" + len(content).to_bytes(4, "little") + content


def _array(array: np.ndarray) -> bytes:
    """numpy.core.multiarray._reconstruct(ndarray, (0,), "b"), then its state (version, shape, dtype, order, bytes)."""
    if array.dtype.kind not in "fiub":
        raise TypeError(f"a model file holds arrays of numbers, got dtype {array.dtype}")
    array = np.ascontiguousarray(array)
    code, order = array.dtype.str[1:], array.dtype.str[:1]
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + _string(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + _string(code.encode()) + b"K\x00K\x01tR(K\x03" + _string(order.encode())
    dtype += b"NNN" + _value(-1) + _value(-1) + b"K\x00tb"
    return empty + b"(K\x01" + _value(array.shape) + dtype + b"\x89" + _string(array.tobytes()) + b"tb"
