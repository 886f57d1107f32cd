"""`python -m launch.refine_benchmark`, on tiny sizes."""

import json

import pytest
from PIL import Image

import mano_jax
from handpose_jax.dhpe.configuration import TINY_NETWORKS
from handpose_jax.dhpe.refinement_timing import time_eq13
from launch import refine_benchmark


@pytest.mark.slow
def test_masks(tmp_path, capsys):
    flags = ("--image_size=32", "--batch=1,3", "--iterations=3", "--problems=2", "--repeats=1", "--level=easy")
    solvers = "--solvers=gauss_newton,gradient_descent"
    assert refine_benchmark.main([*flags, solvers, f"--out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "batch 3:" in printed
    assert "wrong masks" in printed
    report = json.loads((tmp_path / "refine_benchmark.json").read_text())
    assert [row["batch"] for row in report["batches"]] == [1, 3]
    assert all(row["images_a_second"] > 0 and row["compile_s"] > 0 for row in report["batches"])
    assert set(report["errors"]) == {"easy", "wrong masks"}
    gauss_newton, descent = report["convergence"]["gauss_newton"], report["convergence"]["gradient_descent"]
    assert len(gauss_newton["mean_cost"]) == len(descent["mean_cost"]) == 4
    assert gauss_newton["mean_cost"][0] == pytest.approx(descent["mean_cost"][0], rel=1e-4)
    assert gauss_newton["mean_cost"][-1] <= gauss_newton["mean_cost"][0]
    for name in ("throughput.png", "convergence.png"):
        assert Image.open(tmp_path / name).width > 500


@pytest.mark.slow
def test_keypoints(capsys):
    assert refine_benchmark.main(["--case=keypoints", "--batch=2", "--repeats=1"]) == 0
    assert "hands a second" in capsys.readouterr().out


@pytest.mark.slow
def test_eq13_at_tiny_sizes():
    row = time_eq13(mano_jax.open_hand("right"), batch=2, iterations=2, repeats=1, seed=0, networks=TINY_NETWORKS)
    assert row["ms_an_image"] > 0
    assert row["bound_ms_an_image"] > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch=0"], "--batch must be whole numbers above 0"),
        (["--batch=many"], "--batch must be whole numbers above 0"),
        (["--level=absurd"], "--level must be one of easy, medium"),
        (["--solvers=newton"], "--solvers are gauss_newton"),
        (["--case=nothing"], "case"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_bad_flags(tmp_path, capsys, flags, message):
    assert refine_benchmark.main([*flags, f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
