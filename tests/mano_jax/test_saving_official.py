"""Files in MANO's format: what smplx computes from them, that they come back, and the sign of the left shape basis."""

import json
import pathlib
import pickle
import pickletools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from mano_jax import forward, load, pose_from_coefficients, save, save_mano, with_left_shape
from mano_jax.python2_pickle import python2_pickle
from tests.mano_jax.made_up_model import assert_same, made_up_fields, made_up_hand, official_content
from tests.mano_jax.made_up_model import python2_pickle as official_pickle

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "smplx.json").read_text())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_equals_what_smplx_makes_of_the_same_file(tmp_path: pathlib.Path, side: str, suffix: str):
    """Golden values: smplx 0.1.28 (torch 2.6.0, float64) on this very file; `source` in golden/smplx.json."""
    path = tmp_path / f"MANO_{side.upper()}.{suffix}"
    save_mano(made_up_hand(side=side), path)
    golden = GOLDEN[side]
    with jax.enable_x64(True):
        hand = load(path, dtype="float64")
        parameters = [np.array(golden[name]) for name in ("pose", "shape", "rotation", "translation")]
        mesh = forward(hand, *parameters)
        rows = np.array(golden["vertex_rows"])
        np.testing.assert_allclose(mesh.vertices[:, rows], golden["vertices"], rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(mesh.joints, golden["joints"], rtol=0.0, atol=1e-6)
        # smplx with six principal components and flat_hand_mean=False.
        pose = pose_from_coefficients(hand, np.array(golden["coefficients"]))
        mesh = forward(hand, pose, *(array[1:] for array in parameters[1:]))
        np.testing.assert_allclose(mesh.vertices[:, rows], golden["coefficient_vertices"], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("suffix", ["pkl", "npz"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_round_trip(tmp_path: pathlib.Path, side: str, suffix: str):
    path = tmp_path / f"hand.{suffix}"
    model = made_up_hand(side=side)
    save_mano(model, path)
    back = load(path)
    # Of a left hand the file records the sign of its shape basis; the derived arrays are derived again.
    expected = with_left_shape(model, corrected=True) if side == "left" else model
    assert back.topology == expected.topology
    for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-8)
    np.testing.assert_array_equal(back.blend_basis, expected.blend_basis)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_pickle_has_the_official_names_and_kinds(tmp_path: pathlib.Path):
    path = tmp_path / "MANO_RIGHT.pkl"
    save_mano(made_up_hand(), path)
    content = path.read_bytes()
    assert content.startswith(b"\x80\x02")
    names = {argument for opcode, argument, _ in pickletools.genops(content) if opcode.name == "GLOBAL"}
    assert names == {
        "numpy ndarray",
        "numpy dtype",
        "numpy.core.multiarray _reconstruct",
        "scipy.sparse.csc csc_matrix",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # scipy's, of its old name of the module.
        fields = pickle.loads(content, encoding="latin1")
    assert scipy.sparse.issparse(fields["J_regressor"])
    expected = made_up_fields()
    np.testing.assert_array_equal(fields["J_regressor"].toarray(), expected["J_regressor"].astype(np.float32))
    np.testing.assert_array_equal(fields["kintree_table"], expected["kintree_table"])
    np.testing.assert_allclose(fields["hands_coeffs"].std(axis=0), expected["hands_coeffs"].std(axis=0), rtol=1e-6)
    assert fields["kintree_table"].dtype == fields["f"].dtype == np.uint32
    assert fields["v_template"].dtype == np.float64
    assert (fields["bs_style"], fields["bs_type"], fields["side"]) == ("lbs", "lrotmin", "right")


def test_sign_of_the_left_shape_basis_is_undone_and_redone(tmp_path: pathlib.Path):
    official = tmp_path / "MANO_LEFT.pkl"
    official.write_bytes(official_pickle(official_content(made_up_fields())))
    corrected, published = load(official), load(official, correct_left_shape=False)
    assert_same(with_left_shape(corrected, corrected=False), published)
    assert_same(with_left_shape(published, corrected=True), corrected)
    assert_same(with_left_shape(corrected, corrected=True), corrected)
    for model in (corrected, published):
        for as_published in (False, True):
            path = tmp_path / "left.pkl"
            save_mano(model, path, left_shape_as_published=as_published)
            expected = published if as_published else corrected
            # What the file records wins over the argument, so nothing is corrected twice.
            for back in (load(path), load(path, correct_left_shape=False)):
                np.testing.assert_array_equal(back.shape_basis, expected.shape_basis)
                assert back.topology == expected.topology


def test_own_file_keeps_low_precision_bases(tmp_path: pathlib.Path):
    model = made_up_hand().with_bases(jnp.bfloat16)
    save(model, tmp_path / "hand.npz")
    assert_same(load(tmp_path / "hand.npz"), model)
    assert load(tmp_path / "hand.npz", dtype="float32").blend_basis.dtype == jnp.float32
    save_mano(model, tmp_path / "MANO_RIGHT.npz")
    np.testing.assert_array_equal(load(tmp_path / "MANO_RIGHT.npz").blend_basis, model.blend_basis.astype(jnp.float32))


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match=r"hand.pickle: a MANO file's name must end in .pkl or .npz"):
        save_mano(made_up_hand(), tmp_path / "hand.pickle")
    with pytest.raises(ValueError, match="save the whole hand"):
        save_mano(made_up_hand().at_vertices((0, 1)), tmp_path / "hand.pkl")
    with pytest.raises(ValueError, match="is about left hands, got a right one"):
        save_mano(made_up_hand(), tmp_path / "hand.pkl", left_shape_as_published=True)
    with pytest.raises(ValueError, match="a question of left hands, got a right one"):
        with_left_shape(made_up_hand(), corrected=False)
    with pytest.raises(FileNotFoundError):
        save_mano(made_up_hand(), tmp_path / "missing" / "hand.pkl")
    with pytest.raises(TypeError, match="a model file holds numbers, text and arrays, got float"):
        python2_pickle({"scale": 1.5})  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="arrays of numbers, got dtype object"):
        python2_pickle({"poses": np.array([None])})
    assert not list(tmp_path.iterdir())
