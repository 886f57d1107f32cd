"""The run's folder: its config and the differences from it, metrics, signals, and options from configs."""

import dataclasses
import json
import math
import os
import pathlib
import signal
import sys
import threading

import jax
import numpy as np
import pytest

from handpose_jax.training import MetricsWriter, batch_sharding, data_mesh, replicated_sharding, stop_on_signals
from handpose_jax.training.config_options import options_from
from handpose_jax.training.metrics_writer import read_metrics
from handpose_jax.training.sharding import check_batch_size
from handpose_jax.training.workdir import claim_workdir, differences, git_revision, record_run
from tests.handpose_jax.training.toy import assert_equal, fresh_state, source, step

CONFIG = {"seed": 0, "data": {"fill": (0.6, 0.7), "size": 32}, "loop": {"steps": 10}}


def test_config_is_recorded_and_the_same_one_is_welcome(tmp_path: pathlib.Path):
    folder = tmp_path / "a" / "run"
    claim_workdir(folder, CONFIG, ("loop",))
    assert json.loads((folder / "config.json").read_text())["data"] == {"fill": [0.6, 0.7], "size": 32}
    claim_workdir(folder, CONFIG, ("loop",))
    longer = {**CONFIG, "loop": {"steps": 20}}
    claim_workdir(folder, longer, ("loop",))
    assert json.loads((folder / "config.json").read_text())["loop"]["steps"] == 20
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_another_config_is_refused_with_each_difference(tmp_path: pathlib.Path):
    claim_workdir(tmp_path, CONFIG, ("loop",))
    before = (tmp_path / "config.json").read_bytes()
    other = {"seed": 1, "data": {"size": 64, "fill": (0.6, 0.7), "new": True}, "loop": {"steps": 5}}
    with pytest.raises(ValueError, match="another config") as caught:
        claim_workdir(tmp_path, other, ("loop",))
    assert "data.new: absent -> True; data.size: 32 -> 64; seed: 0 -> 1; use" in str(caught.value)
    assert (tmp_path / "config.json").read_bytes() == before
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        claim_workdir(tmp_path, CONFIG, ())


def test_differences_are_of_leaves():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": None}) == [
        "a.c: 2 -> 3",
        "d: absent -> None",
    ]


def test_runs_are_recorded(tmp_path: pathlib.Path):
    for begin in (0, 20):
        record_run(tmp_path, "python -m launch.train", begin)
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [line["from_step"] for line in lines] == [0, 20]
    assert lines[0]["versions"]["jax"] == jax.__version__
    revision = git_revision()
    assert revision is None or len(revision.rstrip("+")) == 40


def test_metrics_and_events(tmp_path: pathlib.Path):
    echoed = []
    with MetricsWriter(tmp_path, echo=echoed.append) as writer:
        writer.write(5, {"loss": 0.5, "bad": math.nan, "count": 3})
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert (line["step"], line["loss"], line["bad"], line["count"]) == (5, 0.5, None, 3)
    assert echoed == ["step 5: loss 0.5, count 3"]
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_metrics_without_tensorboard_and_after_a_crash(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with MetricsWriter(tmp_path) as writer:
        for number in (5, 10, 15):
            writer.write(number, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])  # the last line is cut short
    with MetricsWriter(tmp_path, step=7) as writer:
        writer.write(10, {"loss": 2.0})
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(5, 1.0), (10, 2.0)]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_signals_only_ask_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_outside_the_main_thread_there_are_no_signals():
    asked = []

    def inside() -> None:
        with stop_on_signals() as stop:
            asked.append(stop())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert asked == [False]


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    name: str = "a"
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self):
        if self.rate < 0.0:
            raise ValueError(f"rate must be >= 0, got {self.rate}")


@dataclasses.dataclass(frozen=True)
class Outer:
    count: int = 1
    flag: bool = False
    angle: float | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_options_of_a_config():
    found = options_from(Outer, {"count": 3, "inner": {"rate": 1, "span": [2, 3.5]}})
    assert found == Outer(count=3, inner=Inner(rate=1.0, span=(2.0, 3.5)))
    assert isinstance(found.inner.rate, float)
    assert options_from(Outer, {}) == Outer()
    assert options_from(Outer, {"angle": 3}).angle == 3.0
    assert options_from(Outer, {"angle": None}).angle is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cuont": 1}, "config.cuont is no field; did you mean config.count?"),
        ({"inner": {"raet": 1.0}}, "config.inner.raet is no field; did you mean config.inner.rate?"),
        ({"rate": 1.0}, "config.rate is no field; did you mean config.inner.rate?"),
        ({"count": 1.5}, "config.count must be int, got 1.5"),
        ({"count": True}, "config.count must be int, got True"),
        ({"angle": "a"}, "config.angle must be float, got 'a'"),
        ({"flag": 1}, "config.flag must be bool, got 1"),
        ({"inner": 3}, "config.inner is a section"),
        ({"inner": {"span": (1.0,)}}, "config.inner.span must be 2 numbers"),
        ({"inner": {"rate": -1.0}}, "config.inner: rate must be >= 0"),
    ],
)
def test_what_is_wrong_with_a_config(config, message: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        options_from(Outer, config)
    assert message in str(caught.value)


def test_four_devices_train_as_one():
    """The toy problem; DHPE itself is compared in tests/launch."""
    states = []
    for count in (1, 4):
        mesh = data_mesh(jax.devices()[:count])
        whole, shares = replicated_sharding(mesh), batch_sharding(mesh)
        compiled = jax.jit(step, in_shardings=(whole, shares), out_shardings=(whole, whole))
        state = jax.device_put(fresh_state(), whole)
        for number in range(5):
            batch = jax.device_put(source(number, jax.random.key(number)), shares)
            assert len(batch["inputs"].sharding.device_set) == count
            state, _ = compiled(state, batch)
        states.append(jax.device_get(state))
    jax.tree.map(lambda one, four: np.testing.assert_allclose(one, four, rtol=2e-6, atol=1e-7), *states)


def test_a_batch_that_cannot_be_shared():
    mesh = data_mesh(jax.devices()[:4])
    check_batch_size(8, mesh)
    with pytest.raises(ValueError, match="4 devices can share evenly, got 6 images; 8 would do"):
        check_batch_size(6, mesh)


def test_copies_in_a_new_state():
    """Donating a state that holds one array twice fails."""
    state = fresh_state()
    assert_equal(jax.jit(lambda one: one, donate_argnums=0)(state), fresh_state())
