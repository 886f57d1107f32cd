"""`python -m launch.fit` end to end: what it writes and prints, and one clear line with exit code 2 for bad input."""

import json
import os
import pathlib
import pickle
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image

import mano_jax
from handpose_jax.evaluation.fit_report import ARRAY_NAMES
from launch.fit import main

REPOSITORY = pathlib.Path(__file__).parents[2]
K = np.array([[480.0, 0.0, 128.0], [0.0, 480.0, 128.0], [0.0, 0.0, 1.0]])
SIDES = ("right", "left", "right", "left")
"""Two of each: fits of one hand and of many are different compiled programs, and one is enough here."""


@pytest.fixture(scope="session")
def true_joints() -> np.ndarray:
    """Four open hands half a metre away, slightly bent, backs or palms to the camera; [4, 21, 3] metres."""
    rng = np.random.default_rng(0)
    joints = []
    for side, turn in zip(SIDES, (0.0, 0.0, np.pi, np.pi), strict=True):
        model = mano_jax.open_hand(side)
        # Fingers up in the image (the model's -x to the camera's -y), then turned about the vertical.
        facing = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        if side == "left":
            facing = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        about_vertical = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        coefficients = rng.normal(size=45) * np.asarray(model.pose_standard_deviations) * 0.4
        pose = mano_jax.pose_from_coefficients(model, coefficients)
        zeros = jnp.zeros(3)
        points = np.asarray(mano_jax.keypoints(model, pose, jnp.zeros(model.shape_size), zeros, zeros), np.float64)
        points = (points - points.mean(axis=0)) @ (about_vertical @ facing).T
        joints.append(points + np.array([0.01, -0.01, 0.5]))
    return np.stack(joints)


@pytest.fixture(scope="session")
def true_pixels(true_joints) -> np.ndarray:
    projected = true_joints @ K.T
    return projected[..., :2] / projected[..., 2:]


@pytest.fixture(scope="session")
def batch(tmp_path_factory, true_joints, true_pixels) -> pathlib.Path:
    """A folder with inputs in several formats."""
    folder = tmp_path_factory.mktemp("input")
    cameras = np.tile(K, (4, 1, 1))
    np.savez(folder / "batch.npz", keypoints=true_pixels, K=cameras, side=SIDES)
    np.savez(folder / "truth.npz", joints=true_joints)
    photos = []
    for row, side in enumerate(SIDES):
        Image.new("RGB", (256, 256), (40, 60 + 40 * row, 90)).save(folder / f"photo{row}.png")
        photos.append(
            {
                "file": f"photo{row}.png",
                "side": side,
                "K": K.tolist(),
                "keypoints_px": true_pixels[row].tolist(),
                "joints_camera_m": true_joints[row].tolist(),
            }
        )
    (folder / "photos.json").write_text(json.dumps({"image_size": 256, "photos": photos}))
    return folder


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_batch_with_one_bad_hand(capsys, batch, tmp_path, true_pixels, true_joints):
    """Two good hands, one without keypoints, one without a camera: rows of NaN and lines on stderr, exit code 0."""
    keypoints = true_pixels[[0, 1, 2, 0]]
    keypoints[1] = np.nan
    cameras = np.tile(K, (4, 1, 1))
    cameras[3] = -1.0
    np.savez(tmp_path / "batch.npz", keypoints=keypoints, K=cameras)
    np.savez(tmp_path / "truth.npz", joints=true_joints[[0, 1, 2, 0]])
    out = tmp_path / "new" / "out"
    arguments = [f"--keypoints={tmp_path}/batch.npz", f"--out={out}", f"--truth={tmp_path}/truth.npz", "--mesh=ply"]
    code, stdout, stderr = run(capsys, *arguments)
    assert code == 0, stderr
    lines = [line for line in stderr.splitlines() if "not fitted" in line]
    assert len(lines) == 2
    assert "hand 1 not fitted" in lines[0]
    assert "hand 3 not fitted" in lines[1]
    assert "> 0" in lines[1]

    with np.load(out / "fits.npz") as fits:
        assert set(fits.files) == set(ARRAY_NAMES)
        shapes = {name: fits[name].shape for name in fits.files}
        assert shapes == {
            "vertices": (4, 778, 3),
            "joints": (4, 21, 3),
            "pose": (4, 45),
            "shape": (4, 10),
            "rotation": (4, 3),
            "translation": (4, 3),
            "side": (4,),
            "valid": (4,),
            "residual_px": (4,),
            "joint_covariance_m2": (4, 21, 3, 3),
            "joint_std_m": (4, 21),
        }
        np.testing.assert_array_equal(fits["valid"], [True, False, True, False])
        assert np.isnan(fits["vertices"][[1, 3]]).all()
        assert np.isfinite(fits["vertices"][[0, 2]]).all()
        # What forward says of the parameters, in the model of the side that was found.
        for row in (0, 2):
            model = mano_jax.open_hand(str(fits["side"][row]))
            mesh = mano_jax.forward(model, *(fits[name][row] for name in ("pose", "shape", "rotation", "translation")))
            np.testing.assert_allclose(mesh.vertices, fits["vertices"][row], atol=1e-5)
        variances = np.trace(fits["joint_covariance_m2"][[0, 2]], axis1=-2, axis2=-1) / 3
        np.testing.assert_allclose(fits["joint_std_m"][[0, 2]] ** 2, variances, rtol=1e-4)
        projected = fits["joints"].astype(float) @ K.T
        distances = np.linalg.norm(projected[..., :2] / projected[..., 2:] - keypoints, axis=-1)
        np.testing.assert_allclose(fits["residual_px"][[0, 2]], np.sqrt((distances**2).mean(1))[[0, 2]], atol=1e-3)
        assert fits["residual_px"][[0, 2]].max() < 6.0
        joints = fits["joints"]

    metrics = json.loads((out / "metrics.json").read_text())
    absolute = 1000 * np.linalg.norm(joints - true_joints[[0, 1, 2, 0]], axis=-1)[[0, 2]].mean()
    assert metrics["absolute"] == pytest.approx(absolute, rel=1e-5)
    assert (metrics["frames"], metrics["frames_without_prediction"]) == (2, 2)
    assert metrics["procrustes"] < metrics["root"]
    assert f"{metrics['procrustes']:.2f} mm" in stdout
    assert "side found by trying both" in stdout

    report = json.loads((out / "fits.json").read_text())
    assert report["summary"]["fitted"] == 2
    assert report["summary"]["absolute_scale"] == "known"
    assert report["joint_order"] == list(mano_jax.KEYPOINT_NAMES)
    assert report["hands"][1]["problem"]
    np.testing.assert_allclose(report["hands"][2]["joints"], joints[2], rtol=1e-5, atol=1e-8)
    assert sorted(path.name for path in (out / "meshes").iterdir()) == ["hand_00000.ply", "hand_00002.ply"]
    assert not list(out.rglob("*unfinished*"))


def test_photos_with_overlays_and_meshes(capsys, batch, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("left alone")
    (out / "fits.json").write_text("replaced")
    arguments = [f"--keypoints={batch}/photos.json", f"--truth={batch}/photos.json", "--mesh=glb", f"--out={out}"]
    code, stdout, stderr = run(capsys, *arguments)
    assert code == 0, stderr
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    overlays = [f"overlays/photo{row}.png" for row in range(4)]
    meshes = [f"meshes/photo{row}.glb" for row in range(4)]
    assert files == sorted(
        ["contact_sheet.png", "fits.json", "fits.npz", "metrics.json", "mine.txt", *overlays, *meshes]
    )
    with np.load(out / "fits.npz") as fits:
        assert fits["side"].tolist() == list(SIDES)  # the file's, not tried
        vertices = fits["vertices"]
    mesh = trimesh.load_mesh(out / "meshes/photo1.glb", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    np.testing.assert_allclose(mesh.vertices, vertices[1] * (1, -1, -1), atol=1e-6)
    report = json.loads((out / "fits.json").read_text())
    assert report["hands"][1]["image"] == "photo1.png"
    assert report["hands"][1]["side_source"] == "given"
    # The mesh panel differs from the plain one where the hand is, and is the plain one at the rim.
    picture = np.asarray(Image.open(out / "overlays/photo0.png"))
    plain, mesh_panel = picture[:384, :384], picture[:384, 2 * 387 : 2 * 387 + 384]
    changed = (plain.astype(int) != mesh_panel).any(axis=2)
    assert 0.08 < changed.mean() < 0.7
    assert "absolute scale unknown" not in stdout


def test_side_auto_finds_the_sides_of_an_image_with_both_hands(capsys, batch, tmp_path, true_pixels):
    """OpenPose names both hands; `--side=auto` overrides that and the cheaper side is kept for each."""
    numbers = [np.concatenate([pixels, np.ones((21, 1))], axis=1).ravel().tolist() for pixels in true_pixels]
    person = {"hand_left_keypoints_2d": numbers[1], "hand_right_keypoints_2d": numbers[0]}
    (tmp_path / "photo0_keypoints.json").write_text(json.dumps({"people": [person]}))
    Image.new("RGB", (256, 256)).save(tmp_path / "photo0.png")
    arguments = [f"--keypoints={tmp_path}", "--side=auto", "--K=480,480,128,128", f"--out={tmp_path}/out"]
    code, stdout, stderr = run(capsys, *arguments)
    assert code == 0, stderr
    with np.load(tmp_path / "out/fits.npz") as fits:
        assert fits["side"].tolist() == ["left", "right"]
    assert "side found by trying both: 1 left, 1 right" in stdout
    assert [path.name for path in (tmp_path / "out/overlays").iterdir()] == ["photo0.png"]


def test_cameras_guessed_and_the_absolute_scale_unknown(capsys, batch, tmp_path):
    """No K anywhere: 60 degrees across the longer side, said on stdout and in the JSON."""
    content = json.loads((batch / "photos.json").read_text())
    for photo in content["photos"]:
        del photo["K"]
    path = tmp_path / "photos.json"
    path.write_text(json.dumps(content))
    code, stdout, stderr = run(capsys, f"--keypoints={path}", f"--images={batch}", f"--out={tmp_path}/out")
    assert code == 0, stderr
    assert "60 degrees" in stdout
    assert "absolute scale unknown" in stdout
    report = json.loads((tmp_path / "out/fits.json").read_text())
    assert report["summary"]["absolute_scale"] == "unknown"
    assert report["hands"][0]["absolute_scale"] == "unknown"
    assert report["hands"][0]["camera"]["K"][0][0] == pytest.approx(128 / np.tan(np.pi / 6), rel=1e-5)


def test_3d_keypoints_and_their_projection(capsys, batch, tmp_path):
    """3D keypoints come back within millimetres; projected, they are 2D keypoints like any."""
    common = [f"--keypoints={batch}/photos.json", f"--truth={batch}/photos.json", "--overlays=false"]
    field = "--field=joints_camera_m"
    assert run(capsys, *common, field, f"--out={tmp_path}/space")[0] == 0
    assert run(capsys, *common, field, "--project", f"--out={tmp_path}/projected")[0] == 0
    assert run(capsys, *common, f"--out={tmp_path}/image")[0] == 0
    assert json.loads((tmp_path / "space/metrics.json").read_text())["absolute"] < 3.0
    projected, image = ((tmp_path / name / "fits.npz") for name in ("projected", "image"))
    with np.load(projected) as one, np.load(image) as other:
        np.testing.assert_allclose(one["joints"], other["joints"], atol=1e-4)
    assert not (tmp_path / "space/overlays").exists()


def test_official_files_replace_the_open_hand(capsys, batch, tmp_path):
    """A model file of one side serves both, the other side being its mirror; the same hand gives the same fits."""
    mano_jax.save(mano_jax.open_hand("right"), tmp_path / "model.npz")
    common = [f"--keypoints={batch}/batch.npz"]
    assert run(capsys, *common, f"--out={tmp_path}/a")[0] == 0
    assert run(capsys, *common, f"--model={tmp_path}/model.npz", f"--out={tmp_path}/b")[0] == 0
    with np.load(tmp_path / "a/fits.npz") as one, np.load(tmp_path / "b/fits.npz") as other:
        np.testing.assert_allclose(one["vertices"], other["vertices"], atol=1e-5)
    assert json.loads((tmp_path / "b/fits.json").read_text())["summary"]["model"] == "model.npz"
    code, _, stderr = run(capsys, *common, f"--model={tmp_path}/model.npz,{tmp_path}/model.npz", f"--out={tmp_path}/c")
    assert code == 2
    assert "both files are right hands" in stderr


class Foreign:
    """Pickles to a call of os.system."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def bad_inputs(folder: pathlib.Path, photos: dict, pixels: np.ndarray) -> dict[str, tuple[list[str], str]]:
    """Name -> (arguments, what the line must say)."""

    def json_file(name: str, **changes) -> str:
        photo = {**photos["photos"][0], **changes}
        (folder / name).write_text(json.dumps({"photos": [photo]}))
        return f"--keypoints={folder / name}"

    def npz(name: str, **arrays) -> str:
        np.savez(folder / name, **arrays)
        return f"--keypoints={folder / name}"

    cameras = np.tile(K, (4, 1, 1))
    unseen = np.concatenate([pixels, np.zeros((4, 21, 1))], axis=2)
    Image.new("RGB", (256, 256)).save(folder / "photo0.png")
    (folder / "fake.png").write_bytes(b"this is no image")
    (folder / "hostile.pkl").write_bytes(pickle.dumps({"v_template": Foreign()}, protocol=2))
    (folder / "text.json").write_text("{")
    (folder / "file").write_text("a file, not a folder")
    good = npz("good.npz", keypoints=pixels, K=cameras)
    good_photo = json_file("good.json")
    np.savez(folder / "truth.npz", joints=np.zeros((2, 21, 3)))
    return {
        "missing file": ([f"--keypoints={folder}/none.npz"], "none.npz: No such file"),
        "missing json": ([f"--keypoints={folder}/none.json"], "none.json: No such file"),
        "K of 2x3": ([json_file("k1.json", K=[[1, 0, 0], [0, 1, 0]])], "K must be 3x3"),
        "K ragged": ([json_file("k2.json", K=[[1, 0, 0], [0, 1]])], "K must be a 3x3"),
        "K not finite": ([json_file("k3.json", K=[[1, 0, None], [0, 1, 0], [0, 0, 1]])], "K must be finite"),
        "f <= 0": ([json_file("k4.json", K=[[-480, 0, 1], [0, 480, 1], [0, 0, 1]])], "focal lengths must be > 0"),
        "2D without K": ([npz("nok.npz", keypoints=pixels)], "--K=fx,fy,cx,cy"),
        "20 keypoints": ([npz("k20.npz", keypoints=pixels[:, :20], K=cameras)], "[N, 21, 2 or 3], got [4, 20, 2]"),
        "20 in json": ([json_file("k20.json", keypoints_px=pixels[0, :20].tolist())], "got [20, 2]"),
        "all NaN": ([npz("nan.npz", keypoints=pixels * np.nan, K=cameras)], "none of 4 hands can be fitted"),
        "all unseen": ([npz("unseen.npz", keypoints=unseen, K=cameras)], "none of 4 hands can be fitted"),
        "wrong K shape": (
            [npz("kshape.npz", keypoints=pixels, K=np.eye(3)[None])],
            "K must be numbers of shape [4, 3, 3]",
        ),
        "3D as 2D": ([npz("m.npz", keypoints=pixels / 1000, K=cameras)], "not pixels"),
        "foreign pickle": ([good, f"--model={folder}/hostile.pkl"], "system"),
        "missing model": ([good, f"--model={folder}/none.pkl"], "none.pkl: No such file"),
        "not an image": ([good_photo, f"--image={folder}/fake.png"], "fake.png: not a readable image"),
        "image of the json": ([json_file("fake.json", file="fake.png")], "fake.png: not a readable image"),
        "missing image": ([good_photo, f"--image={folder}/none.png"], "none.png: No such file"),
        "not JSON": ([f"--keypoints={folder}/text.json"], "not valid JSON"),
        "truth of another size": ([good, f"--truth={folder}/truth.npz"], "2 true hands for 4 hands"),
        "missing truth": ([good, f"--truth={folder}/none.npz"], "none.npz: No such file"),
        "bad K flag": ([good, "--K=1,2,3"], "--K must be four numbers"),
        "bad fov": ([good, "--fov=200"], "--fov must be between"),
        "bad length": ([good, "--hand_length_mm=0.18"], "--hand_length_mm must be millimetres"),
        "bad side": ([good, "--side=both"], "--side"),
        "unknown flag": ([good, "--confidence=1"], "confidence"),
        "stray argument": ([good, "extra"], "unexpected argument 'extra'"),
        "project 2D": ([good, "--project"], "--project needs 3D"),
        "no keypoints": ([], "--keypoints is required"),
    }


def test_bad_input_gets_one_line_and_leaves_nothing(capsys, batch, tmp_path, true_pixels, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = json.loads((batch / "photos.json").read_text())
    out = tmp_path / "out" / "deeper"
    for name, (arguments, message) in bad_inputs(tmp_path, photos, true_pixels).items():
        code, stdout, stderr = run(capsys, *arguments, f"--out={out}")
        assert code == 2, name
        assert stdout == "", name
        assert len(stderr.splitlines()) == 1, (name, stderr)
        assert stderr.startswith("error: "), (name, stderr)
        assert message in stderr, (name, stderr)
        assert not out.parent.exists(), name
    assert not (tmp_path / "executed").exists()


def test_an_output_that_cannot_be_written_is_refused_first(capsys, batch, tmp_path):
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        code, stdout, stderr = run(capsys, f"--keypoints={batch}/none.npz", f"--out={out}")
        assert (code, stdout) == (2, "")
        assert "cannot be written" in stderr
        assert len(stderr.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "a file"
    code, _, stderr = run(capsys, f"--keypoints={batch}/batch.npz")
    assert code == 2
    assert "--out is required" in stderr


def test_an_existing_folder_is_left_as_it_was(capsys, batch, tmp_path):
    (tmp_path / "fits.npz").write_text("earlier")
    code, _, _ = run(capsys, f"--keypoints={batch}/batch.npz", "--K=1,2,3", f"--out={tmp_path}")
    assert code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["fits.npz"]
    assert (tmp_path / "fits.npz").read_text() == "earlier"


def test_a_fresh_process_answers_before_anything_heavy_is_imported(tmp_path):
    """From a bare checkout: help with exit code 0, a mistyped flag with 2, neither of which imports JAX."""
    program = (
        "import sys, launch.fit as f\n"
        "try:\n    code = f.main(sys.argv[1:])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "assert not {'jax', 'numpy', 'PIL', 'trimesh'} & set(sys.modules)\nsys.exit(code)"
    )
    for argument, expected in (("--help", 0), ("--keypoint", 2)):
        done = subprocess.run(
            [sys.executable, "-c", program, argument], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected, done.stderr
    assert (
        "--hand_length_mm"
        in subprocess.run(
            [sys.executable, "-m", "launch.fit", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout
    )
