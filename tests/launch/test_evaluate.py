"""`python -m launch.evaluate`: scores of errors made by hand; the held-out set; bad input."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import mano_jax
from handpose_jax.dhpe.configuration import TINY_NETWORKS, DhpeOptions, LossOptions, RefinementOptions
from handpose_jax.dhpe.networks import HandMeshEstimator
from handpose_jax.dhpe.training_system import HELD_OUT
from handpose_jax.dhpe.weights import save_weights
from handpose_jax.evaluation.curves import area_under_curve, percentage_of_correct_keypoints
from handpose_jax.evaluation.held_out import HeldOutOptions, about_the_set, held_out_hands, held_out_keys
from handpose_jax.evaluation.score_pictures import gallery
from handpose_jax.evaluation.scores import HandSet, read_true_hands
from handpose_jax.evaluation.segmentation import segmentation_criteria
from handpose_jax.projection import MaskOptions
from handpose_jax.synthesis import SynthesisOptions
from launch.evaluate import main, read_held_out
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
    assert "hand iou  " in text
    assert sorted(path.name for path in out.iterdir()) == ["pck.png", "scores.json"]
    assert "1 without a prediction" in text


def test_truth_is_matched_by_name(files, capsys):
    assert main([f"--predictions={files / 'predictions.npz'}", f"--truth={files / 'truth.json'}"]) == 0
    assert re.search(r"2D error, px +1\.", capsys.readouterr().out)


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
def test_held_out_set_in_a_process_of_its_own(tmp_path):
    """Predicts a set of the user's own, scores it beside all that stands beside it; the files say the same again."""
    options = DhpeOptions(
        networks=TINY_NETWORKS,
        losses=LossOptions(mask=MaskOptions(size=16, sigma=0.5)),
        refinement=RefinementOptions(mask_size=16),
    )
    network = HandMeshEstimator(options.networks, options.parametrisation)
    save_weights(tmp_path / "tiny.json", made_up_variables(network), options)
    (tmp_path / "small_set.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(variant=''):\n"
        "    synthesis = {'supersample': 1, 'pose_candidates': 1, 'quality': 'quick', 'image_size': 500}\n"
        "    return ConfigDict({'seed': 5, 'images': int(variant), 'synthesis': synthesis})\n"
    )

    out = tmp_path / "scores"
    command = [
        f"--weights={tmp_path / 'tiny.json'}",
        "--held_out=small_set.py:4",
        "--count=3",
        "--refine=1",
        "--true_root_depth",
        f"--out={out}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "launch.evaluate", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    size = options.networks.image_size
    assert f"held-out set small_set.py:4: 3 hands at {size} px" in done.stdout
    assert "no refinement  fit from true 2D*        mean hand**" in done.stdout
    scores = json.loads((out / "scores.json").read_text())
    assert scores["network"] == "weights tiny.json"
    about = scores["held_out"]
    assert (about["config"], about["seed"], about["images"]) == ("small_set.py:4", 5, 3)
    assert about["synthesis"]["image_size"] == size
    assert scores["predicted"]["segmentation"]["pixel_accuracy"] > 0.0
    assert scores["predicted"]["vertices_mm"]["procrustes"] > 1.0
    # One step of refinement moves a hand, but not far; perfect 2D joints beat made-up weights.
    before, after = (scores[name]["joints_px"] for name in ("no_refinement", "predicted"))
    assert 0.0 < abs(before - after) < 0.1 * size
    fit = scores["fit_from_true_2d"]
    assert fit["joints_px"] < 0.02 * size < after
    assert fit["joints_mm"]["procrustes"] < min(
        scores[name]["joints_mm"]["procrustes"] for name in ("predicted", "mean_hand")
    )

    found, truth = np.load(out / "predictions.npz"), np.load(out / "truth.npz")
    np.testing.assert_allclose(found["joints_direct"][:, 9, 2], truth["joints"][:, 9, 2], rtol=1e-5)
    assert len(np.unique(truth["joints"][:, 0, 0])) == 3
    for name, width in (("pck.png", 1000), ("gallery.png", 200)):
        with Image.open(out / name) as picture:
            assert picture.width > width
    again = tmp_path / "again"
    for column, name in (("predicted", "predictions"), ("no_refinement", "no_refinement")):
        files = f"--predictions={out / name}.npz", f"--truth={out / 'truth.npz'}"
        assert main([*files, f"--out={again}"]) == 0
        assert json.loads((again / "scores.json").read_text())["predicted"] == scores[column]


@pytest.mark.slow
def test_a_fit_from_true_2d_stands_beside_files(files, tmp_path, capsys):
    """The truth's pose is the mean pose, which perfect joints give back but for the size that one image cannot tell."""
    out = tmp_path / "new"
    flags = [f"--predictions={files / 'predictions.npz'}", f"--truth={files / 'truth.npz'}", "--fit_from_2d"]
    assert main([*flags, f"--out={out}"]) == 0
    scores = json.loads((out / "scores.json").read_text())
    fit = scores["fit_from_true_2d"]
    assert fit["joints_mm"]["procrustes"] < 1.0
    assert fit["joints_px"] < 0.5
    # Of the same hands as the predictions: the third has none, and counts as wrong in every column.
    assert fit["pck"]["procrustes"][-1] == pytest.approx(2 / 3)
    assert "fit from true 2D*" in capsys.readouterr().out
    assert "no_refinement" not in scores["definitions"]
    assert np.load(out / "fit_from_true_2d.npz")["valid"].tolist() == [True, True, True]


def test_pictures_of_files(files, tmp_path, capsys):
    """Curves always, a gallery where the truth has images; no names of images are taken for images."""
    truth = dict(np.load(files / "truth.npz"))
    shade = np.arange(3, dtype=np.uint8)[:, None, None, None]
    np.savez(tmp_path / "pictured.npz", **truth, image=np.full((3, 96, 96, 3), 90, np.uint8) + shade)
    np.savez(tmp_path / "named.npz", **truth, image=np.array(["a", "b", "c"]))
    for name, pictures in (("named", ["pck.png"]), ("pictured", ["gallery.png", "pck.png"])):
        out = tmp_path / name
        assert (
            main([f"--predictions={files / 'predictions.npz'}", f"--truth={tmp_path / name}.npz", f"--out={out}"]) == 0
        )
        assert sorted(path.name for path in out.glob("*.png")) == pictures


def test_the_gallery_shows_the_worst_first(files):
    """Joints of three hands are moved by 0, 20 and 5 mm; each image has a shade of its own."""
    truth = read_true_hands(files / "truth.npz", {"joints": np.zeros((3, 21, 3))})
    moves = np.random.default_rng(0).normal(size=(21, 3)) * np.array([0.0, 0.02, 0.005])[:, None, None]
    shades = np.array([40, 120, 200], np.uint8)
    truth |= {"image": np.broadcast_to(shades[:, None, None, None], (3, 96, 96, 3))}
    hands = HandSet(truth["joints"] + moves, truth["vertices"], np.array(["right"] * 3), None)
    sheet = np.asarray(gallery(hands, truth, {"right": mano_jax.open_hand("right")}))
    third = sheet.shape[0] // 3
    assert [int(sheet[row * third + 44, 20, 0]) for row in range(3)] == [120, 200, 40]
    # Below each image the same with the mesh: somewhere it is another colour.
    assert all(
        (sheet[row * third + 260 : row * third + 480, 6:230] != shades[n]).any() for row, n in enumerate((1, 2, 0))
    )
    with pytest.raises(ValueError, match="needs images in the truth"):
        gallery(hands, {name: truth[name] for name in ("joints", "K")}, {})


@pytest.mark.slow
def test_a_larger_held_out_set_begins_with_the_smaller():
    synthesis = SynthesisOptions(image_size=32, quality="quick", supersample=1, pose_candidates=1, object_share=1.0)
    options, model = HeldOutOptions(seed=3, images=65, synthesis=synthesis), mano_jax.open_hand("right")
    larger = held_out_hands(options, model)
    smaller = held_out_hands(dataclasses.replace(options, images=64), model)
    assert larger["image"].dtype == np.uint8
    assert larger["image"].shape == (65, 32, 32, 3)
    for name, values in smaller.items():
        np.testing.assert_array_equal(larger[name][:64], values, err_msg=name)
    assert len(np.unique(larger["joints"][:, 0, 0])) == 65
    assert not (larger["visible_mask"] & ~larger["mask"]).any()
    assert ((larger["hidden"] >= 0.0) & (larger["hidden"] <= 1.0)).all()
    about = about_the_set(options, larger)
    assert about["occluded_share"] == pytest.approx(np.mean(larger["hidden"] > 0.1))
    assert 0.0 < about["occluded_share"] < 1.0
    assert json.loads(json.dumps(about))["synthesis"]["object_share"] == 1.0


def test_held_out_keys_are_none_of_training():
    """Neither those of a run's steps nor those of the hands it is evaluated on, even with the same seed."""
    own = np.asarray(jax.random.key_data(held_out_keys(HeldOutOptions(seed=3, images=64))))
    keys = {tuple(row) for row in own.tolist()}
    assert len(keys) == 64
    base = jax.random.key(3)
    for one in (base, jax.random.fold_in(base, HELD_OUT)):
        steps = jax.vmap(lambda step, one=one: jax.random.fold_in(one, step))(np.arange(1000))
        batches = jax.vmap(lambda key: jax.random.split(key, 32))(steps)
        drawn = np.concatenate([np.asarray(jax.random.key_data(part)).reshape(-1, 2) for part in (steps, batches)])
        assert keys.isdisjoint({tuple(row) for row in drawn.tolist()})


def test_the_committed_held_out_set():
    """Its fields are those of the options; the quick variant is its beginning."""
    name, whole = read_held_out(None)
    quick_name, quick = read_held_out(f"{ROOT / 'configs' / 'held_out.py'}:quick")
    assert (name, quick_name) == ("held_out.py", "held_out.py:quick")
    assert (whole.images, quick.images) == (2048, 64)
    assert dataclasses.replace(quick, images=2048) == whole
    # What issue of the set it is: another value is another set, whose scores cannot be compared.
    assert whole.seed == 2019
    assert (whole.synthesis.view_along, whole.synthesis.pose_spread) == ((-0.80, 0.50), 1.0)
    assert (whole.synthesis.object_share, whole.synthesis.second_hand_share) == (0.5, 0.4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--out is required"),
        (["--predictions=predictions.npz", "--weights=a.json"], "give one of --predictions"),
        (["--truth=truth.npz", "--out=scores"], "--truth belongs to --predictions"),
        (["--predictions=predictions.npz"], "needs --truth"),
        (["--predictions=predictions.npz", "--truth=missing.npz"], "missing.npz"),
        (["--predictions=truth.json", "--truth=truth.npz"], "truth.json"),
        (["--predictions=mask.npz", "--truth=truth.npz"], "joints [N, 21, 3]"),
        (["--predictions=short.npz", "--truth=truth.npz"], "3 true hands for 2 predictions"),
        (["--predictions=nothing.npz", "--truth=truth.npz"], "no hand has both"),
        (["--checkpoint=run"], "--out is required"),
        (["--checkpoint=run", "--out=scores"], "no config.json"),
        (["--predictions=predictions.npz", "--truth=truth.npz", "--count=3"], "--held_out and --count belong to"),
        (["--predictions=predictions.npz", "--truth=blind.npz", "--fit_from_2d"], "needs cameras"),
        (["--checkpoint=run", "--out=scores", "--held_out=missing.py"], "missing.py: no such file"),
        (["--checkpoint=run", "--out=scores", "--held_out=empty.py:quick"], "must define get_config(variant)"),
        (["--checkpoint=run", "--out=scores", "--held_out=broken.py"], "broken.py: cannot be run (SyntaxError"),
        (["--checkpoint=run", "--out=scores", "--held_out=typo.py"], "did you mean typo.py.synthesis.object_share"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(files, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(files)
    arrays = np.load("predictions.npz")
    np.savez("mask.npz", mask=np.zeros(3))
    np.savez("short.npz", joints=arrays["joints"][:2])
    np.savez("nothing.npz", joints=np.full((3, 21, 3), np.nan))
    np.savez("blind.npz", joints=arrays["joints"])
    pathlib.Path("empty.py").write_text("")
    pathlib.Path("broken.py").write_text("def get_config(:\n")
    pathlib.Path("typo.py").write_text(
        "import ml_collections\n"
        "get_config = lambda variant: ml_collections.ConfigDict({'synthesis': {'objects_share': 0.1}})\n"
    )
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not pathlib.Path("scores").exists()
