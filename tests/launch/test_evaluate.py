"""`python -m launch.evaluate`: scores of errors made by hand; the held-out set of a run; bad input."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import mano_jax
from handpose_jax.dhpe.configuration import TINY_NETWORKS, DhpeOptions, LossOptions, RefinementOptions
from handpose_jax.dhpe.networks import HandMeshEstimator
from handpose_jax.dhpe.synthetic_batches import SyntheticDataOptions
from handpose_jax.dhpe.training import DhpeTraining
from handpose_jax.dhpe.weights import save_weights
from handpose_jax.evaluation.curves import area_under_curve, percentage_of_correct_keypoints
from handpose_jax.evaluation.segmentation import segmentation_criteria
from handpose_jax.projection import MaskOptions
from handpose_jax.synthesis import SynthesisOptions
from launch.evaluate import main
from tests.handpose_jax.dhpe.test_networks import made_up_variables

ROOT = pathlib.Path(__file__).parents[2]
K = np.array([[300.0, 0.0, 48.0], [0.0, 300.0, 48.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    """Three hands: one right, one 6 mm to the right, one not predicted. Truth as .npz and as annotations."""
    folder = tmp_path_factory.mktemp("evaluate")
    model = mano_jax.open_hand("right")
    rotation, translation = np.array([1.0, 1.0, -1.5]), np.array([0.02, 0.0, 0.6])
    parameters = model.pose_mean, np.zeros(10), rotation, translation
    mesh = mano_jax.forward(model, *parameters)
    vertices = np.stack([np.asarray(mesh.vertices)] * 3)
    joints = np.stack([np.asarray(mano_jax.keypoints(model, *parameters))] * 3)
    pixels = vertices[0] @ K.T
    u, v = (pixels[:, axis] / pixels[:, 2] for axis in (0, 1))
    mask = np.zeros((3, 96, 96))
    mask[:, int(v.min()) : int(v.max()) + 1, int(u.min()) : int(u.max()) + 1] = 1.0  # the box: the hand covers part
    np.savez(folder / "truth.npz", joints=joints, vertices=vertices, K=K, mask=mask)
    photos = [{"file": f"{row}.jpg", "K": K.tolist(), "joints_camera_m": joints[row].tolist()} for row in (2, 0, 1)]
    (folder / "truth.json").write_text(json.dumps({"photos": [*photos, {**photos[0], "file": "x.jpg"}]}))
    step = np.array([0.0, 0.006, 0.0])[:, None, None] * np.array([1.0, 0.0, 0.0])
    np.savez(
        folder / "predictions.npz",
        joints=joints + step,
        vertices=vertices + step,
        rotation=np.stack([rotation] * 3),
        side=["right"] * 3,
        valid=[True, True, False],
        image=["0.jpg", "1.jpg", "2.jpg"],
    )
    return folder


def test_scores(files, tmp_path, capsys):
    out = tmp_path / "new"
    assert main([f"--predictions={files / 'predictions.npz'}", f"--truth={files / 'truth.npz'}", f"--out={out}"]) == 0
    scores = json.loads((out / "scores.json").read_text())
    text = capsys.readouterr().out
    assert (scores["hands"], scores["hands_without_prediction"]) == (3, 1)
    predicted = scores["predicted"]
    assert predicted["joints_mm"]["absolute"] == pytest.approx(3.0, abs=1e-3)
    assert predicted["vertices_mm"]["absolute"] == pytest.approx(3.0, abs=1e-3)
    assert predicted["joints_mm"]["root"] == pytest.approx(0.0, abs=1e-3)
    # A third of the joints is missing and counts as wrong; the others are within 20 mm.
    assert predicted["auc"]["absolute"] == pytest.approx(2 / 3)
    assert predicted["pck"]["absolute"][:2] == pytest.approx([1 / 3, 2 / 3])
    # 6 mm at 0.6 m or so, 300 px focal length: about 3 px, for one of two hands.
    assert predicted["joints_px"] == pytest.approx(1.5, rel=0.15)
    criteria = predicted["segmentation"]
    assert 0.3 < criteria["hand_iou"] < criteria["mean_iou"] < criteria["pixel_accuracy"] < 1.0
    # The mean hand is turned and placed as the prediction, whose pose is the mean pose.
    assert scores["mean_hand"]["joints_mm"]["absolute"] == pytest.approx(3.0, abs=1e-3)
    assert "hand iou" in text
    assert "1 without a prediction" in text


def test_truth_is_matched_by_name(files, capsys):
    assert main([f"--predictions={files / 'predictions.npz'}", f"--truth={files / 'truth.json'}"]) == 0
    assert "2D error 1." in capsys.readouterr().out


def test_pck_and_area_by_hand():
    errors = np.array([[0.0, 20.0, 35.0], [50.0, np.nan, 60.0]])
    known = np.array([[True, True, True], [True, True, False]])
    np.testing.assert_allclose(
        percentage_of_correct_keypoints(errors, known, np.array([0, 20, 49, 50])), [0.2, 0.4, 0.6, 0.8]
    )
    assert area_under_curve(errors, known) == pytest.approx((1 + 1 + 0.5 + 0 + 0) / 5)
    grid = np.linspace(20, 50, 30_001)
    sums = percentage_of_correct_keypoints(errors, known, grid).mean()
    assert area_under_curve(errors, known) == pytest.approx(sums, abs=1e-4)
    assert np.isnan(area_under_curve(errors, np.zeros_like(known)))
    with pytest.raises(ValueError, match="low < high"):
        area_under_curve(errors, known, 50, 20)


def test_segmentation_criteria_by_hand():
    truth = np.zeros((3, 2, 4), bool)
    truth[:2, :, :1] = True
    prediction = np.zeros_like(truth)
    prediction[0, :, :2] = True
    prediction[1] = truth[1]
    found = segmentation_criteria(prediction, truth)
    # Image 0: 2 hand pixels all found, 2 of 6 background pixels taken for hand.
    expected = {
        "pixel_accuracy": [6 / 8, 1, 1],
        "mean_accuracy": [(1 + 4 / 6) / 2, 1, 1],
        "mean_iou": [(2 / 4 + 4 / 6) / 2, 1, 1],
        "frequency_weighted_iou": [(2 * 2 / 4 + 6 * 4 / 6) / 8, 1, 1],
        "hand_iou": [0.5, 1, 1],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, err_msg=name)
    with pytest.raises(ValueError, match=r"\[frames, height, width\]"):
        segmentation_criteria(truth[0], truth[0])


@pytest.mark.slow
def test_held_out_hands_of_a_run_in_a_process_of_its_own(tmp_path):
    """Predicts hands that the run never drew, and scores them; the files say the same when they are read again."""
    options = DhpeOptions(
        networks=TINY_NETWORKS,
        losses=LossOptions(mask=MaskOptions(size=16, sigma=0.5)),
        refinement=RefinementOptions(mask_size=16),
    )
    drawn = SyntheticDataOptions(
        batch_size=2, synthesis=SynthesisOptions(image_size=32, supersample=1, pose_candidates=1)
    )
    training = DhpeTraining(seed=5, dhpe=options, data=drawn)
    network = HandMeshEstimator(options.networks, options.parametrisation)
    config = {"system": "dhpe", "model": "open hand", **dataclasses.asdict(training)}
    save_weights(tmp_path / "tiny.json", made_up_variables(network), options, {"config": config})

    out = tmp_path / "scores"
    command = [f"--weights={tmp_path / 'tiny.json'}", "--count=3", "--refine=1", "--true_root_depth", f"--out={out}"]
    done = subprocess.run(
        [sys.executable, "-m", "launch.evaluate", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "3 held-out synthetic hands" in done.stdout
    scores = json.loads((out / "scores.json").read_text())
    assert scores["network"] == "weights tiny.json"
    assert scores["held_out"] == {"seed": 5, "hands": 3}
    assert scores["predicted"]["segmentation"]["pixel_accuracy"] > 0.0
    assert scores["predicted"]["vertices_mm"]["procrustes"] > 1.0
    found, truth = np.load(out / "predictions.npz"), np.load(out / "truth.npz")
    np.testing.assert_allclose(found["joints_direct"][:, 9, 2], truth["joints"][:, 9, 2], rtol=1e-5)
    assert len(np.unique(truth["joints"][:, 0, 0])) == 3
    again = tmp_path / "again"
    files = f"--predictions={out / 'predictions.npz'}", f"--truth={out / 'truth.npz'}"
    assert main([*files, f"--out={again}"]) == 0
    assert json.loads((again / "scores.json").read_text())["predicted"] == scores["predicted"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of --predictions"),
        (["--predictions=predictions.npz"], "needs --truth"),
        (["--predictions=predictions.npz", "--truth=missing.npz"], "missing.npz"),
        (["--predictions=truth.json", "--truth=truth.npz"], "truth.json"),
        (["--predictions=mask.npz", "--truth=truth.npz"], "joints [N, 21, 3]"),
        (["--predictions=short.npz", "--truth=truth.npz"], "3 true hands for 2 predictions"),
        (["--predictions=nothing.npz", "--truth=truth.npz"], "no hand has both"),
        (["--checkpoint=run"], "--out is required"),
        (["--checkpoint=run", "--out=scores"], "no config.json"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(files, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(files)
    arrays = np.load("predictions.npz")
    np.savez("mask.npz", mask=np.zeros(3))
    np.savez("short.npz", joints=arrays["joints"][:2])
    np.savez("nothing.npz", joints=np.full((3, 21, 3), np.nan))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not pathlib.Path("scores").exists()
