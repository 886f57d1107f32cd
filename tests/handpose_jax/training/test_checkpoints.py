"""Checkpoints: exact, of the state as it was when saved, onto other devices; one clear line where one is unusable."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handpose_jax.training import Checkpoints, TrainState, data_mesh, replicated_sharding
from tests.handpose_jax.training.toy import assert_equal, fresh_state, source, train_step


def abstract(state: TrainState, sharding: jax.sharding.Sharding | None = None) -> TrainState:
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state)


def numbered(value: float) -> TrainState:
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), fresh_state())


def test_donation_right_after_saving_does_not_reach_the_file(tmp_path: pathlib.Path):
    state = fresh_state()
    for number in range(3):
        state, _ = train_step(state, source(number, jax.random.key(number)))
    expected = jax.device_get(jax.tree.map(jnp.copy, state))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state)
        for number in range(20):
            state, _ = train_step(state, source(number, jax.random.key(number)))
        checkpoints.wait()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 3
        assert_equal(checkpoints.restore(abstract(state)), expected)


def test_restored_onto_other_devices(tmp_path: pathlib.Path):
    four = replicated_sharding(data_mesh(jax.devices()[:4]))
    state = fresh_state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        found = checkpoints.restore(abstract(state, four))
    assert_equal(found, state)
    assert found.params["layer"]["kernel"].sharding == four


def test_the_newest_stay_and_a_step_is_saved_once(tmp_path: pathlib.Path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, numbered(float(step)))
        checkpoints.save(3, numbered(-1.0))
        checkpoints.wait()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
        assert_equal(checkpoints.restore(abstract(fresh_state())), numbered(3.0))


def test_no_checkpoint(tmp_path: pathlib.Path):
    with Checkpoints(tmp_path / "new") as checkpoints:
        assert checkpoints.latest_step is None
        with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
            checkpoints.restore(abstract(fresh_state()))


def test_of_another_network(tmp_path: pathlib.Path):
    state = fresh_state()
    wider = dataclasses.replace(state, params={"layer": {"kernel": jnp.zeros((4, 1)), "bias": jnp.ones((1,))}})
    longer = dataclasses.replace(state, params={**state.params, "head": jnp.zeros(2)})
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.wait()
        with pytest.raises(ValueError, match=r"layer/kernel has shape \(3, 1\) in the file and \(4, 1\) in the config"):
            checkpoints.restore(abstract(wider))
        with pytest.raises(ValueError, match="params/head has shape none in the file"):
            checkpoints.restore(abstract(longer))
        assert_equal(checkpoints.restore(abstract(state)), state)


@pytest.mark.parametrize("damage", ["cut short", "metadata gone"])
def test_a_damaged_one_is_named_and_the_one_before_is_left(tmp_path: pathlib.Path, damage: str):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, numbered(float(step)))
    if damage == "cut short":
        for file in (folder / "2").rglob("*"):
            if file.is_file() and file.parent.name == "d":
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        (folder / "2" / "state" / "_METADATA").unlink()
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(ValueError, match="2 cannot be read") as caught:
            checkpoints.restore(abstract(fresh_state()))
        assert "\n" not in str(caught.value)
        assert "move it away to go on from step 1" in str(caught.value)
    (folder / "2").rename(tmp_path / "away")
    with Checkpoints(folder) as checkpoints:
        assert_equal(checkpoints.restore(abstract(fresh_state())), numbered(1.0))


def test_an_unfinished_one_does_not_count(tmp_path: pathlib.Path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, numbered(1.0))
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "2.orbax-checkpoint-tmp" / "half").write_bytes(b"written")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 1
        np.testing.assert_array_equal(checkpoints.restore(abstract(fresh_state())).step, 1)
