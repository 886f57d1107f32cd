"""The loop on a toy problem: it learns, resumes bit for bit, stops when asked, leaves NaN out, gives up in time."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from handpose_jax.training import Checkpoints, Hook, LoopOptions, MetricsWriter, TrainState, train
from handpose_jax.training.loop import means
from handpose_jax.training.metrics_writer import read_metrics
from tests.handpose_jax.training.toy import (
    BAD_STEP,
    TRUTH,
    assert_equal,
    fresh_state,
    poisoned_source,
    source,
    train_step,
)

OPTIONS = LoopOptions(steps=40, log_every=5, checkpoint_every=10, keep_checkpoints=2)


def run(folder: pathlib.Path, options: LoopOptions = OPTIONS, **settings: Any) -> TrainState:
    """Starts or resumes, as the launcher does."""
    folder.mkdir(exist_ok=True)
    settings = {"source": source, **settings}
    with Checkpoints(folder / "checkpoints", options.keep_checkpoints) as checkpoints:
        begin = checkpoints.latest_step
        state = fresh_state() if begin is None else checkpoints.restore(abstract())
        with MetricsWriter(folder, begin or 0) as writer:
            return train(
                state,
                train_step,
                options=options,
                checkpoints=checkpoints,
                writer=writer,
                images_per_step=8,
                **settings,
            )


def abstract() -> TrainState:
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(fresh_state)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), shapes)


def stop_after(calls: int):
    """What `stop` is: True from the call of this number on."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= calls


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[pathlib.Path, TrainState]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, run(folder)


def test_it_learns_and_writes(uninterrupted):
    folder, state = uninterrupted
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(5, 41, 5))
    assert lines[-1]["loss"] < 0.2 * lines[0]["loss"]
    assert np.abs(np.asarray(state.params["layer"]["kernel"]) - TRUTH).max() < 0.5
    assert int(state.step) == 40
    assert all(line["images_per_second"] > 0.0 for line in lines[1:])
    assert "images_per_second_with_compilation" in lines[0]
    assert sorted(int(path.name) for path in (folder / "checkpoints").iterdir()) == [30, 40]


@pytest.mark.parametrize("steps", [3, 10, 23])
def test_stopped_and_resumed_is_uninterrupted(uninterrupted, tmp_path: pathlib.Path, steps: int):
    """Before the first checkpoint, at one, and between two, in the middle of a window of metrics."""
    whole_folder, whole = uninterrupted
    folder = tmp_path / "run"
    stopped = run(folder, stop=stop_after(steps))
    assert int(stopped.step) == steps
    resumed = run(folder)
    assert_equal(resumed, whole)

    def losses(path: pathlib.Path) -> dict[int, float]:
        return {line["step"]: line["loss"] for line in read_metrics(path / "metrics.jsonl")}

    found, expected = losses(folder), losses(whole_folder)
    assert found.keys() == expected.keys()
    # The window in which it was stopped holds the steps after only.
    broken = -(-steps // 5) * 5 if steps % 5 else None
    assert all(found[step] == expected[step] for step in expected if step != broken)


def test_killed_after_a_checkpoint_it_writes_the_lines_since_again(uninterrupted, tmp_path: pathlib.Path):
    folder = tmp_path / "run"

    def killed(step: int, key: jax.Array) -> Any:
        if step == 27:
            raise RuntimeError("killed")
        return source(step, key)

    with pytest.raises(RuntimeError, match="killed"):
        run(folder, source=killed)
    assert read_metrics(folder / "metrics.jsonl")[-1]["step"] == 25
    assert_equal(run(folder), uninterrupted[1])
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(5, 41, 5))


def test_a_finished_run_is_left_alone(uninterrupted):
    folder, state = uninterrupted
    assert_equal(run(folder), state)


def test_a_batch_with_nan_is_left_out_and_counted(tmp_path: pathlib.Path):
    before = run(tmp_path / "a", LoopOptions(steps=BAD_STEP, log_every=5), source=poisoned_source)
    after = run(tmp_path / "b", LoopOptions(steps=BAD_STEP + 1, log_every=5), source=poisoned_source)
    for name in ("params", "batch_stats", "optimizer", "averaged"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(after, name))
    assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (BAD_STEP + 1, 1, 1)
    longer = run(tmp_path / "b", LoopOptions(steps=20, log_every=5), source=poisoned_source)
    assert (int(longer.skipped), int(longer.skipped_in_a_row)) == (1, 0)
    assert all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(jax.device_get(longer)))
    lines = {line["step"]: line for line in read_metrics(tmp_path / "b" / "metrics.jsonl")}
    # The mean of the window's other steps.
    assert np.isfinite(lines[8]["loss"])
    np.testing.assert_allclose(lines[8]["skipped"], 1.0 / 3.0)
    assert lines[20]["skipped_in_all"] == 1


def test_it_gives_up_when_nothing_is_finite(tmp_path: pathlib.Path):
    def always(step: int, key: jax.Array) -> Any:
        return poisoned_source(BAD_STEP, key)

    with pytest.raises(ValueError, match="training diverged: the last 50 batches"):
        run(tmp_path / "run", LoopOptions(steps=100, log_every=50), source=always)
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["loss"] is None


def test_hooks_are_called_when_due_and_after_the_last_step(tmp_path: pathlib.Path):
    called = []

    def hook(state: TrainState, step: int) -> dict[str, float]:
        called.append((int(state.step), step))
        return {"seen": 1.0}

    hooks = (Hook(4, hook), Hook(0, lambda state, step: pytest.fail("never due")))
    run(tmp_path / "run", LoopOptions(steps=10, log_every=5), hooks=hooks)
    assert called == [(4, 4), (8, 8), (10, 10)]
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines if "seen" in line] == [4, 8, 10]


def test_means_leave_out_what_is_not_finite():
    window = [{"a": np.float32(1.0), "b": np.float32(np.nan)}, {"a": np.float32(np.inf), "b": np.float32(np.nan)}]
    found: Any = means(window)  # pyright: ignore[reportArgumentType]
    assert found["a"] == 1.0
    assert np.isnan(found["b"])


@pytest.mark.parametrize("settings", [{"steps": 0}, {"log_every": 0}, {"picture_every": -1}])
def test_impossible_options(settings):
    with pytest.raises(ValueError, match="must be"):
        LoopOptions(**settings)
