"""`python -m launch.demo`, tiny: every file is there and right, and what is found beats a mean hand."""

import numpy as np
import pytest
import trimesh
from PIL import Image

import mano_jax
from handpose_jax.evaluation.baselines import mean_hands, mean_vertex_errors_mm
from handpose_jax.evaluation.metrics import mean_joint_errors_mm
from launch.demo import main

COUNT = 8
"""Hands: means of fewer are a matter of which hands they are."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The output folder and what was printed."""
    folder = tmp_path_factory.mktemp("demo") / "made" / "here"
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *parts, **_: lines.append(" ".join(map(str, parts))))
        flags = [f"--count={COUNT}", "--size=128", "--turntable_size=64", "--turntable_views=4", "--seed=1"]
        assert main([f"--out={folder}", *flags]) == 0
    return folder, "\n".join(lines)


@pytest.mark.slow
def test_files(demo):
    folder, text = demo
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    hands = [f"hand_{row:03d}" for row in range(COUNT)]
    expected = [f"input/{name}.png" for name in hands] + [f"meshes/{name}.glb" for name in hands]
    expected += [f"{kind}/{name}.png" for kind in ("evidence", "refinement") for name in hands]
    expected += [f"refinement/{name}.gif" for name in hands]
    expected += ["input/keypoints.json", "input/truth.npz", "contact_sheet.png", "keypoint_fits.png", "turntable.gif"]
    expected += ["fits.npz", "fits.json", "predictions.npz", "predictions.json"]
    assert names == sorted(expected)
    for name in ("contact_sheet.png", "keypoint_fits.png", "turntable.gif", "meshes", "predictions.npz", "input"):
        assert str(folder / name) in text
    with Image.open(folder / "turntable.gif") as turntable:
        assert turntable.n_frames == 4  # type: ignore[attr-defined]
        assert turntable.size == (64, 64)
    for name in ("contact_sheet.png", "keypoint_fits.png"):
        with Image.open(folder / name) as sheet:
            assert np.asarray(sheet.convert("L")).std() > 10


@pytest.mark.slow
def test_meshes_are_the_hands_found(demo):
    folder, _ = demo
    vertices = np.load(folder / "predictions.npz")["vertices"]
    for row in range(COUNT):
        scene = trimesh.load(folder / "meshes" / f"hand_{row:03d}.glb")
        (mesh,) = scene.geometry.values()  # type: ignore[union-attr]
        np.testing.assert_allclose(mesh.vertices * (1, -1, -1), vertices[row], atol=1e-5)


@pytest.mark.slow
def test_what_is_found_beats_a_mean_hand(demo):
    """The whole table recomputed from the files; Procrustes-aligned the fit to keypoints is at least twice as good."""
    folder, text = demo
    truth, found, fits = (np.load(folder / name) for name in ("input/truth.npz", "predictions.npz", "fits.npz"))
    assert list(found["side"]) == list(fits["side"]) == ["right", "left"] * (COUNT // 2)
    models = {side: mano_jax.open_hand(side) for side in ("left", "right")}
    joints, _ = mean_hands(models, truth["side"], found["rotation"], found["joints"][:, 0])
    predicted, fitted, guessed = (
        mean_joint_errors_mm(array, truth["joints"]) for array in (found["joints"], fits["joints"], joints)
    )
    assert predicted["procrustes"] < guessed["procrustes"]
    assert fitted["procrustes"] < 0.5 * guessed["procrustes"]
    dense = mean_vertex_errors_mm(fits["joints"], fits["vertices"], truth["joints"], truth["vertices"])
    assert dense["procrustes"] < 10.0
    for errors in (predicted, fitted, guessed, dense):
        assert f"{errors['procrustes']:.1f}" in text


def test_vertex_errors_by_hand():
    """A mesh moved by 3 mm: absolute 3 mm, nothing once aligned; a NaN hand is left out."""
    rng = np.random.default_rng(0)
    joints, vertices = rng.normal(size=(2, 21, 3)), rng.normal(size=(2, 50, 3))
    step = np.array([0.003, 0.0, 0.0])
    moved_joints, moved = joints + step, vertices + step
    moved[1] = np.nan
    errors = mean_vertex_errors_mm(moved_joints, moved, joints, vertices)
    assert errors["absolute"] == pytest.approx(3.0)
    for name in ("root", "root_scale", "procrustes"):
        assert errors[name] == pytest.approx(0.0, abs=1e-9)


def test_bad_input(tmp_path, capsys):
    assert main(["--count=0", f"--out={tmp_path / 'out'}"]) == 2
    assert "count" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert main([f"--out={blocked / 'demo'}", "--count=1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
