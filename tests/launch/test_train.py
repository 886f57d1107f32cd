"""`python -m launch.train`: clear refusals at once; slowly, whole runs of DHPE in subprocesses."""

import dataclasses
import functools
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from handpose_jax.dhpe.training import DhpeTraining
from handpose_jax.dhpe.training_system import dhpe_system
from handpose_jax.dhpe.weights import load_weights
from handpose_jax.training import (
    Checkpoints,
    TrainState,
    batch_sharding,
    data_mesh,
    replicated_sharding,
    starting_from,
)
from handpose_jax.training.config_options import options_from
from handpose_jax.training.metrics_writer import read_metrics
from handpose_jax.training.state import step_key
from launch.export import main as export
from launch.train import main, parsed, system_of
from mano_jax import open_hand

REPOSITORY = pathlib.Path(__file__).parents[2]
SMALL = f"--config={REPOSITORY}/configs/dhpe.py:runlocal"


@pytest.mark.parametrize("name", ["dhpe", "dhpe_paper"])
@pytest.mark.parametrize("variant", ["", "runlocal"])
def test_configs_name_existing_fields_and_hold_plain_values(name: str, variant: str):
    config: ConfigDict = importlib.import_module(f"configs.{name}").get_config(variant)
    fields = {key: value for key, value in config.to_dict().items() if key != "system"}
    training = options_from(DhpeTraining, fields)
    assert (training.dhpe.networks.backbone == "tiny") == (variant == "runlocal")


def test_the_papers_config_has_the_papers_sizes():
    training, _ = system_of(importlib.import_module("configs.dhpe_paper").get_config().to_dict())
    networks = training.dhpe.networks
    assert (networks.backbone, networks.image_size, networks.iterations) == ("resnet50", 224, 3)
    assert training.optimizer.decay_steps == 75 * (71_258 // 64)


def test_overrides_also_of_fields_that_the_file_does_not_name():
    values = parsed(
        [
            SMALL,
            "--workdir=w",
            "--config.seed=3",
            "--config.optimizer.learning_rate=0.1",
            "--config.data.synthesis.fill=(0.5, 0.6)",
            "--config.dhpe.networks.subcell=false",
            "--config.dhpe.losses.tau=9.5",
            "--config.dhpe.losses.mask.mode=softras",
            "--config.dhpe.refinement.steps=7",
            "--config.dhpe.parametrisation.pose=axis_angle",
        ]
    )
    training, _ = system_of(values.config.to_dict())
    assert training.dhpe.losses.tau == 9.5
    assert training.optimizer.learning_rate == 0.1
    assert training.dhpe.losses.mask.mode == "softras"
    assert training.dhpe.refinement.steps == 7
    assert training.dhpe.parametrisation.pose == "axis_angle"
    assert training.seed == 3
    assert training.data.synthesis.fill == (0.5, 0.6)
    assert training.dhpe.networks.subcell is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config is required"),
        ([SMALL], "--workdir is required"),
        (["--config=configs/none.py", "--workdir=w"], "no such file"),
        ([SMALL.replace("runlocal", "runlokal"), "--workdir=w"], "has the variant 'runlocal' only, got 'runlokal'"),
        ([SMALL, "--workdir=w", "--config.optimizer.lerning_rate=1"], "did you mean config.optimizer.learning_rate?"),
        ([SMALL, "--workdir=w", "--config.learning_rate=1"], "did you mean config.optimizer.learning_rate?"),
        ([SMALL, "--workdir=w", "--config.optimiser.clip_norm=1"], "did you mean config.optimizer?"),
        ([SMALL, "--workdir=w", "--config.loop.steps=many"], "--config.loop.steps"),
        ([SMALL, "--workdir=w", "--config.system=none"], "config.system must be 'dhpe'"),
        ([SMALL, "--workdir=w", "--config.dhpe.losses.tau=-1.0"], "tau and heat_map_deviation must be above 0"),
        ([SMALL, "--workdir=w", "--config.data.synthesis.image_size=64"], "must be equal, got 64 and 32"),
        ([SMALL, "--workdir=w", "--workdri=w"], "workdri"),
    ],
)
def test_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_workdir_of_another_config(tmp_path: pathlib.Path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"system": "dhpe", "seed": 1}))
    assert main([SMALL, f"--workdir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "seed: 1 -> 0" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_workdir_that_cannot_be_made(tmp_path: pathlib.Path, capsys):
    (tmp_path / "file").write_text("")
    assert main([SMALL, f"--workdir={tmp_path}/file/run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


STEPS = 30


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory) -> dict[str, str]:
    """Environment of a user's process whose programs are compiled by the first run that needs them."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")), "JAX_PLATFORMS": "cpu"}
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return {**environment, **cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def command(workdir: pathlib.Path, *more: str) -> list[str]:
    settings = [f"--config.loop.steps={STEPS}", "--config.loop.log_every=1", "--config.loop.picture_every=30"]
    return [sys.executable, "-m", "launch.train", SMALL, f"--workdir={workdir}", *settings, *more]


def call(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compiled_once) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("trained") / "run"
    result = call(command(workdir), compiled_once)
    assert result.returncode == 0, result.stderr
    assert f"trained {STEPS} steps" in result.stdout
    return workdir


@functools.cache
def small_system():
    training, _ = system_of(parsed([SMALL, "--workdir=w"]).config.to_dict())
    return dhpe_system(training, open_hand("right"), data_mesh(jax.devices()[:1]), pathlib.Path("unused"))


def last_state(workdir: pathlib.Path) -> TrainState:
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        assert checkpoints.latest_step == STEPS
        return jax.device_get(checkpoints.restore(small_system().abstract_state()))


@pytest.mark.slow
def test_a_run_learns_and_leaves_its_files(trained: pathlib.Path):
    lines = [line for line in read_metrics(trained / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    losses = np.array([line["loss"] for line in lines])
    assert losses[-5:].mean() < 0.7 * losses[:5].mean()
    assert all(np.isfinite(value) for line in lines for value in line.values())
    held_out = [line for line in read_metrics(trained / "metrics.jsonl") if "held_out_root_mm" in line]
    assert [line["step"] for line in held_out] == [STEPS]
    picture = Image.open(trained / "pictures" / f"step_{STEPS:07d}.png")
    assert picture.size == (6 * 232 + 8, 4 * 258 + 8)
    assert json.loads((trained / "config.json").read_text())["dhpe"]["networks"]["backbone"] == "tiny"
    assert list((trained / "tensorboard").glob("events.*"))
    assert int(last_state(trained).skipped) == 0


@pytest.mark.slow
def test_terminated_and_resumed_is_uninterrupted(trained: pathlib.Path, tmp_path: pathlib.Path, compiled_once):
    """SIGTERM saves and ends with 0; the same command goes on; all numbers are those of the other run, bit for bit."""
    workdir = tmp_path / "run"
    with subprocess.Popen(
        command(workdir), cwd=REPOSITORY, env=compiled_once, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 600.0
        while len(read_metrics(workdir / "metrics.jsonl")) < 4:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "stopped and saved at step" in error
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        stopped = checkpoints.latest_step
    assert stopped is not None
    assert 4 <= stopped < STEPS
    result = call(command(workdir), compiled_once)
    assert result.returncode == 0, result.stderr
    assert f"from step {stopped} of {STEPS}" in result.stderr
    jax.tree.map(np.testing.assert_array_equal, last_state(workdir), last_state(trained))
    found, expected = (
        {line["step"]: line["loss"] for line in read_metrics(folder / "metrics.jsonl") if "loss" in line}
        for folder in (workdir, trained)
    )
    assert found == expected


@pytest.mark.slow
def test_exported_weights_are_the_averaged_ones_and_start_another_run(
    trained: pathlib.Path, tmp_path: pathlib.Path, compiled_once, capsys
):
    (tmp_path / "scores.json").write_text('{"hands": 3}')
    out = tmp_path / "made" / "small.json"
    arguments = [f"--checkpoint={trained}", f"--out={out}", f"--scores={tmp_path / 'scores.json'}", "--nohalf"]
    assert export([*arguments]) == 0
    assert f"step {STEPS} of" in capsys.readouterr().out
    weights = load_weights(out)
    jax.tree.map(np.testing.assert_array_equal, weights.variables, last_state(trained).averaged)
    assert weights.notes["scores"] == {"hands": 3}
    assert weights.notes["runs"][0]["from_step"] == 0
    assert weights.notes["config"]["seed"] == 0

    more = ["--config.loop.steps=1", "--config.seed=5", f"--init={out}"]
    result = call(command(tmp_path / "more", *more), compiled_once)
    assert result.returncode == 0, result.stderr
    first, untrained = (
        next(line["loss"] for line in read_metrics(folder / "metrics.jsonl") if line["step"] == 1)
        for folder in (tmp_path / "more", trained)
    )
    assert first < 0.85 * untrained
    assert json.loads((tmp_path / "more" / "config.json").read_text())["init"] == f"small.json, step {STEPS}"
    state = starting_from(small_system().initial_state(), weights.variables)
    jax.tree.map(np.testing.assert_array_equal, state.variables, weights.variables)
    jax.tree.map(np.testing.assert_array_equal, state.averaged, weights.variables)
    assert int(state.step) == 0
    other = ["--config.dhpe.networks.estimator_width=16", f"--init={out}", f"--workdir={tmp_path / 'other'}"]
    assert main([SMALL, *other]) == 2
    error = capsys.readouterr().err
    assert "of other networks than the config's: estimator_width: 32 -> 16" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out=w.json"], "--checkpoint and --out are required"),
        (["--checkpoint=.", "--out=w.json"], "no config.json"),
        (["--checkpoint=.", "--out=w.json", "--scores=missing.json"], "No such file"),
    ],
)
def test_export_refuses_in_one_line(tmp_path: pathlib.Path, monkeypatch, capsys, arguments: list[str], words: str):
    monkeypatch.chdir(tmp_path)
    assert export(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_dry_run(tmp_path: pathlib.Path, compiled_once):
    result = call([sys.executable, "-m", "launch.train", SMALL, "--dry_run"], compiled_once)
    assert result.returncode == 0, result.stderr
    for text in ("images: float32[8, 32, 32, 3]", "backbone: 78,312", "FLOPs a device", "temp memory a device"):
        assert text in result.stdout


@pytest.mark.slow
def test_four_devices_train_as_one():
    """Each makes a quarter of the batch, two images at once: the same images; and of equal batches the same losses."""
    few = ["--config.dhpe.networks.iterations=1", "--config.data.synthesis.pose_candidates=1"]  # less to compile
    training, _ = system_of(parsed([SMALL, "--workdir=w", *few]).config.to_dict())
    in_pairs = dataclasses.replace(training, data=dataclasses.replace(training.data, images_at_once=2))
    one, four = (data_mesh(jax.devices()[:count]) for count in (1, 4))
    alone = dhpe_system(training, open_hand("right"), one, pathlib.Path("unused"))
    shared = dhpe_system(in_pairs, open_hand("right"), four, pathlib.Path("unused"))
    state = alone.initial_state()
    states = [state, jax.device_put(jax.device_get(state), replicated_sharding(four))]
    for number in range(2):
        key = step_key(jnp.uint32(3), jnp.int32(number))
        batch, in_shares = alone.source(number, key), shared.source(number, key)
        assert [len(one.images.sharding.device_set) for one in (batch, in_shares)] == [1, 4]
        host = jax.device_get(batch)
        # Programs differ in last digits, and a sample on the edge of a shadow is lit in one and dark in the other.
        for mine, other in zip(host, jax.device_get(in_shares), strict=True):
            assert np.mean(np.abs(mine - other) > 1e-4) < 0.01
        found = []
        batches = (batch, jax.device_put(host, batch_sharding(four)))
        for index, (system, given) in enumerate(zip((alone, shared), batches, strict=True)):
            states[index], metrics = system.train_step(states[index], given)
            found.append(jax.device_get(metrics))
        np.testing.assert_allclose(found[1]["loss"], found[0]["loss"], rtol=1e-4)
        for name in found[0]:
            # Adam divides by the gradient's own size, so the smallest gradients' rounding shows in the update.
            tolerance = 1e-2 if name == "update_norm" else 1e-3
            np.testing.assert_allclose(found[1][name], found[0][name], rtol=tolerance, atol=1e-6, err_msg=name)
