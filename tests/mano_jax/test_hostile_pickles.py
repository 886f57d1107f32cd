"""Pickles that try to run code, to exhaust memory or time, or are damaged: each ends in one clear ValueError."""

import builtins
import collections
import functools
import operator
import os
import pathlib
import pickle
import resource
import struct
import subprocess
import types
from typing import Any

import numpy as np
import pytest

from mano_jax import HandModel, load
from tests.mano_jax.made_up_model import made_up_fields, npz_fields, official_content, python2_pickle, python3_pickle

FIELDS = made_up_fields()


@pytest.fixture
def refused(tmp_path: pathlib.Path):
    """A function that asserts that a pickle is refused with one line holding `message`, and ran nothing."""
    path = tmp_path / "MANO_RIGHT.pkl"

    def check(content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is checked below)
            load(path)
        assert message in str(caught.value)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
        assert [file.name for file in tmp_path.iterdir()] == [path.name], "the pickle ran something"

    return check


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return b"X" + struct.pack("<I", len(raw)) + raw


def touch(folder: pathlib.Path) -> str:
    return f"touch {folder / 'SENTINEL'}"


CALLERS = {
    # (module, attribute) called with the shell command.
    "posix.system": lambda module, name, command: b"\x80\x02" + f"c{module}\n{name}\n".encode() + command + b"\x85R.",
    "stack_global": lambda module, name, command: (
        b"\x80\x04" + string(module) + string(name) + b"\x93" + command + b"\x85R."
    ),
    "inst": lambda module, name, command: b"(" + command + f"i{module}\n{name}\n.".encode(),
    "obj": lambda module, name, command: b"(" + f"c{module}\n{name}\n".encode() + command + b"o.",
    "newobj": lambda module, name, command: b"\x80\x02" + f"c{module}\n{name}\n".encode() + command + b"\x85\x81.",
    "newobj_ex": lambda module, name, command: b"\x80\x04" + f"c{module}\n{name}\n".encode() + command + b"\x85}\x92.",
    "protocol_0": lambda module, name, command: f"c{module}\n{name}\n(".encode() + command + b"tR.",
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    "target",
    [
        *("posix.system", "os.system", "nt.system", "subprocess.Popen", "builtins.eval", "__builtin__.eval"),
        *("builtins.exec", "builtins.getattr", "__builtin__.apply", "operator.attrgetter", "numpy.load"),
        *("numpy.fromfile", "numpy.core.multiarray.fromfile", "numpy._core.multiarray.scalar", "numpy.memmap"),
        *("copyreg._reconstructor", "copy_reg.__newobj__", "_codecs.lookup", "codecs.encode", "_codecs.decode"),
        *("numpy.testing._private.utils.runstring", "chumpy.ch.ndarray", "chumpy.Ch", "scipy.sparse.csc.load_npz"),
        *("chumpy.ch.Ch.__class__", "numpy.ndarray.__reduce__", "builtins.set.__class__", "numpy.ndarray "),
    ],
)
def test_foreign_names_are_refused_by_name(refused, tmp_path: pathlib.Path, caller: str, target: str):
    module, _, name = target.rpartition(".")
    content = CALLERS[caller](module, name, string(touch(tmp_path)))
    refused(content, target.strip())
    refused(content, "refused: the pickle asks for")


class Reduces:
    """Pickles as any call."""

    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


def attacks(folder: pathlib.Path) -> dict[str, Any]:
    command = touch(folder)
    return {
        "os.system": Reduces(os.system, (command,)),
        "subprocess": Reduces(subprocess.getoutput, (command,)),
        "eval": Reduces(builtins.eval, (f"__import__('os').system({command!r})",)),
        "partial": Reduces(functools.partial, (os.system, command)),
        "getattr": Reduces(getattr, (types.SimpleNamespace, "__init__")),
        "attrgetter": operator.attrgetter("system"),
        "path": Reduces(pathlib.Path, (str(folder / "SENTINEL"),)),
        "ordered": collections.OrderedDict(v_template=Reduces(os.system, (command,))),
        "state": Reduces(types.SimpleNamespace, (), {"x": 1}),
        "numpy.save": Reduces(np.save, (str(folder / "SENTINEL"), 0)),
    }


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", attacks(pathlib.Path("x")))
def test_real_attacks_nested_in_real_files(refused, tmp_path: pathlib.Path, name: str, protocol: int):
    attack = attacks(tmp_path)[name]
    refused(pickle.dumps(attack, protocol), "refused: the pickle asks for")
    if protocol >= 2:
        content = official_content(FIELDS) | {"bs_style": [{"deep": (attack,)}]}
        refused(python3_pickle(content, protocol), "refused: the pickle asks for")


def test_sentinel_would_appear(tmp_path: pathlib.Path):
    """The corpus is dangerous: Python's own loader runs it."""
    pickle.loads(pickle.dumps(Reduces(os.system, (touch(tmp_path),)), 2))
    assert (tmp_path / "SENTINEL").exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
F8 = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
CH = b"cchumpy.ch\nCh\n)\x81"

ALLOWED_NAMES_MISUSED = {
    # Names of the table used as no MANO file uses them.
    "encode with another codec": (b"c_codecs\nencode\n" + string("x") + string("zlib_codec") + b"\x86R.", "encode"),
    "encode of a name": (b"c_codecs\nencode\ncnumpy\nndarray\n" + string("latin1") + b"\x86R.", "encode"),
    "encode beyond latin1": (b"c_codecs\nencode\n" + string("\u4f60") + string("latin1") + b"\x86R.", "not latin1"),
    "huge ndarray": (b"cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft\x85R.", "ndarray"),
    "reconstruct of another class": (
        b"cnumpy.core.multiarray\n_reconstruct\ncchumpy.ch\nCh\nK\x00\x85U\x01b\x87R.",
        "reconstruct",
    ),
    "reconstruct made like an object": (b"cnumpy.core.multiarray\n_reconstruct\n)\x81.", "is not made in this way"),
    "objects as elements": (b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.", "dtype 'O8'"),
    "records as elements": (b"cnumpy\ndtype\n" + string("f8,O") + b"K\x00K\x01\x87R.", "dtype 'f8,O'"),
    "dtype of a class": (b"cnumpy\ndtype\ncchumpy.ch\nCh\n\x85R.", "a call of dtype"),
    "dtype with fields": (
        F8 + b"(K\x03U\x01|NU\x01a}J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x10tb.",
        "contents of a dtype",
    ),
    "state of a name": (b"cchumpy.ch\nCh\n}U\x08__init__Nsb.", "contents of a Ch"),
    "state of a list": (b"]}b.", "contents of a list"),
    "slots": (CH + b"}}\x86b.", "contents of a Ch"),
    "call of a string": (b"U\x06system)R.", "expected _Name, got str"),
    "call of an object": (CH + b")R.", "expected _Name, got Ch"),
    "call without a tuple": (b"c__builtin__\nset\n]R.", "expected tuple, got list"),
    "arguments for a class": (b"cchumpy.ch\nCh\nK\x01\x85\x81.", "is not made in this way"),
    "extension": (b"\x82\x01.", "EXT1"),
    "extension 2": (b"\x83\x01\x00.", "EXT2"),
    "extension 4": (b"\x84\x01\x00\x00\x00.", "EXT4"),
    "persistent id": (b"N" + b"Q.", "BINPERSID"),
    "buffer outside": (b"\x97.", "NEXT_BUFFER"),
    "names as numbers": (b"K\x01K\x02\x93.", "expected str, got int"),
    "digits that are none": (b"I" + b"x" * 100_000 + b"\n.", "damaged pickle"),
    "unknown instruction": (b"\xff.", "damaged pickle"),
    "future protocol": (b"\x80\x09N.", "pickle protocol 9 is not known"),
    "appending to a tuple": (b")K\x01a.", "expected list, got tuple"),
    "appending to an array": (ARRAY + b"K\x01a.", "expected list, got array"),
    "items of a list": (b"]U\x01aK\x01s.", "expected dict, got list"),
    "items of an object": (CH + b"U\x01aK\x01s.", "expected dict, got Ch"),
    "array for a key": (b"}" + ARRAY + b"Ns.", "expected names as keys of a dictionary, got array"),
    "odd items": (b"}(U\x01aNU\x01bu.", "a key without a value"),
    "missing mark": (b"}u.", "a mark is missing"),
    "missing value": (b".", "a value is missing"),
    "missing memo": (b"h\x07.", "refers to a value it has not stored"),
    "no end": (b"}", "damaged pickle"),
    "name across lines": (b"cos", "damaged pickle"),
    "half a string": (b"T\xff\xff\xff\x7fabc", "damaged pickle"),
    "negative string": (b"T\xff\xff\xff\xffabc", "damaged pickle"),
    "digits without end": (b"I" + b"9" * 100_000 + b"\n.", "damaged pickle"),
}


@pytest.mark.parametrize("name", ALLOWED_NAMES_MISUSED)
def test_misuse_and_damage(refused, name: str):
    content, message = ALLOWED_NAMES_MISUSED[name]
    refused(b"\x80\x02" + content, message)


def array_state(shape: bytes, data: bytes = b"U\x08" + bytes(8), dtype: bytes = F8) -> bytes:
    return b"\x80\x02}U\x09shapedirs" + ARRAY + b"(K\x01" + shape + dtype + b"\x89" + data + b"tbs."


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (b"K\x02\x85", "do not fill its shape"),
        (b"J\xff\xff\xff\x7f\x85", "do not fill its shape"),
        (b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85", "do not fill its shape"),
        (b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", "shape is not a tuple"),
        (b"(K\x01K\x01K\x01K\x01K\x01t", "shape is not a tuple"),
        (b"]", "shape is not a tuple"),
        (b"\x88\x85", "shape is not a tuple"),
        (b"N\x85", "shape is not a tuple"),
    ],
)
def test_shapes_that_lie(refused, shape: bytes, message: str):
    refused(array_state(shape), message)


def test_arrays_of_nothing_and_of_names(refused):
    refused(array_state(b"(K\x00J\xff\xff\xff\x7ft", b"U\x00"), "do not fill its shape")
    refused(array_state(b"K\x01\x85", b"]"), "expected bytes of an array, got list")
    refused(array_state(b"K\x01\x85", dtype=b"N"), "expected dtype, got NoneType")
    refused(b"\x80\x02}U\x09shapedirs" + ARRAY + b"s.", "shapedirs must be an array of numbers, got NoneType")


@pytest.fixture
def little_memory():
    """At most 1 GiB of address space more than now, so that a bomb fails here and not in the machine."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_bombs_of_memory_and_time_do_not_go_off(refused, little_memory):
    refused(b"\x80\x02Nr\xff\xff\xff\xff.", "got NoneType")  # The largest memo index: C's unpickler makes 64 GB of it.
    refused(b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"abc", "damaged pickle")
    refused(b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.", "got NoneType")
    refused(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"1.", "damaged pickle")
    # A string of a megabyte converted a thousand times.
    again = b"0h\x01h\x00U\x06latin1\x86R" * 1000
    refused(b"\x80\x02" + string("x" * 2**20) + b"q\x00c_codecs\nencode\nq\x01" + again + b".", "larger than the file")
    same = b"".join(ARRAY + b"(K\x01J\x00\x00\x10\x00\x85cnumpy\ndtype\nU\x02u1\x85R\x89h\x00tb" for _ in range(20))
    refused(b"\x80\x02" + string("x" * 2**20) + b"q\x00" + same + b".", "larger than the file")
    # Tuples of tuples of ... : 2^60 elements to hash, compare, print or convert.
    laughs = b"K\x01" + b"q\x00h\x00\x86" * 60
    refused(b"\x80\x02}" + laughs + b"Ns.", "expected names as keys of a dictionary, got tuple")
    refused(b"\x80\x02c__builtin__\nset\n(" + laughs + b"l\x85R.", "got set")
    refused(b"\x80\x04\x8f(" + laughs + b"\x90.", "got set")
    refused(b"\x80\x04(" + laughs + b"\x91.", "got set")
    refused(b"\x80\x02}U\x09shapedirs" + laughs + b"s.", "shapedirs must be an array of numbers, got tuple")
    refused(b"\x80\x02" + laughs + b".", "got tuple")
    refused(b"\x80\x02" + laughs + b")R.", "expected _Name, got tuple")
    # As deep as the interpreter's stack is not.
    refused(b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b".", "got tuple")
    refused(b"\x80\x02}U\x09shapedirs" + b"]" + b"]" * 100_000 + b"a" * 100_000 + b"s.", "got list")
    refused(b"\x80\x02" + b"]" * 1_000_001 + b".", "more than 1000000 instructions")


def test_objects_that_contain_themselves(refused):
    itself = b"cchumpy.ch\nCh\n)\x81q\x00}U\x01xh\x00sb"
    refused(b"\x80\x02}U\x09shapedirs" + itself + b"s.", "shapedirs must be an array of numbers, got Ch")
    select = b"cchumpy.reordering\nSelect\n)\x81q\x00}(U\x01ah\x00U\x04idxsh\x00ub"
    refused(b"\x80\x02}U\x09shapedirs" + select + b"s.", "shapedirs.a must be an array of numbers, got Select")


def test_sparse_matrices_that_lie(tmp_path: pathlib.Path):
    matrix = official_content(FIELDS)["J_regressor"]
    assert not isinstance(matrix, np.ndarray)
    good = {"_shape": (16, 778), "indptr": matrix.indptr, "indices": matrix.indices, "data": matrix.data}
    path = tmp_path / "right.pkl"
    for name, value in (
        ("_shape", (2**31 - 1, 2**31 - 1)),
        ("_shape", (16,)),
        ("_shape", None),
        ("indices", good["indices"] + 16),
        ("indices", -good["indices"]),
        ("indices", good["indices"][1:]),
        ("indices", good["indices"].astype(np.float64)),
        ("indptr", good["indptr"][1:]),
        ("indptr", good["indptr"][::-1].copy()),
        ("indptr", good["indptr"] * 2),
        ("data", good["data"] * np.nan),
        ("data", None),
    ):
        lie = types.SimpleNamespace(module="scipy.sparse.csc", name="csc_matrix", attributes=good | {name: value})
        path.write_bytes(python2_pickle(official_content(FIELDS) | {"J_regressor": lie}))
        with pytest.raises(ValueError, match="J_regressor"):
            load(path)


def mutations(count: int, seed: int):
    """Files with a few bytes changed, dropped, doubled or cut off; most changes fall outside the arrays' numbers."""
    random = np.random.default_rng(seed)
    content = official_content(FIELDS, made_up_fields(components=12)["shapedirs"])
    originals = [python2_pickle(content), python3_pickle(content, 2), python3_pickle(content, 4)]
    # Positions that are not inside an array's long run of bytes.
    edges = []
    for original in originals:
        marks = [i for i in range(len(original) - 1) if original[i : i + 1] in b"cU}(btRqX\x85\x86\x87"]
        structure = [i for i in marks if all(32 <= byte < 127 for byte in original[i + 2 : i + 6])]
        edges.append(np.array(structure))
    for _ in range(count):
        which = int(random.integers(len(originals)))
        mutated = bytearray(originals[which])
        for _ in range(int(random.integers(1, 5))):
            place = int(random.choice(edges[which])) + int(random.integers(-12, 13))
            place = min(max(place, 0), len(mutated) - 1)
            match random.integers(5):
                case 0 | 1:
                    mutated[place] = int(random.integers(256))
                case 2:
                    del mutated[place : place + int(random.integers(1, 9))]
                case 3:
                    mutated[place:place] = mutated[place : place + int(random.integers(1, 65))]
                case 4:
                    mutated[place] ^= 1 << int(random.integers(8))
            if random.uniform() < 0.03:
                del mutated[place:]
                break
        yield bytes(mutated)


def load_mutations(folder: pathlib.Path, count: int, seed: int) -> None:
    path = folder / "MANO_RIGHT.pkl"
    outcomes = collections.Counter()
    for content in mutations(count, seed):
        path.write_bytes(content)
        try:
            outcome = load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            outcomes["refused"] += 1
        else:
            assert isinstance(outcome, HandModel)
            outcomes["model"] += 1
    assert outcomes.total() == count
    assert outcomes["refused"] > count / 4
    assert [file.name for file in folder.iterdir()] == [path.name]


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # From pickletools, as it refuses.
def test_mutated_files_end_in_a_model_or_one_error(tmp_path: pathlib.Path):
    load_mutations(tmp_path, 500, seed=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_ten_thousand_mutated_files(tmp_path: pathlib.Path):
    load_mutations(tmp_path, 10_000, seed=1)


def test_damaged_archives(tmp_path: pathlib.Path):
    path = tmp_path / "right.npz"
    np.savez_compressed(path, **npz_fields(FIELDS | {"posedirs": np.zeros((778, 3, 135))}))
    original = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        mutated = bytearray(original)
        for place in random.integers(2, len(mutated), size=3):
            mutated[place] ^= int(random.integers(1, 256))
        path.write_bytes(mutated if random.uniform() < 0.7 else mutated[: random.integers(4, len(mutated))])
        try:
            load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    assert refused > 20


def test_archives_with_pickles_or_bombs_inside(tmp_path: pathlib.Path):
    path = tmp_path / "right.npz"
    np.savez(path, v_template=np.array([Reduces(os.system, (touch(tmp_path),))], object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        load(path)
    np.savez_compressed(path, v_template=np.zeros(2**24))
    assert path.stat().st_size < 2**18
    with pytest.raises(ValueError, match=r"expected at most 67108864 bytes unpacked, got 13\d+"):
        load(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_files_too_large_are_not_read(tmp_path: pathlib.Path):
    path = tmp_path / "MANO_RIGHT.pkl"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="at most 67108864 bytes, got 1099511627776"):
        load(path)
