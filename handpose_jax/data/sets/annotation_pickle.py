"""Reads a pickle of nested dictionaries and arrays, as RHD annotates its frames, without pickle's power to run code.

`mano_jax.restricted_pickle` interprets MANO's files instruction by instruction, in Python. RHD's file has millions of
instructions and may be in protocol 0, so here Python's own fast unpickler runs, with one change: a name in the file is
never imported. The six names that arrays need are looked up in a table of inert stand-ins, every other is refused.
"""

import math
import pathlib
import pickle

import numpy as np

from mano_jax.restricted_pickle import ForeignNameError

MAX_BYTES = 2 * 2**30


class _Array:
    """Stand-in for an array until its contents come."""

    __slots__ = ("array",)

    def __setstate__(self, state) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # Python 2's only strings are bytes; they were decoded as latin1.
            content = content.encode("latin1")
        if type(dtype) is not _DType or type(content) is not bytes or type(shape) is not tuple or len(shape) > 4:
            raise ValueError("an array without numbers")
        native = np.dtype(dtype.order + dtype.code)
        if math.prod(shape) * native.itemsize != len(content):
            raise ValueError("an array's bytes do not fill its shape")
        self.array = np.frombuffer(content, native).reshape(shape, order="F" if fortran is True else "C")


class _DType:
    __slots__ = ("code", "order")

    def __init__(self, code: str):
        if type(code) is not str or code not in ("f4", "f8", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise ValueError("an array of something other than numbers")
        self.code, self.order = code, "<"

    def __setstate__(self, state) -> None:
        if state[1] not in ("<", ">", "|"):
            raise ValueError("an array of something other than numbers")
        self.order = state[1]


class _Name:
    """A name of the table on the unpickler's stack: can be called in one way only, and cannot be changed."""

    __slots__ = ("_call",)

    def __init__(self, call):
        self._call = call

    def __call__(self, *arguments):
        return self._call(*arguments)

    def __setstate__(self, state) -> None:
        raise ValueError("a function with contents")


def _reconstruct(kind, shape, code) -> _Array:
    if kind is not _NDARRAY:
        raise ValueError("an array of a class of its own")
    return _Array()


def _scalar(dtype, content):
    array = _Array()
    array.__setstate__((1, (), dtype, False, content))
    return array.array.item()


def _encode(text, encoding) -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("text in an encoding of its own")
    return text.encode("latin1")


def _no_call(*arguments):
    raise ValueError("a call that such a file does not make")


_NDARRAY = _Name(_no_call)
_DTYPE = _Name(lambda code, *_: _DType(code))
_STAND_INS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _DTYPE,
    ("_codecs", "encode"): _Name(_encode),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Name(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Name(_scalar) for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            shown = f"{module}.{name}".encode("unicode_escape").decode()[:100]
            raise ForeignNameError(f"refused: the pickle asks for {shown}; nothing was executed")
        return stand_in


def read_annotation_pickle(path: pathlib.Path, title: str) -> dict[int, dict[str, np.ndarray]]:
    """A dictionary of dictionaries of arrays, by whole numbers and names.

    Args:
      path: the file, written by Python 2 or 3.
      title: whose file it should be, for messages.

    Raises:
      ValueError: the pickle asks for anything but arrays (nothing of it is executed), is damaged, or holds something
        else.
      OSError: the file cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: expected {title} in at most {MAX_BYTES} bytes, got {path.stat().st_size}")
    with path.open("rb") as file:
        try:
            content = _Unpickler(file, encoding="latin1").load()
        except ForeignNameError as error:
            raise ValueError(f"{path}: {error}; {title} needs no such thing, get it from its makers") from None
        except Exception as error:  # Whatever decoding foreign bytes raises, it means the same to the caller.
            reason = (str(error).splitlines() or [""])[0][:100] or type(error).__name__
            raise ValueError(f"{path}: not {title}, or damaged ({reason}); unpack its archive again") from None
    if type(content) is not dict or not content:
        raise ValueError(f"{path}: not {title}: expected a dictionary of frames, got {type(content).__name__}")
    return {_key(path, title, key): _arrays(path, title, key, value) for key, value in content.items()}


def _key(path: pathlib.Path, title: str, key: object) -> int:
    if type(key) is not int:
        raise ValueError(f"{path}: not {title}: frames must be whole numbers, got a {type(key).__name__}")
    return key


def _arrays(path: pathlib.Path, title: str, key: object, value: object) -> dict[str, np.ndarray]:
    arrays = {}
    for name, entry in value.items() if type(value) is dict else ():
        if type(name) is str and type(entry) is _Array and hasattr(entry, "array"):
            arrays[name] = entry.array
    if not arrays:
        raise ValueError(f"{path}: not {title}: frame {key} must be a dictionary of arrays")
    return arrays
