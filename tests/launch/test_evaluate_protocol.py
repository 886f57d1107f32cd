"""`python -m launch.evaluate --protocol`: whole runs on small files, and bad input."""

import json
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from handpose_jax.evaluation.protocols import PROTOCOLS
from launch.evaluate import main

FIGURES = ("mean_error_mm", "median_error_mm", "auc_20_50", "auc_20_50_grid20", "auc_0_50")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    """Thirty hands; predictions 6 mm to the right and 30 mm off, one row of each missing; text files of two sets."""
    folder = tmp_path_factory.mktemp("protocol")
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 21, 3)) * 0.04 + (0.0, 0.0, 0.6)
    near, far = truth + np.array([0.006, 0.0, 0.0]), truth + rng.normal(size=truth.shape) * 0.03 / np.sqrt(3)
    truth[:3, 20] = np.nan
    valid = np.arange(30) != 5
    np.savez(folder / "truth.npz", joints=truth)
    np.savez(folder / "near.npz", joints=near, valid=valid)
    far[7] = np.nan
    np.savez(folder / "far.npz", joints=far)
    np.savez(folder / "short.npz", joints=near[:29])
    np.savez(folder / "flat.npz", joints=near[:, :, :2])
    np.savez(folder / "nothing.npz", joints=np.full((30, 21, 3), np.nan))
    np.savez(folder / "meshes.npz", joints=near, vertices=rng.normal(size=(30, 12, 3)), valid=valid)
    (folder / "curve.txt").write_text("20 0.3\n35 0.6\n50 0.9\n")
    for name, joints in (("icvl", 16), ("nyu", 14)):
        pixels = rng.uniform(100, 200, size=(40, 3 * joints))
        pixels[:, 2::3] += 400
        np.savetxt(folder / f"{name}_truth.txt", pixels, fmt="%.3f")
        pixels[:, 2::3] += rng.normal(size=(40, joints)) * 10
        np.savetxt(folder / f"{name}.txt", pixels, fmt="%.3f", newline=" \n")
    (folder / "odd.txt").write_text("1 2 3 4\n")
    (folder / "words.txt").write_text(" ".join(["1 2 x"] * 16))
    return folder


def run(files: pathlib.Path, out: pathlib.Path, protocol: str, *rest: str) -> dict:
    assert main([f"--protocol={protocol}", f"--out={out}", *rest]) == 0
    with Image.open(out / "pck.png") as picture:
        assert picture.width > 1000
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "pck.png"]
    return json.loads((out / "metrics.json").read_text())


@pytest.mark.parametrize("name", ["rhd", "stb", "dexter_object", "freihand"])
def test_rgb(files, tmp_path, name):
    """A shift of 6 mm is an error only where nothing is subtracted; the invalid row is above every threshold."""
    flags = f"--predictions={files / 'near.npz'}", f"--groundtruth={files / 'truth.npz'}"
    content = run(files, tmp_path / "new" / "folder", name, *flags)
    assert (content["protocol"], content["alignment"]) == (name, PROTOCOLS[name].alignment)
    shift = 6.0 if name == "dexter_object" else 0.0
    assert content["mean_error_mm"] == pytest.approx(shift, abs=1e-9)
    assert content["missing_frames"] == 1
    assert content["frames_max_error_within_mm"]["10"] == pytest.approx(29 / 30)
    assert list(content["frames_max_error_within_mm"]) == [str(d) for d in range(10, 90, 10)]
    # Joint 20 is known in 27 frames, the others in 30.
    count = len(content["per_joint_mean_mm"])
    reached = ((count - 1) * 29 / 30 + 26 / 27) / count
    assert content["auc_20_50"] == pytest.approx(reached)
    assert content["auc_20_50_grid20"] == pytest.approx(reached)
    for beside, mean in (("tip_centroid_scale", 0.0), ("unaligned", 6.0)):
        assert (beside in content) == (beside in PROTOCOLS[name].beside)
        if beside in content:
            assert content[beside]["mean_error_mm"] == pytest.approx(mean, abs=1e-9)
    low, high = content["intervals_95"]["auc_20_50"]
    assert low < reached < high <= 1.0
    assert content["alignment"] in content["definitions"]


def test_one_table_of_several(files, tmp_path, capsys):
    """Repeated flags and commas; published curves beside; the figures at the top are the first file's."""
    flags = [
        f"--predictions=ours={files / 'far.npz'},{files / 'near.npz'}",
        f"--predictions={files / 'nothing.npz'}",
        f"--groundtruth={files / 'truth.npz'}",
        f"--reference=Published 2017={files / 'curve.txt'}",
        "--sequences=10,20",
    ]
    content = run(files, tmp_path, "stb", *flags)
    assert list(content["methods"]) == ["ours", "near", "nothing"]
    for figure in FIGURES:
        assert content[figure] == content["methods"]["ours"][figure]
    assert content["methods"]["nothing"]["mean_error_mm"] is None
    assert content["references"]["Published 2017"]["auc_20_50"] == pytest.approx(0.6)
    assert content["acceleration"]["frames"] == 8 + 18 - 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["ours", "near", "nothing"]
    assert lines[2].split()[1] == f"{content['mean_error_mm']:.3f}"
    # As JSON the same hands have the same figures.
    arrays = np.load(files / "far.npz")
    rows = json.dumps({"joints": arrays["joints"].tolist()}).replace("NaN", "null")
    (tmp_path / "far.json").write_text(rows)
    truth = json.dumps({"joints": np.load(files / "truth.npz")["joints"].tolist()})
    (tmp_path / "truth.json").write_text(truth)
    flags = f"--predictions={tmp_path / 'far.json'}", f"--groundtruth={tmp_path / 'truth.json'}", "--sequences=10,20"
    again = run(files, tmp_path / "json", "stb", *flags)
    for figure in (*FIGURES, "frames_max_error_within_mm", "per_joint_mean_mm", "intervals_95", "acceleration"):
        assert again[figure] == content[figure], figure


@pytest.mark.parametrize(
    ("name", "camera"), [("icvl", (240.99, 240.96, 160, 120)), ("nyu", (588.03, -587.07, 320, 240))]
)
def test_depth(files, tmp_path, name, camera):
    """The community's own program, in four lines: errors over all joints and frames, frames by their largest."""
    names = files / f"{name}.txt", files / f"{name}_truth.txt"
    content = run(files, tmp_path, name, f"--predictions={names[0]}", f"--groundtruth={names[1]}")
    points = [np.loadtxt(path).reshape(40, -1, 3) for path in names]
    for array in points:
        array[..., 0] = (array[..., 0] - camera[2]) * array[..., 2] / camera[0]
        array[..., 1] = (array[..., 1] - camera[3]) * array[..., 2] / camera[1]
    errors = np.sqrt(((points[0] - points[1]) ** 2).sum(axis=2))
    assert content["mean_error_mm"] == pytest.approx(errors.mean(), abs=1e-6)
    assert content["median_error_mm"] == pytest.approx(np.median(errors), abs=1e-6)
    np.testing.assert_allclose(content["per_joint_mean_mm"], errors.mean(axis=0), atol=1e-6)
    assert content["frames_max_error_within_mm"]["20"] == np.mean(errors.max(axis=1) <= 20)
    assert content["frames_mean_error_within_mm"]["10"] == np.mean(errors.mean(axis=1) <= 10)
    assert content["alignment"] == "none"
    assert content["missing_frames"] == 0


def test_submission(files, tmp_path, capsys):
    """Written from predictions, scored as predictions."""
    path = tmp_path / "new" / "pred.json"
    assert main(["--protocol=freihand", f"--predictions={files / 'meshes.npz'}", f"--submission={path}"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"{path}: 30 frames; the evaluation set has 3960",
        f"{path}: 1 frames without a prediction; zeros are written in their place",
    ]
    assert [entry.name for entry in path.parent.iterdir()] == ["pred.json"]
    joints, vertices = json.loads(path.read_text())
    assert (len(joints), len(vertices[0])) == (30, 12)
    assert not np.any(joints[5])
    content = run(files, tmp_path / "out", "freihand", f"--predictions={path}", f"--groundtruth={files / 'meshes.npz'}")
    # The row that the truth lacks is no row to score.
    assert content["mean_error_mm"] == pytest.approx(0.0, abs=1e-3)
    assert content["unaligned"]["vertices"]["f_at_5_mm"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--protocol=rdh"], "no protocol 'rdh'; there are rhd, stb"),
        (["--protocol=rhd"], "needs --predictions"),
        (["--protocol=rhd", "--predictions=near.npz"], "needs --groundtruth"),
        (["--protocol=rhd", "--predictions=near.npz", "--truth=truth.npz"], "truth of a protocol is --groundtruth"),
        (["--protocol=rhd", "--predictions=missing.npz"], "missing.npz"),
        (["--protocol=rhd", "--predictions=short.npz"], "29 frames of predictions for 30 of truth in truth.npz"),
        (["--protocol=rhd", "--predictions=flat.npz"], "joints must be numbers [N, 21, 3], got float64 [30, 21, 2]"),
        (["--protocol=rhd", "--predictions=icvl.txt"], "files of rhd are .npz or .json"),
        (["--protocol=rhd", "--predictions=near.npz,near.npz"], "near.npz is given twice"),
        (["--protocol=rhd", "--predictions=near.npz", "--reference=curve.txt"], "expected NAME=FILE"),
        (["--protocol=rhd", "--predictions=near.npz", "--sequences=10,10"], "20 frames, but the truth has 30"),
        (
            ["--protocol=icvl", "--predictions=nyu.txt", "--groundtruth=icvl_truth.txt"],
            "line 1: 42 columns; icvl has u v d",
        ),
        (["--protocol=icvl", "--predictions=odd.txt", "--groundtruth=icvl_truth.txt"], "odd.txt line 1: 4 columns"),
        (
            ["--protocol=icvl", "--predictions=words.txt", "--groundtruth=icvl_truth.txt"],
            "line 1: a column is not a number",
        ),
        (["--protocol=stb", "--predictions=near.npz", "--submission=a.json"], "with --protocol=freihand"),
        (["--protocol=stb", "--predictions=near.npz", "--groundtruth=nothing.npz"], "no joint has a truth"),
        (["--predictions=near.npz", "--predictions=far.npz", "--truth=truth.npz"], "compared under a --protocol"),
        (["--predictions=near.npz", "--reference=a=curve.txt"], "--reference belongs to --protocol"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(files, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(files)
    if any(
        word in words for word in ("29 frames", "missing", "21, 3]", "files of rhd", "twice", "NAME", "the truth has")
    ):
        arguments = [*arguments, "--groundtruth=truth.npz"]
    assert main([*arguments, "--out=scores"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not pathlib.Path("scores").exists()


@pytest.mark.parametrize("flags", [["--protocol=rhd", "--groundtruth=truth.npz"], ["--truth=truth.npz"]])
def test_no_matplotlib_is_said_before_any_work(files, monkeypatch, capsys, flags):
    monkeypatch.chdir(files)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["--predictions=near.npz", "--out=scores", *flags]) == 2
    captured = capsys.readouterr()
    assert "pip install matplotlib" in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert not pathlib.Path("scores").exists()
    # Without plots nobody needs it.
    assert main(["--predictions=near.npz", *flags]) == 0
