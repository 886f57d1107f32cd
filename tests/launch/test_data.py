"""`python -m launch.data`: what it says of folders, sheets, records, refusals; slowly, synthetic sets and training."""

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from handpose_jax.data.records import read_records
from handpose_jax.data.sets import READERS
from handpose_jax.training.metrics_writer import read_metrics
from launch.data import main
from tests.fixtures.depth_sets import write_icvl
from tests.fixtures.rhd import write_rhd
from tests.fixtures.stb import write_stb

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture
def rhd(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_rhd(tmp_path, frames=3).root


def test_check_says_what_is_there_and_draws(rhd, tmp_path, capsys):
    assert main(["check", str(rhd), f"--out={tmp_path}/checked"]) == 0
    said = capsys.readouterr().out
    assert "RHD (Rendered Handpose Dataset)" in said
    assert "missing: evaluation/color" in said
    assert "training: 3 hands, 2 left and 1 right; images (rgb), depth (depth_rhd), masks (labels)" in said
    most = re.search(r"3D projects onto 2D within \S+ px \(median\), (\S+) \(most\)", said)
    assert most is not None
    assert float(most[1]) < 0.1
    sheet = Image.open(tmp_path / "checked" / "rhd_training.png")
    assert sheet.size == (3 * 328 + 8, 320 + 26 + 16)
    green = np.asarray(sheet).astype(int)
    assert ((green[..., 1] - green[..., 0] > 20) & (green[..., 1] - green[..., 2] > 20)).mean() > 0.02  # masks


def test_check_of_a_depth_set_without_keypoints(tmp_path, capsys):
    assert main(["check", str(write_icvl(tmp_path).root), "--split=evaluation", f"--out={tmp_path}/checked"]) == 0
    assert "the set's own joints: 16.0 of 16" in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "checked" / "icvl_evaluation.png")).astype(int)
    assert (np.abs(sheet - [255, 178, 44]).sum(axis=-1) < 30).sum() > 100  # dots


def test_options_of_the_reader(rhd, capsys):
    assert main(["check", str(rhd), "--option=hand=both"]) == 0
    assert "training: 6 hands, 3 left and 3 right" in capsys.readouterr().out
    assert main(["check", str(rhd), "--option=hnd=both"]) == 2
    assert "no such option" in capsys.readouterr().err


def test_a_damaged_picture_is_named_or_left_out(rhd, tmp_path, capsys):
    path = rhd / "training" / "color" / "00001.png"
    path.write_bytes(path.read_bytes()[:1000])
    for command in (["check"], ["prepare", f"--out={tmp_path}/records"]):
        assert main([command[0], str(rhd), *command[1:]]) == 2
        error = capsys.readouterr().err
        assert f"{path}: not a readable rgb file" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "records").exists()
    assert main(["check", str(rhd), "--skip_bad"]) == 0
    assert "training: 2 hands" in (said := capsys.readouterr().out)
    assert f"left out 1; the first: {path}" in said
    assert main(["prepare", str(rhd), f"--out={tmp_path}/records", "--skip_bad"]) == 0
    assert "training: 2 hands, 1 left out" in capsys.readouterr().out
    assert len(read_records(tmp_path / "records", "training")) == 2


def test_records_can_be_checked_again(rhd, tmp_path, capsys):
    assert main(["prepare", str(rhd), f"--out={tmp_path}/records"]) == 0
    files = {path.name for path in (tmp_path / "records").iterdir()}
    assert files == {"training.npz", *(f"training.{kind}.array_record" for kind in ("images", "masks", "depth"))}
    assert main(["check", f"{tmp_path}/records", f"--out={tmp_path}/checked"]) == 0
    assert "training: 3 hands" in capsys.readouterr().out
    assert main(["check", str(rhd), f"--out={tmp_path}/other"]) == 0
    name = "rhd_training.png"
    assert (tmp_path / "checked" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to do: check, prepare, synth"),
        (["chek", "."], "not 'chek'"),
        (["check"], "check takes one folder, got 0"),
        (["check", "missing"], "missing: no such folder"),
        (["check", "."], "the folder is empty"),
        (["prepare", "."], "prepare needs --out"),
        (["synth", "x", "--out=made"], "unexpected argument 'x'"),
        (["synth", "--set=none", "--out=made"], "--set must be one of rhd, freihand"),
        (["synth", "--count=0", "--out=made"], "count"),
        (["check", ".", "--optoin=x"], "optoin"),
    ],
)
def test_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_no_tensorflow_for_synthetic_training_and_checking(rhd):
    """Its import takes seconds and a gigabyte."""
    code = f"""
import sys
from launch.train import parsed, system_of
training, make = system_of(parsed(["--config=configs/dhpe_paper.py", "--workdir=w"]).config.to_dict())
assert not training.real.used
from launch.data import main
assert main(["check", {str(rhd)!r}]) == 0
assert "tensorflow" not in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rhd", "freihand"])
def test_synthetic_sets_are_read_back(name: str, tmp_path: pathlib.Path, capsys):
    assert main(["synth", f"--set={name}", "--count=4", "--seed=3", f"--out={tmp_path}"]) == 0
    assert main(["check", str(tmp_path), f"--out={tmp_path}/checked"]) == 0
    said = capsys.readouterr().out
    hands = READERS[name](tmp_path, "training")
    assert len(hands) == {"rhd": 4, "freihand": 16}[name]
    assert hands.side.tolist() == (["left", "right"] * 2 if name == "rhd" else ["right"] * 16)
    assert f"training: {len(hands)} hands" in said
    most = re.search(r"within \S+ px \(median\), (\S+) \(most\)", said)
    assert most is not None
    assert float(most[1]) < 0.01
    again = tmp_path / "again"
    assert main(["synth", f"--set={name}", "--count=4", "--seed=3", f"--out={again}"]) == 0
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert len(files) >= 12
    for file in files:
        assert (again / file).read_bytes() == (tmp_path / file).read_bytes(), file


def train(workdir: pathlib.Path, *settings: str) -> subprocess.CompletedProcess[str]:
    few = ["loop.log_every=1", "loop.checkpoint_every=1", "loop.evaluate_every=0", "loop.picture_every=0"]
    few += ["dhpe.networks.iterations=1", "data.synthesis.pose_candidates=1"]
    config = [f"--config={REPOSITORY}/configs/dhpe_paper.py:runlocal", f"--workdir={workdir}"]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    cache = str(workdir.parent / "cache")
    environment |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.run(
        [sys.executable, "-m", "launch.train", *config, *(f"--config.{one}" for one in (*few, *settings))],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def losses(workdir: pathlib.Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in read_metrics(workdir / "metrics.jsonl") if "loss" in line}


@pytest.mark.slow
def test_the_papers_config_trains_from_rhd_and_stb(tmp_path: pathlib.Path):
    """Two steps on both sets; four steps with synthetic images, in one go and stopped in the middle: the same numbers.

    Resumed with the data elsewhere and as records.
    """
    rhd, stb = write_rhd(tmp_path / "data", frames=5).root, tmp_path / "data" / "STB"
    sequences = [f"B{number}{kind}" for number in range(1, 7) for kind in ("Counting", "Random")]
    write_stb(tmp_path / "data", sequences, 1, ("BB",))
    folders = [f"real.sets.rhd.folder={rhd}", f"real.sets.stb.folder={stb}"]
    result = train(tmp_path / "both", *folders, "loop.steps=2")
    assert result.returncode == 0, result.stderr
    assert all(np.isfinite(value) for value in losses(tmp_path / "both").values())
    assert sorted(losses(tmp_path / "both")) == [1, 2]
    recorded = json.loads((tmp_path / "both" / "config.json").read_text())
    assert recorded["real"]["sets"]["stb"]["folder"] == str(stb)

    mixed = ["real.synthetic_share=0.5", folders[0]]
    for workdir, steps in (("whole", 4), ("parts", 2)):
        result = train(tmp_path / workdir, *mixed, f"loop.steps={steps}")
        assert result.returncode == 0, result.stderr
    assert main(["prepare", str(rhd), f"--out={tmp_path}/records"]) == 0
    result = train(tmp_path / "parts", mixed[0], f"real.sets.rhd.folder={tmp_path}/records", "loop.steps=4")
    assert result.returncode == 0, result.stderr
    assert "from step 2 of 4" in result.stderr
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")

    result = train(tmp_path / "parts", "real.synthetic_share=0.25", folders[0], "loop.steps=5")
    assert result.returncode == 2
    assert "real.synthetic_share: 0.5 -> 0.25" in result.stderr


def test_a_config_without_folders_trains_on_synthetic_images():
    config = importlib.import_module("configs.dhpe_paper").get_config()
    assert {name: one.folder for name, one in config.real.sets.items()} == {"rhd": "", "stb": ""}
