"""This project's own model file: exact round trips, and nothing half-written."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mano_jax import load, mirror_model, save
from tests.mano_jax.made_up_model import assert_same, made_up_fields, made_up_hand, official_content, python2_pickle


@pytest.mark.parametrize("side", ["left", "right"])
def test_own_file_round_trip_is_exact(tmp_path: pathlib.Path, side: str):
    model = made_up_hand(side=side)
    path = tmp_path / "hand.of_any_name"
    save(model, path)
    assert_same(load(path), model)
    assert_same(load(path, side=side, correct_left_shape=True), model)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_own_file_round_trip_of_official_left_mirrored_and_cut_models(tmp_path: pathlib.Path):
    fields = made_up_fields(components=20)
    official = tmp_path / "MANO_LEFT.pkl"
    official.write_bytes(python2_pickle(official_content(fields)))
    path = tmp_path / "saved.npz"
    for model in (
        load(official),
        load(official, correct_left_shape=False),
        load(official, shape_components=20),
        mirror_model(load(official)),
        made_up_hand(components=1),
    ):
        save(model, path)
        assert_same(load(path), model)
    save(made_up_hand(), path)
    assert load(path, shape_components=4).shape_size == 4
    np.testing.assert_array_equal(load(path, shape_components=4).shape_basis, made_up_hand().shape_basis[:, :, :4])


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_own_file_round_trip_of_other_dtypes(tmp_path: pathlib.Path, dtype: str):
    path = tmp_path / "hand.npz"
    with jax.enable_x64(True):
        model = made_up_hand(dtype=dtype)
        save(model, path)
        assert_same(load(path), model)
    if dtype == "float64":  # Without 64-bit mode JAX has no such arrays.
        assert load(path).dtype == jnp.float32


def test_save_leaves_nothing_half_written(tmp_path: pathlib.Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        save(made_up_hand(), tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        save(made_up_hand(), tmp_path / "missing" / "hand.npz")
    with pytest.raises(ValueError, match="778 vertices and 1538 triangles, got 2 and 0; save the whole hand"):
        save(made_up_hand().at_vertices((0, 1)), tmp_path / "hand.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_own_file_with_contradicting_joints_is_refused(tmp_path: pathlib.Path):
    path = tmp_path / "hand.npz"
    save(made_up_hand(), path)
    fields = dict(np.load(path))
    fields["joint_template"] = fields["joint_template"] + 0.01
    np.savez(path, **fields)
    with pytest.raises(ValueError, match="joint_template must follow from J_regressor"):
        load(path)
