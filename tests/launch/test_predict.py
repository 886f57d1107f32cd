"""`python -m launch.predict` on photographs of both sides with made-up weights; and what is said of bad input."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import trimesh
from PIL import Image

import mano_jax
from handpose_jax.dhpe.configuration import TINY_NETWORKS, DhpeOptions, LossOptions, RefinementOptions
from handpose_jax.dhpe.networks import HandMeshEstimator
from handpose_jax.dhpe.weights import save_weights
from handpose_jax.projection import MaskOptions
from launch.predict import main
from tests.handpose_jax.dhpe.test_networks import made_up_variables

ROOT = pathlib.Path(__file__).parents[2]
K = [[150.0, 0.0, 70.0], [0.0, 150.0, 50.0], [0.0, 0.0, 1.0]]
WIDTH, HEIGHT = 150, 110


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """weights.json, a photograph, its mirror image, a file that is none, and annotations with boxes."""
    folder = tmp_path_factory.mktemp("predict")
    options = DhpeOptions(
        networks=TINY_NETWORKS,
        losses=LossOptions(mask=MaskOptions(size=16, sigma=0.5)),
        refinement=RefinementOptions(steps=2, mask_size=16),
    )
    network = HandMeshEstimator(options.networks, options.parametrisation)
    save_weights(folder / "weights.json", made_up_variables(network), options)
    coarse = np.random.default_rng(0).integers(0, 256, (11, 15, 3)).astype(np.uint8)
    photograph = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    (folder / "photos").mkdir()
    photograph.save(folder / "photos" / "right.png")
    photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "photos" / "left.png")
    (folder / "photos" / "torn.png").write_bytes((folder / "photos" / "right.png").read_bytes()[:500])
    mirrored = json.loads(json.dumps(K))
    mirrored[0][2] = WIDTH - K[0][2]
    photos = [
        {"file": "right.png", "side": "right", "K": K, "box": [30, 20, 50, 60]},
        {"file": "left.png", "side": "left", "K": mirrored, "box": [WIDTH - 80, 20, 50, 60]},
        {"file": "torn.png", "side": "left", "K": K, "box": [30, 20, 50, 60]},
        {"file": "right.png", "side": "right", "K": K, "box": [400, 20, 50, 60]},
    ]
    (folder / "annotations.json").write_text(json.dumps({"photos": photos}))
    return folder


@pytest.mark.slow
def test_both_sides_and_bad_rows_in_a_process_of_its_own(folder):
    """The mirror image is predicted as the mirrored hand; what cannot be predicted is a row of NaN and a line."""
    command = [sys.executable, "-m", "launch.predict", "photos", "--annotations=annotations.json", "--out=out/here"]
    command += ["--weights=weights.json", "--mesh=obj", "--batch_size=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 hands predicted" in done.stdout
    assert "estimated from the model's own size" in done.stdout
    assert "refined 2 steps" in done.stdout
    assert "hand 2 not predicted" in done.stderr
    assert "outside the image of 150x110" in done.stderr

    out = folder / "out" / "here"
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    hands = ["left", "right_0"]
    expected = [f"{kind}/{name}.png" for kind in ("evidence", "refinement") for name in hands]
    expected += [f"refinement/{name}.gif" for name in hands] + [f"meshes/{name}.obj" for name in hands]
    expected += ["overlays/left.png", "overlays/right.png", "predictions.json", "predictions.npz", "contact_sheet.png"]
    assert names == sorted(expected)

    found = np.load(out / "predictions.npz")
    np.testing.assert_array_equal(found["valid"], [True, True, False, False])
    assert np.isnan(found["vertices"][2:]).all()
    np.testing.assert_array_equal(found["side"][:2], ["right", "left"])
    for name in ("vertices", "joints", "translation"):
        np.testing.assert_allclose(found[name][1], found[name][0] * (-1, 1, 1), atol=1e-4, err_msg=name)
    np.testing.assert_allclose(found["joints_2d_px"][1], found["joints_2d_px"][0] * (-1, 1) + (WIDTH, 0), atol=1e-2)
    for row, side in enumerate(("right", "left")):
        parameters = [found[name][row] for name in ("pose", "shape", "rotation", "translation")]
        model = mano_jax.open_hand(side)
        np.testing.assert_allclose(mano_jax.forward(model, *parameters).vertices, found["vertices"][row], atol=1e-5)
        np.testing.assert_allclose(mano_jax.keypoints(model, *parameters), found["joints"][row], atol=1e-5)
    mesh = trimesh.load(out / "meshes" / "left.obj", process=False)
    np.testing.assert_allclose(mesh.vertices, found["vertices"][1], atol=1e-5)  # type: ignore[union-attr]

    content = json.loads((out / "predictions.json").read_text())
    assert content["summary"]["depth"] == {"estimate": 2}
    assert content["hands"][0]["refinement"]["iterations"] == [0, 1, 2]
    assert content["hands"][0]["camera"]["K"] == K
    assert content["hands"][1]["side_source"] == "given"
    assert "problem" in content["hands"][3]
    with Image.open(out / "evidence" / "left.png") as panel:
        assert np.asarray(panel.convert("L")).std() > 10


@pytest.mark.slow
def test_a_hand_of_unknown_side_is_seen_as_both(folder, monkeypatch, capsys):
    """The crop and its mirror image are predicted; what is kept is what that side alone would have given."""
    monkeypatch.chdir(folder)
    arguments = ["photos/right.png", "--box=30,20,50,60", "--weights=weights.json", "--nooverlays", "--panels=1"]
    assert main([*arguments, "--out=auto"]) == 0
    assert "side of 1 hands not known: seen as" in capsys.readouterr().out
    found = np.load(folder / "auto" / "predictions.npz")
    side = str(found["side"][0])
    assert main([*arguments, f"--side={side}", "--out=given"]) == 0
    given = np.load(folder / "given" / "predictions.npz")
    other = "left" if side == "right" else "right"
    assert main([*arguments, f"--side={other}", "--out=other"]) == 0
    for name in ("vertices", "h", "confidence"):
        np.testing.assert_allclose(found[name], given[name], atol=1e-5, err_msg=name)
    confidence = np.load(folder / "other" / "predictions.npz")["confidence"]
    assert np.log(np.maximum(confidence, 1e-3)).sum() <= np.log(np.maximum(given["confidence"], 1e-3)).sum()
    content = json.loads((folder / "auto" / "predictions.json").read_text())
    assert content["hands"][0]["side_source"] == "chosen by confidence"
    assert (folder / "auto" / "evidence" / "right.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos/right.png", "--weights=weights.json", "--checkpoint=photos"], "both name a network"),
        (["photos/right.png", "--weights=missing.json"], "missing.json: No such file"),
        (["photos/right.png", "--weights=annotations.json"], "expected the JSON of DHPE weights"),
        (["photos/right.png", "--weights=other.json"], "weights of another architecture"),
        (["photos/right.png", "--checkpoint=photos"], "no config.json"),
        (["photos/missing.png", "--weights=weights.json"], "no such image or folder"),
        (["photos/torn.png", "--weights=weights.json"], "not a readable image"),
        (["weights.json", "--weights=weights.json"], "not a readable image"),
        (["photos/right.png", "--weights=weights.json", "--box=200,10,20,20"], "outside the image of 150x110"),
        (["photos/right.png", "--weights=weights.json", "--box=1,2,3"], "four numbers"),
        (["photos", "--weights=weights.json", "--box=1,2,3,4"], "--box is of one image, got 3"),
        (["photos/right.png", "--weights=weights.json", "--K=1,2"], "--K must be four numbers"),
        (["photos/right.png", "--weights=weights.json", "--root_depth=truth"], "needs --annotations"),
        (["photos/right.png", "--weights=weights.json", "--root_depth=-1"], "--root_depth must be metres"),
        (["photos/right.png", "--weights=weights.json", "--hand_length_mm=1"], "between 50 and 400"),
        (["photos/right.png", "--weights=weights.json", "--field=box"], "--annotations, which is missing"),
        (["photos/right.png", "--weigths=weights.json"], "Did you mean: weights"),
        ([], "name an image"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(folder)
    other = json.loads((folder / "weights.json").read_text())
    other["options"]["networks"]["pose_machine_width"] = 0.1
    (folder / "other.json").write_text(json.dumps(other))
    assert main([*arguments, "--out=nowhere/at_all"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (folder / "nowhere").exists()
