"""Reading hand models: every spelling of the official pickle, .npz, sides, the left-hand correction, and each check."""

import pathlib
import pickle
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mano_jax import HandModel, load
from tests.mano_jax.made_up_model import (
    PARENTS,
    assert_same,
    made_up_fields,
    npz_fields,
    official_content,
    python2_pickle,
    python3_pickle,
)

FIELDS = made_up_fields(components=20)
TEN = FIELDS | {"shapedirs": FIELDS["shapedirs"][:, :, :10]}


def assert_holds(model: HandModel, fields: dict, side: str = "right") -> None:
    """The model has these fields, rounded once to its dtype."""
    expected = {
        "template": fields["v_template"],
        "shape_basis": fields["shapedirs"],
        "pose_correctives": fields["posedirs"],
        "joint_regressor": fields["J_regressor"],
        "skinning_weights": fields["weights"],
        "pose_mean": fields["hands_mean"],
        "pose_basis": fields["hands_components"],
        "pose_standard_deviations": fields["hands_coeffs"].std(axis=0),
        "faces": fields["f"],
    }
    for name, array in expected.items():
        held = np.asarray(getattr(model, name))
        np.testing.assert_array_equal(held, array.astype(held.dtype), err_msg=name)
    assert model.parents == PARENTS
    assert model.side == side


def spellings() -> dict[str, bytes]:
    """One official file in all its spellings."""
    content = official_content(TEN, FIELDS["shapedirs"])
    return {"python2": python2_pickle(content)} | {
        f"python3_protocol{protocol}": python3_pickle(content, protocol) for protocol in (2, 3, 4, 5)
    }


@pytest.mark.parametrize("spelling", ["python2", *(f"python3_protocol{protocol}" for protocol in (2, 3, 4, 5))])
def test_official_pickle_in_every_spelling(tmp_path: pathlib.Path, spelling: str):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(spellings()[spelling])
    model = load(path)
    assert_holds(model, TEN)
    assert model.dtype == jnp.float32
    assert model.topology.left_shape_corrected is None
    assert model.fingertips("745") == (745, 317, 444, 556, 673)


def test_python2_spelling_has_exactly_the_official_names():
    written = spellings()["python2"]
    names = set(re.findall(rb"c([a-z_.]+)\n([A-Za-z_]+)\n", written))
    assert names == {
        (b"__builtin__", b"set"),
        (b"chumpy.ch", b"Ch"),
        (b"chumpy.reordering", b"Select"),
        (b"numpy", b"ndarray"),
        (b"numpy", b"dtype"),
        (b"numpy.core.multiarray", b"_reconstruct"),
        (b"scipy.sparse.csc", b"csc_matrix"),
    }


def test_pickle_of_plain_arrays_fortran_order_and_other_dtypes(tmp_path: pathlib.Path):
    """As smplx's clean-up script leaves it; big-endian, column-major and single-precision arrays among them."""
    content = npz_fields(TEN) | {
        "v_template": np.asfortranarray(TEN["v_template"]),
        "posedirs": TEN["posedirs"].astype(">f8"),
        "f": TEN["f"].astype(np.int64),
        "weights": TEN["weights"].astype(np.float32),
        "notes": ["anything", {"else": (1, 2.5, None)}],
    }
    path = tmp_path / "right.pkl"
    path.write_bytes(pickle.dumps(content, 4))
    assert_holds(load(path), TEN)


def test_scipy_is_read_by_meaning_with_duplicates_summed(tmp_path: pathlib.Path):
    content = official_content(TEN)
    regressor = content["J_regressor"]
    doubled = types.SimpleNamespace(
        module="scipy.sparse.csc",
        name="csc_matrix",
        attributes={
            "_shape": regressor.shape,
            "indptr": 2 * regressor.indptr,
            "indices": np.repeat(regressor.indices, 2),
            "data": np.repeat(0.5 * regressor.data, 2),
        },
    )
    path = tmp_path / "right.pkl"
    path.write_bytes(python2_pickle(content | {"J_regressor": doubled}))
    assert_holds(load(path), TEN)


def test_twenty_shape_components_on_request(tmp_path: pathlib.Path):
    official, plain = tmp_path / "MANO_RIGHT.pkl", tmp_path / "right.npz"
    official.write_bytes(python2_pickle(official_content(TEN, FIELDS["shapedirs"])))
    np.savez(plain, **npz_fields(FIELDS))
    for path in (official, plain):
        assert load(path).shape_size == 10
        assert_holds(load(path, shape_components=20), FIELDS)
        assert_holds(load(path, shape_components=3), FIELDS | {"shapedirs": FIELDS["shapedirs"][:, :, :3]})
        with pytest.raises(ValueError, match="the file holds 20 shape components, 21 were asked for"):
            load(path, shape_components=21)
        with pytest.raises(ValueError, match="0 were asked for"):
            load(path, shape_components=0)


def test_npz_of_official_fields(tmp_path: pathlib.Path):
    path = tmp_path / "hand_Right_hand.npz"
    np.savez_compressed(path, **npz_fields(TEN), unknown=np.zeros(3))
    assert_holds(load(str(path)), TEN)


@pytest.mark.parametrize("root", [np.uint32(2**32 - 1), np.int32(-1), np.uint64(2**64 - 1), np.int64(2**32 - 1)])
def test_root_parent_in_any_integer_dtype(tmp_path: pathlib.Path, root: np.integer):
    table = TEN["kintree_table"].astype(root.dtype)
    table[0, 0] = root
    path = tmp_path / "right.npz"
    np.savez(path, **npz_fields(TEN | {"kintree_table": table}))
    assert load(path).parents == PARENTS


def test_float64_on_request(tmp_path: pathlib.Path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(python2_pickle(official_content(TEN)))
    with jax.enable_x64(True):
        model = load(path, dtype=jnp.float64)
        assert model.dtype == jnp.float64
        assert_holds(model, TEN)
        assert load(path).dtype == jnp.float32


def test_standard_deviations(tmp_path: pathlib.Path):
    path = tmp_path / "right.npz"
    fields = npz_fields(TEN)
    coefficients = fields.pop("hands_coeffs").copy()
    np.savez(path, **fields)
    np.testing.assert_array_equal(load(path).pose_standard_deviations, 1.0)
    np.savez(path, **fields, hands_stds=np.linspace(0.0, 2.0, 45))
    np.testing.assert_array_equal(load(path).pose_standard_deviations, np.linspace(0.0, 2.0, 45).astype(np.float32))
    coefficients[:, 7] = 0.25
    np.savez(path, **fields, hands_coeffs=coefficients)
    deviations = np.asarray(load(path).pose_standard_deviations)
    assert deviations[7] == 1.0
    np.testing.assert_allclose(np.delete(deviations, 7), np.delete(coefficients.std(axis=0), 7), rtol=1e-6)


# Sides and the left hand's correction.


def official_left(folder: pathlib.Path, name: str = "MANO_LEFT.pkl") -> pathlib.Path:
    (folder / name).write_bytes(python2_pickle(official_content(TEN, FIELDS["shapedirs"])))
    return folder / name


def test_side_from_name_or_argument(tmp_path: pathlib.Path):
    assert load(official_left(tmp_path)).side == "left"
    assert load(official_left(tmp_path, "my_left_hand.pkl")).side == "left"
    assert load(official_left(tmp_path, "Right.PKL")).side == "right"
    # The argument wins over the name, which records nothing.
    assert load(official_left(tmp_path), side="right").side == "right"
    for name in ("hand.pkl", "left_or_right.pkl"):
        path = official_left(tmp_path, name)
        with pytest.raises(ValueError, match=rf"{name}: which hand .* give side='left' or side='right'"):
            load(path)
        assert load(path, side="left").side == "left"
    with pytest.raises(ValueError, match="side must be 'left', 'right' or None, got 'both'"):
        load(official_left(tmp_path), side="both")


def test_folder_names_say_nothing_of_the_side(tmp_path: pathlib.Path):
    folder = tmp_path / "left"
    folder.mkdir()
    with pytest.raises(ValueError, match="which hand"):
        load(official_left(folder, "mano.pkl"))


def test_recorded_side_beats_the_name_and_may_not_be_contradicted(tmp_path: pathlib.Path):
    path = tmp_path / "left.npz"
    np.savez(path, **npz_fields(TEN), side="right")
    assert load(path).side == "right"
    assert load(path, side="right").side == "right"
    with pytest.raises(ValueError, match="the file records a right hand, side='left' was asked for"):
        load(path, side="left")


def test_left_shape_correction(tmp_path: pathlib.Path):
    path = official_left(tmp_path)
    corrected, as_published = load(path), load(path, correct_left_shape=False)
    assert corrected.topology.left_shape_corrected is True
    assert as_published.topology.left_shape_corrected is False
    assert_holds(as_published, TEN, "left")
    flipped = TEN | {"shapedirs": TEN["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]}
    assert_holds(corrected, flipped, "left")
    np.testing.assert_allclose(
        corrected.joint_shape_basis, np.asarray(as_published.joint_shape_basis) * [-1.0, 1.0, 1.0], rtol=1e-6
    )
    # A right hand is never touched, whatever is asked.
    assert_same(load(official_left(tmp_path, "right.pkl")), load(tmp_path / "right.pkl", correct_left_shape=False))


def test_official_left_middle_fingertip(tmp_path: pathlib.Path):
    model = load(official_left(tmp_path))
    assert model.fingertips("745") == (745, 317, 445, 556, 673)
    assert model.fingertips("744") == (744, 320, 443, 554, 671)


def test_npz_that_records_the_correction_is_left_as_it_is(tmp_path: pathlib.Path):
    path = tmp_path / "left.npz"
    for recorded in (True, False):
        np.savez(path, **npz_fields(TEN), left_shape_corrected=recorded)
        for asked in (True, False):
            model = load(path, correct_left_shape=asked)
            assert_holds(model, TEN, "left")
            assert model.topology.left_shape_corrected is recorded


# The checks.


def changed(name: str, index, value) -> dict:
    array = TEN[name].astype(np.result_type(TEN[name], np.asarray(value)))
    array[index] = value
    return {name: array}


BAD_FIELDS = {
    "short template": ({"v_template": np.zeros((777, 3))}, r"v_template must have shape \[778, 3\], got \[777, 3\]"),
    "flat shapes": ({"shapedirs": np.zeros((778, 30))}, r"shapedirs must have shape \[778, 3, components\], got"),
    "no shapes": ({"shapedirs": np.zeros((778, 3, 0))}, r"shapedirs must have shape .* got \[778, 3, 0\]"),
    "correctives of SMPL": (
        {"posedirs": np.zeros((778, 3, 207))},
        r"posedirs must have shape \[778, 3, 135\], got \[778, 3, 207\]",
    ),
    "fewer faces": ({"f": np.zeros((1000, 3), np.int32)}, r"f must have shape \[1538, 3\], got \[1000, 3\]"),
    "faces as floats": ({"f": np.zeros((1538, 3))}, "f must be an array of whole numbers, got dtype float64"),
    "face too large": (changed("f", (3, 1), 778), "f must hold vertex indices from 0 to 777, got 0 to 778"),
    "face negative": (changed("f", (3, 1), np.int64(-1)), "f must hold vertex indices from 0 to 777, got -1 to 777"),
    "text for numbers": ({"hands_mean": np.array(["a"] * 45)}, "hands_mean must be an array of numbers, got dtype"),
    "not a number": (changed("v_template", (5, 2), np.nan), r"v_template must hold finite .* got nan at \(5, 2\)"),
    "infinite": (changed("posedirs", (1, 2, 3), np.inf), r"posedirs must hold finite numbers, got inf at \(1, 2, 3\)"),
    "beyond float32": (changed("hands_mean", 4, 1e39), r"hands_mean must hold finite numbers, got 1e\+39 at \(4,\)"),
    "weights": (changed("weights", 12, 0.5), r"the rows of weights must sum to 1, row 12 sums to 8"),
    "root in the tree": (
        changed("kintree_table", (0, 0), 3),
        r"joint 0 must be the root, with parent -1 or 2\^32 - 1, got 3",
    ),
    "parent after child": (
        changed("kintree_table", (0, 4), 9),
        "kintree_table: the parent of joint 4 must be 0 to 3, got 9",
    ),
    "own parent": (changed("kintree_table", (0, 4), 4), "the parent of joint 4 must be 0 to 3, got 4"),
    "second root": (changed("kintree_table", (0, 4), 2**32 - 1), "parent of joint 4 must be 0 to 3, got 4294967295"),
    "other joints": (changed("kintree_table", (1, 4), 7), r"the second row of kintree_table must be 0 to 15, got \("),
    "negative deviation": ({"hands_stds": np.full(45, -1.0)}, "hands_stds must not be negative, got -1"),
    "other side": ({"side": np.array("both")}, "side must be 'left' or 'right', the file records 'both'"),
    "side as number": ({"side": np.array(1)}, "side must be text, got ndarray"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_each_check_names_file_field_and_values(tmp_path: pathlib.Path, case: str):
    fields, message = BAD_FIELDS[case]
    path = tmp_path / "right.npz"
    np.savez(path, **npz_fields(TEN | fields))
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in npz_fields(TEN) if name != "hands_coeffs"])
def test_missing_field_is_named(tmp_path: pathlib.Path, name: str):
    path = tmp_path / "right.npz"
    fields = npz_fields(TEN)
    del fields[name]
    np.savez(path, **fields)
    with pytest.raises(ValueError, match=f"{name} (is missing|must have)"):
        load(path)


def test_weights_may_be_off_by_rounding(tmp_path: pathlib.Path):
    path = tmp_path / "right.npz"
    np.savez(path, **npz_fields(TEN | {"weights": TEN["weights"] * 1.0009}))
    load(path)
    np.savez(path, **npz_fields(TEN | {"weights": TEN["weights"] * 1.0011}))
    with pytest.raises(ValueError, match=r"row \d+ sums to 1\.0011"):
        load(path)


def test_select_must_choose_the_first_components(tmp_path: pathlib.Path):
    content = official_content(TEN, FIELDS["shapedirs"])
    path = tmp_path / "right.pkl"
    select = content["shapedirs"]
    for name, value in (
        ("idxs", select.attributes["idxs"][::-1].copy()),
        ("idxs", select.attributes["idxs"] + 10**6),
        ("idxs", select.attributes["idxs"][:-1]),
        ("preferred_shape", (778, 3, 11)),
    ):
        other = types.SimpleNamespace(
            module="chumpy.reordering", name="Select", attributes=select.attributes | {name: value}
        )
        path.write_bytes(python2_pickle(content | {"shapedirs": other}))
        with pytest.raises(ValueError, match="shapedirs must select the first components of the 20 it holds"):
            load(path)


def test_files_of_other_kinds_are_named_as_such(tmp_path: pathlib.Path):
    path = tmp_path / "MANO_RIGHT.pkl"
    for content, message in (
        (b"", "expected a MANO pickle or an .npz file, got an empty file"),
        (b"<!DOCTYPE html>\n", "expected a MANO pickle or an .npz file, got one that starts with b'<!DOCTYP"),
        (b"\x89PNG\r\n\x1a\n", "expected a MANO pickle or an .npz file"),
        (b"PK\x03\x04 and no more", "damaged or foreign .npz file: File is not a zip file"),
        (pickle.dumps([1, 2]), "expected a pickled dictionary of MANO fields, got list"),
        (pickle.dumps({}), "shapedirs is missing"),
        (pickle.dumps({"shapedirs": [1.0]}), "shapedirs must be an array of numbers, got list"),
        (pickle.dumps({"v_template": np.array([{}])}), "got an array of dtype 'O8'"),
        (pickle.dumps({1: 2}), "expected names as keys of a dictionary, got int"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            load(path, side="right")
        assert str(path) in str(caught.value)


def test_missing_file_and_folder_stay_system_errors(tmp_path: pathlib.Path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "MANO_RIGHT.pkl")
    with pytest.raises(IsADirectoryError):
        load(tmp_path, side="right")
