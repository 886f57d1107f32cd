"""Reads the pickles MANO is published in, without pickle's power to run code.

A pickle is a program for a small stack machine; `pickle.load` imports and calls whatever that program names. Here the
program is decoded by `pickletools` (which executes nothing) and interpreted with inert stand-ins: the dozen names that
MANO files use are looked up in a table, every other name is refused, and no code path imports or calls anything that
the file chose. chumpy and scipy are not needed.

Everything a hostile file could blow up is bounded by the file's own length: the number of instructions, the bytes that
string conversions make, the size of each array. Containers are kept by reference and never hashed, compared, printed or
walked, since nested shared tuples would take exponential time.
"""

import dataclasses
import math
import pickletools
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")

MAX_OPCODES = 1_000_000
HIGHEST_PROTOCOL = 5


@dataclasses.dataclass(frozen=True)
class _Name:
    """A name from the table below, as it lies on the stack: `role` says what the machine does with it."""

    role: str


_NAMES = {
    ("__builtin__", "set"): "set",
    ("builtins", "set"): "set",
    ("_codecs", "encode"): "encode",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("chumpy.ch", "Ch"): "Ch",
    ("chumpy.reordering", "Select"): "Select",
    ("scipy.sparse.csc", "csc_matrix"): "csc_matrix",
    ("scipy.sparse._csc", "csc_matrix"): "csc_matrix",
}
_OBJECT_ROLES = ("Ch", "Select", "csc_matrix")
_DTYPE_CODES = {"b1", "f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}


class ForeignNameError(ValueError):
    """The pickle asks for a name that no MANO file uses."""


@dataclasses.dataclass(eq=False, repr=False)
class PickledObject:
    """Stand-in for chumpy's Ch and Select and scipy's csc_matrix: the class's name and the attributes of the object."""

    role: str
    attributes: dict[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False, repr=False)
class PickledArray:
    """Stand-in for a NumPy array; `array` is read-only and None until the file has given its contents."""

    array: np.ndarray | None = None


@dataclasses.dataclass(eq=False, repr=False)
class _PickledDType:
    code: str
    byte_order: str = "<"


class _PickledSet:
    """Stand-in for any set. Nothing that a hand model needs lies in one, and hashing its members could be made slow."""


def read_pickle(content: bytes) -> dict[str, object]:
    """The dictionary that a MANO pickle holds; arrays and objects in it are `PickledArray` and `PickledObject`.

    Raises:
      ValueError: the pickle names anything outside the table (the message says what), is damaged, or is no dictionary.
    """
    try:
        result = _Machine(content).run()
    except ValueError:
        raise
    except Exception as error:  # Whatever decoding foreign bytes raises, it means the same to the caller.
        raise ValueError(f"damaged pickle ({type(error).__name__})") from error
    if type(result) is not dict:
        raise ValueError(f"expected a pickled dictionary of MANO fields, got {kind_of(result)}")
    return result


def kind_of(value: object) -> str:
    """What a value is, in a word. Never its contents: printing them could take for ever."""
    if isinstance(value, PickledObject | _Name):
        return value.role
    return {PickledArray: "array", _PickledDType: "dtype", _PickledSet: "set"}.get(type(value), type(value).__name__)


def _damaged(expected: str, value: object) -> ValueError:
    return ValueError(f"damaged pickle: expected {expected}, got {kind_of(value)}")


class _Machine:
    """The stack machine. `stack` holds the values since the last mark, `outer` the stacks below the marks."""

    def __init__(self, content: bytes):
        self.content = content
        self.stack: list = []
        self.outer: list[list] = []
        self.memo: dict[int, object] = {}
        # Each byte of the file can be the content of one array only, so conversions cannot make more than these.
        self.bytes_left = len(content)

    def run(self) -> object:
        instructions = pickletools.genops(self.content)
        for _ in range(MAX_OPCODES):
            try:
                opcode, argument, _ = next(instructions)
            except ValueError as error:
                raise ValueError(f"damaged pickle: {error}") from error
            if opcode.name == "STOP":
                return self.pop()
            self.step(opcode.name, argument)
        raise ValueError(f"the pickle has more than {MAX_OPCODES} instructions; a MANO file has a few thousand")

    def pop(self) -> Any:
        if not self.stack:
            raise ValueError("damaged pickle: a value is missing")
        return self.stack.pop()

    def pop_typed(self, kind: type[_T]) -> _T:
        value = self.pop()
        if type(value) is not kind:
            raise _damaged(kind.__name__, value)
        return value

    def pop_to_mark(self) -> list:
        if not self.outer:
            raise ValueError("damaged pickle: a mark is missing")
        values, self.stack = self.stack, self.outer.pop()
        return values

    def top(self) -> Any:
        if not self.stack:
            raise ValueError("damaged pickle: a value is missing")
        return self.stack[-1]

    def top_typed(self, kind: type[_T]) -> _T:
        value = self.top()
        if type(value) is not kind:
            raise _damaged(kind.__name__, value)
        return value

    def step(self, name: str, argument) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _STACK_STEPS:
            _STACK_STEPS[name](self)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise ValueError("damaged pickle: it refers to a value it has not stored")
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            # Neither of the two lines can hold a line break; a space inside a module's name is in no table either.
            module, _, attribute = argument.partition(" ")
            self.push_name(module, attribute)
        elif name == "INST":
            module, _, attribute = argument.partition(" ")
            raise _refused(f"{module}.{attribute}")
        elif name == "PROTO":
            if argument > HIGHEST_PROTOCOL:
                raise ValueError(f"pickle protocol {argument} is not known; expected at most {HIGHEST_PROTOCOL}")
        elif name != "FRAME":
            raise ValueError(f"refused: the pickle uses the instruction {name}, which no MANO file needs")

    def push_name(self, module: str, attribute: str) -> None:
        if (module, attribute) not in _NAMES:
            raise _refused(f"{module}.{attribute}")
        self.stack.append(_Name(_NAMES[module, attribute]))

    # Stack and containers.

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def drop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_to_mark()

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def tuple_of(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(values)))

    def tuple_to_mark(self) -> None:
        values = self.pop_to_mark()
        self.stack.append(tuple(values))

    def list_to_mark(self) -> None:
        values = self.pop_to_mark()
        self.stack.append(values)

    def append(self) -> None:
        value = self.pop()
        self.top_typed(list).append(value)

    def appends(self) -> None:
        values = self.pop_to_mark()
        self.top_typed(list).extend(values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        _insert(self.top_typed(dict), [key, value])

    def set_items(self) -> None:
        values = self.pop_to_mark()
        _insert(self.top_typed(dict), values)

    def new_dict(self) -> None:
        values = self.pop_to_mark()
        self.stack.append(_insert({}, values))

    def add_items(self) -> None:
        self.pop_to_mark()
        self.top_typed(_PickledSet)

    def new_set(self) -> None:
        self.pop_to_mark()
        self.stack.append(_PickledSet())

    # Names and objects.

    def stack_global(self) -> None:
        attribute, module = self.pop_typed(str), self.pop_typed(str)
        self.push_name(module, attribute)

    def new_object(self) -> None:
        arguments, name = self.pop_typed(tuple), self.pop_typed(_Name)
        if name.role not in _OBJECT_ROLES or arguments:
            raise ValueError(f"damaged pickle: {name.role} is not made in this way")
        self.stack.append(PickledObject(name.role))

    def call(self) -> None:
        arguments, name = self.pop_typed(tuple), self.pop_typed(_Name)
        match name.role, arguments:
            case "set", _:
                self.stack.append(_PickledSet())
            case "encode", (str() as text, "latin1" | "latin-1"):
                self.stack.append(self.to_bytes(text))
            case "reconstruct", (_Name(role="ndarray"), _, _):
                self.stack.append(PickledArray())
            case "dtype", (str() as code, *_):
                if code not in _DTYPE_CODES:
                    raise ValueError(f"expected arrays of numbers, got an array of dtype {code[:20]!r}")
                self.stack.append(_PickledDType(code))
            case "frombuffer", (data, dtype, shape, order):
                self.stack.append(PickledArray(self.array(data, dtype, shape, order == "F")))
            case _:
                raise ValueError(f"damaged pickle: a call of {name.role} that no MANO file makes")

    def build(self) -> None:
        state = self.pop()
        match self.top(), state:
            case PickledObject() as instance, dict():
                instance.attributes = state
            case PickledArray() as stand_in, (int(), shape, dtype, bool(fortran), data):
                stand_in.array = self.array(data, dtype, shape, fortran)
            case _PickledDType() as dtype, (int(), "<" | ">" | "|" as byte_order, None, None, None, *_):
                dtype.byte_order = byte_order
            case target, _:
                raise ValueError(f"damaged pickle: contents of a {kind_of(target)} that no MANO file has")

    def array(self, data: object, dtype: object, shape: object, fortran: bool) -> np.ndarray:
        if not isinstance(dtype, _PickledDType):
            raise _damaged("dtype", dtype)
        if not isinstance(shape, tuple) or len(shape) > 4 or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("damaged pickle: an array's shape is not a tuple of at most 4 sizes")
        if isinstance(data, str):  # Python 2's only strings are bytes; they were decoded as latin1.
            data = self.to_bytes(data)
        if not isinstance(data, bytes | bytearray):
            raise _damaged("bytes of an array", data)
        native = np.dtype(dtype.byte_order + dtype.code)
        if math.prod(shape) * native.itemsize != len(data) or max(shape, default=0) > len(data):
            raise ValueError("damaged pickle: an array's bytes do not fill its shape")
        array = np.frombuffer(data, native).reshape(shape, order="F" if fortran else "C")
        array.flags.writeable = False
        return array

    def to_bytes(self, text: str) -> bytes:
        self.bytes_left -= len(text)
        if self.bytes_left < 0:
            raise ValueError("damaged pickle: its arrays are larger than the file")
        try:
            return text.encode("latin1")
        except UnicodeEncodeError as error:
            raise ValueError("damaged pickle: text where bytes belong (not latin1)") from error


def _insert(target: dict, keys_and_values: list) -> dict:
    if len(keys_and_values) % 2:
        raise ValueError("damaged pickle: a key without a value")
    for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
        if type(key) is not str:
            raise _damaged("names as keys of a dictionary", key)
        target[key] = value
    return target


def _refused(what: str) -> ForeignNameError:
    shown = (what if len(what) <= 200 else what[:200] + "...").encode("unicode_escape").decode()
    return ForeignNameError(
        f"refused: the pickle asks for {shown}, which no MANO file needs; nothing was executed. "
        "Use a file from a source you trust"
    )


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_STACK_STEPS = {
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.pop_to_mark,
    "DUP": lambda machine: machine.stack.append(machine.top()),
    "MEMOIZE": _Machine.memoize,
    "TUPLE": _Machine.tuple_to_mark,
    "TUPLE1": lambda machine: machine.tuple_of(1),
    "TUPLE2": lambda machine: machine.tuple_of(2),
    "TUPLE3": lambda machine: machine.tuple_of(3),
    "LIST": _Machine.list_to_mark,
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "DICT": _Machine.new_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "EMPTY_SET": lambda machine: machine.stack.append(_PickledSet()),
    "ADDITEMS": _Machine.add_items,
    "FROZENSET": _Machine.new_set,
    "STACK_GLOBAL": _Machine.stack_global,
    "NEWOBJ": _Machine.new_object,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
