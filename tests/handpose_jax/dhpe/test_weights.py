"""Weight files: the same numbers back, in one file or several; another architecture and damage in one line."""

import dataclasses
import json

import flax.traverse_util
import jax
import numpy as np
import optax
import pytest

from handpose_jax.dhpe.configuration import TINY_NETWORKS, DhpeOptions, Parametrisation
from handpose_jax.dhpe.weights import load_checkpoint, load_weights, save_weights, variable_shapes
from handpose_jax.training import Checkpoints, new_state

OPTIONS = DhpeOptions(networks=TINY_NETWORKS, parametrisation=Parametrisation(initial_scale=11.0))


@pytest.fixture(scope="module")
def variables() -> dict:
    rng = np.random.default_rng(0)
    flat = {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in variable_shapes(OPTIONS).items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def assert_same(found: dict, expected: dict, rtol: float, atol: float = 0.0) -> None:
    found, expected = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (found, expected))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, err_msg=name, rtol=rtol, atol=atol)


@pytest.mark.parametrize("largest_file", [15_000_000, 200_000])
def test_there_and_back(tmp_path, variables, largest_file):
    path = tmp_path / "new" / "hand.json"
    files = save_weights(path, variables, OPTIONS, {"seed": 3}, largest_file=largest_file)
    assert len(files) == 2 if largest_file > 1_000_000 else len(files) > 3
    assert sorted(path.parent.iterdir()) == sorted(files)
    loaded = load_weights(path)
    assert loaded.options == OPTIONS
    assert loaded.notes == {"seed": 3}
    assert_same(loaded.variables, variables, rtol=0)


def test_half_precision(tmp_path, variables):
    files = save_weights(tmp_path / "hand.json", variables, OPTIONS, half=True)
    loaded = load_weights(tmp_path / "hand.safetensors")
    assert_same(loaded.variables, variables, rtol=1e-3, atol=1e-6)
    assert files[1].stat().st_size < 0.6 * sum(4 * leaf.size for leaf in variable_shapes(OPTIONS).values())


def test_what_is_wrong_is_said_in_one_line(tmp_path, variables):
    path = tmp_path / "hand.json"
    save_weights(path, variables, OPTIONS)
    content = json.loads(path.read_text())
    content["options"]["networks"]["backbone"] = "small"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"weights of another architecture: .*'small'"):
        load_weights(path)
    content["options"]["networks"] |= {"backbone": "tiny", "backbon": "tiny"}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"did you mean .*backbone"):
        load_weights(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="expected the JSON of DHPE weights"):
        load_weights(path)
    save_weights(path, variables, OPTIONS)
    numbers = tmp_path / "hand.safetensors"
    numbers.write_bytes(numbers.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_weights(path)
    numbers.unlink()
    with pytest.raises(FileNotFoundError):
        load_weights(path)
    with pytest.raises(ValueError, match="name of their JSON"):
        save_weights(tmp_path / "hand.safetensors", variables, OPTIONS)
    damaged = {**variables, "params": {**variables["params"]}}
    damaged["params"]["estimator"] = {
        name: np.full_like(v, np.nan) for name, v in variables["params"]["estimator"].items()
    }
    save_weights(path, damaged, OPTIONS)
    with pytest.raises(ValueError, match="finite"):
        load_weights(path)


@pytest.mark.slow
def test_a_run_s_newest_averaged_weights(tmp_path, variables):
    """As the training loop writes them; the raw parameters are others, and nothing in the folder is touched."""
    state = new_state(variables["params"], variables["batch_stats"], optax.adam(1e-3), 0)
    raw = jax.tree.map(np.zeros_like, variables["params"])
    older = dataclasses.replace(state, averaged=jax.tree.map(np.zeros_like, variables))
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(9, older)
        checkpoints.save(10, dataclasses.replace(state, params=raw))
    config = {"system": "dhpe", "model": "open hand", "seed": 4, "dhpe": dataclasses.asdict(OPTIONS)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    before = sorted(tmp_path.rglob("*"))
    loaded = load_checkpoint(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert_same(loaded.variables, variables, rtol=0)
    assert loaded.options == OPTIONS
    assert loaded.notes == {"config": config, "step": 10}
    config["dhpe"]["networks"]["backbone"] = "small"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="another architecture"):
        load_checkpoint(tmp_path)


def test_folders_that_hold_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"system": "other"}))
    with pytest.raises(ValueError, match="system 'dhpe'"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"system": "dhpe", "dhpe": {"networks": {"backbone": "tiny"}}}))
    with pytest.raises(ValueError, match="no checkpoint yet"):
        load_checkpoint(tmp_path)
