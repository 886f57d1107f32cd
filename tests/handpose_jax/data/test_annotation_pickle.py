"""Pickles that are not the data set's: refused by name, nothing executed, one line that names the file."""

import pathlib
import pickle
import struct

import numpy as np
import pytest

from handpose_jax.data.sets import READERS
from handpose_jax.data.sets.annotation_pickle import read_annotation_pickle
from tests.fixtures.python2_pickle import protocol_0, protocol_2

ARRAY = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
    return tmp_path / "anno_training.pickle"


@pytest.fixture
def refused(path):
    """A function that asserts that a pickle is refused with one line holding a message, and ran nothing."""

    def check(content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is checked below)
            read_annotation_pickle(path, "RHD's annotation")
        assert str(caught.value).startswith(f"{path}: ")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
        assert [file.name for file in path.parent.iterdir()] == [path.name], "the pickle ran something"

    return check


@pytest.mark.parametrize("written", [protocol_0, protocol_2])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<i4", "|u1"])
def test_arrays_of_python_2(path, written, dtype):
    path.write_bytes(written({7: {"xyz": ARRAY.astype(dtype)}}))
    content = read_annotation_pickle(path, "RHD's annotation")
    np.testing.assert_array_equal(content[7]["xyz"], ARRAY)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("array", [ARRAY, np.asfortranarray(ARRAY)])
def test_arrays_of_python_3(path, protocol, array):
    path.write_bytes(pickle.dumps({7: {"xyz": array}}, protocol))
    np.testing.assert_array_equal(read_annotation_pickle(path, "RHD's annotation")[7]["xyz"], ARRAY)


def calls(module: str, name: str, command: str) -> dict[str, bytes]:
    text = b"X" + struct.pack("<I", len(command)) + command.encode()
    utf8 = [b"X" + struct.pack("<I", len(part)) + part.encode() for part in (module, name)]
    name_line = f"{module}\n{name}\n".encode()
    return {
        "reduce": b"\x80\x02c" + name_line + text + b"\x85R.",
        "protocol 0": b"c" + name_line + b"(S'" + command.encode() + b"'\ntR.",
        "stack_global": b"\x80\x04" + utf8[0] + utf8[1] + b"\x93" + text + b"\x85R.",
        "inst": b"(" + text + b"i" + name_line + b".",
        "obj": b"(c" + name_line + text + b"o.",
        "newobj": b"\x80\x02c" + name_line + text + b"\x85\x81.",
    }


FOREIGN = (("posix", "system"), ("builtins", "eval"), ("__builtin__", "eval"), ("numpy", "load"), ("os", "rename"))


@pytest.mark.parametrize("how", calls("a", "b", "c"))
@pytest.mark.parametrize(("module", "name"), FOREIGN)
def test_a_foreign_name_is_refused_by_name(path, refused, how, module, name):
    content = calls(module, name, f"touch {path.parent / 'SENTINEL'}")[how]
    refused(content, f"refused: the pickle asks for {module}.{name}; nothing was executed")


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n(I1\ntR.",  # the class is not made in this way
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        b"cnumpy\ndtype\n}S'evil'\nI1\nsb.",
        b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'|O'\nNNNI-1\nI-1\nI0\ntb.",
        b"(dI0\n(dS'xyz'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I9\nI9\nt"
        b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'abc'\ntbss.",
        b"Pposix.system\n.",
        b"\x82\x01.",
        b"c_codecs\nencode\n(S'a'\nS'idna'\ntR.",
    ],
)
def test_known_names_used_otherwise_are_refused(refused, content):
    refused(content, "not RHD's annotation, or damaged")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "or damaged"),
        (b"not a pickle at all", "or damaged"),
        (protocol_2({0: {"xyz": ARRAY}})[:-20], "or damaged"),
        (protocol_0({0: {"xyz": ARRAY}})[:40], "or damaged"),
        (pickle.dumps([1, 2]), "expected a dictionary of frames, got list"),
        (pickle.dumps({}), "expected a dictionary of frames, got dict"),
        (pickle.dumps({"xyz": 1}), "frames must be whole numbers, got a str"),
        (pickle.dumps({0: 1}), "frame 0 must be a dictionary of arrays"),
        (pickle.dumps({0: {"xyz": [1, 2]}}), "frame 0 must be a dictionary of arrays"),
        (pickle.dumps({0: {0: 0}}), "frame 0 must be a dictionary of arrays"),
        (b"\x80\x02" + b"(" * 40 + b".", "or damaged"),
    ],
)
def test_what_is_no_annotation_is_said_in_one_line(refused, content, message):
    refused(content, message)


def test_the_reader_refuses_a_pickle_that_is_not_the_sets(tmp_path):
    split = tmp_path / "training"
    (split / "color").mkdir(parents=True)
    (split / "color" / "00000.png").touch()
    target = tmp_path / "SENTINEL"
    (split / "anno_training.pickle").write_bytes(calls("posix", "system", f"touch {target}")["reduce"])
    with pytest.raises(ValueError, match=r"anno_training\.pickle: refused: the pickle asks for posix\.system"):
        READERS["rhd"](tmp_path, hand="visible", skip_bad=True)
    assert not target.exists()
