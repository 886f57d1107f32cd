"""`python -m launch.fit` on several views and on sequences: files in, files out, and what it refuses."""

import json
import pathlib

import numpy as np
import pytest

from handpose_jax.data.frames import frames_of_one_hand
from handpose_jax.data.keypoint_files import read_keypoints
from handpose_jax.data.keypoint_set import HandKeypoints, KeypointSet
from handpose_jax.evaluation.fit_report import ARRAY_NAMES
from handpose_jax.refinement import batch
from launch.fit import main
from tests.handpose_jax.random_hands import CAMERA, random_hands, seen
from tests.mano_jax.gltf_reader import Gltf


@pytest.fixture(autouse=True)
def one_chunk_size(monkeypatch):
    monkeypatch.setattr(batch, "CHUNK_SIZES", (32,))


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def two_views(tmp_path) -> pathlib.Path:
    """Three hands that two cameras saw; the third's second view is missing."""
    joints = random_hands(3, 31).joints
    transforms = np.tile(np.eye(4), (3, 2, 1, 1))
    turn = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    transforms[:, 1, :3, :3] = turn
    transforms[:, 1, :3, 3] = np.array([0.0, 0.0, 0.6]) - joints.mean(1) @ turn.T
    aside = np.einsum("nab,nkb->nka", transforms[:, 1, :3, :3], joints) + transforms[:, 1, None, :3, 3]
    points = np.stack([seen(joints), seen(aside)], axis=1)
    points[2, 1] = np.nan
    np.savez(
        tmp_path / "views.npz",
        keypoints=points,
        K=np.tile(CAMERA, (2, 1, 1)),
        world_to_camera=transforms,
        view_valid=np.array([[True, True], [True, True], [True, False]]),
        side=["right"] * 3,
    )
    np.savez(tmp_path / "truth.npz", joints=joints)
    return tmp_path


@pytest.mark.slow
def test_several_views_from_a_file(capsys, two_views):
    out = two_views / "out"
    arguments = [f"--keypoints={two_views}/views.npz", f"--truth={two_views}/truth.npz", f"--out={out}"]
    code, stdout, stderr = run(capsys, *arguments)
    assert (code, stderr) == (0, "")
    assert "2 hands seen by 2 cameras" in stdout
    assert "1 hands seen by 1 cameras" in stdout
    with np.load(out / "fits.npz") as fits, np.load(two_views / "truth.npz") as truth:
        assert set(fits.files) == set(ARRAY_NAMES)
        distances = 1e3 * np.linalg.norm(fits["joints"] - truth["joints"], axis=-1).mean(1)
    assert distances[:2].max() < 8.0
    content = json.loads((out / "fits.json").read_text())
    assert "world_to_camera" in content["frame"]
    assert [hand["views"] for hand in content["hands"]] == [2, 2, 1]
    assert {hand["absolute_scale"] for hand in content["hands"]} == {"known"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": None}, "needs K"),
        ({"world_to_camera": None}, "needs world_to_camera"),
        ({"K": np.zeros((3, 3, 3))}, r"K must be numbers of shape [3, 2, 3, 3] or [2, 3, 3] or [3, 3], got [3, 3, 3]"),
        ({"world_to_camera": np.zeros((4, 4))}, "world_to_camera must be numbers of shape [3, 2, 4, 4] or [2, 4, 4]"),
        ({"view_valid": np.full((3, 2), 0.5)}, "must be true or false"),
        ({"keypoints": np.zeros((3, 2, 20, 2))}, "must have shape [N, V, 21, 2 or 3]"),
    ],
)
def test_views_files_that_make_no_sense(capsys, two_views, change, message):
    with np.load(two_views / "views.npz") as arrays:
        fields = {**arrays, **change}
    np.savez(two_views / "bad.npz", **{name: value for name, value in fields.items() if value is not None})
    code, _, stderr = run(capsys, f"--keypoints={two_views}/bad.npz", f"--out={two_views}/out")
    assert code == 2
    assert message in stderr
    assert not (two_views / "out" / "fits.npz").exists()


def test_one_camera_for_several_views_is_refused(capsys, two_views):
    code, _, stderr = run(capsys, f"--keypoints={two_views}/views.npz", "--K=600,600,320,240", f"--out={two_views}/out")
    assert code == 2
    assert "--K is one camera for all" in stderr


@pytest.fixture
def frames(tmp_path) -> pathlib.Path:
    """OpenPose files of ten frames of a right hand that moves; frame 4 holds no hand."""
    folder = tmp_path / "frames"
    folder.mkdir()
    joints = random_hands(1, 32).joints + np.arange(10)[:, None, None] * np.array([0.004, 0.002, 0.0])
    points = seen(joints)
    points[..., :2] += 3.0 * np.random.default_rng(0).normal(size=points[..., :2].shape)
    for frame in range(10):
        hand = points[frame].ravel().tolist() if frame != 4 else []
        people = [{"hand_right_keypoints_2d": hand, "hand_left_keypoints_2d": []}]
        (folder / f"video_{frame:03d}_keypoints.json").write_text(json.dumps({"people": people}))
    return folder


@pytest.mark.slow
def test_a_sequence_from_a_folder(capsys, frames, tmp_path):
    out = tmp_path / "out"
    camera = "--K=600,600,320,240"
    code, stdout, stderr = run(capsys, f"--keypoints={frames}", camera, "--sequence", f"--out={out}")
    assert code == 0, stderr
    assert "one sequence: 1 frames bridged, jitter" in stdout
    with np.load(out / "fits.npz") as fits:
        assert set(fits.files) == {*ARRAY_NAMES, "bridged"}
        np.testing.assert_array_equal(fits["bridged"], np.arange(10) == 4)
        assert fits["valid"].all()
        assert np.isnan(fits["residual_px"][4])
        np.testing.assert_array_equal(fits["shape"], np.tile(fits["shape"][:1], (10, 1)))
        wrist = fits["joints"][:, 0]
    content = json.loads((out / "fits.json").read_text())
    assert [hand["image"] for hand in content["hands"]] == [f"video_{frame:03d}" for frame in range(10)]
    sequence = content["sequence"]
    assert (sequence["frames"], sequence["bridged"], sequence["frames_per_second"]) == (10, 1, 30.0)
    assert sequence["jitter_after_mm"] < 0.5 * sequence["jitter_before_mm"]
    assert (np.diff(wrist[:, 0]) > 0.0).all()
    animation = Gltf((out / "sequence.glb").read_bytes())
    assert len(animation.tree["animations"]) == 1


def test_frames_of_one_hand():
    """Frames of two hands are told apart by side; of one, its label does not matter."""
    hand = lambda image, side, u=50.0: HandKeypoints(image=image, side=side, keypoints=np.full((21, 3), u))  # noqa: E731
    both = KeypointSet("x", (hand("a", "left", 1.0), hand("a", "right"), hand("b", "right"), hand("c", "left", 2.0)))
    lefts = frames_of_one_hand(both, "left", "video")
    assert [frame.side for frame in lefts.hands] == ["left"] * 3
    firsts = [frame.keypoints[0, 0] for frame in lefts.hands if frame.keypoints is not None]
    np.testing.assert_array_equal(firsts, [1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="some frames hold two hands"):
        frames_of_one_hand(both, None, "video")
    with pytest.raises(ValueError, match="a holds 2 left hands"):
        frames_of_one_hand(KeypointSet("x", (hand("a", "left"), hand("a", "left"))), "left", "video")
    single = KeypointSet("x", (hand("a", "left"), hand("b", "right")))
    assert [frame.side for frame in frames_of_one_hand(single, None, "video").hands] == ["auto"] * 2
    assert [frame.side for frame in frames_of_one_hand(single, "left", "video").hands] == ["left"] * 2
    space = KeypointSet("x", (HandKeypoints(keypoints_3d=np.ones((21, 4))),))
    with pytest.raises(ValueError, match="these are 3D"):
        frames_of_one_hand(space, "left", "video")


def test_frames_without_a_hand_keep_their_place(frames):
    assert len(read_keypoints(frames)) == 9
    kept = read_keypoints(frames, keep_empty=True)
    assert [hand.image for hand in kept.hands] == [f"video_{frame:03d}" for frame in range(10)]
    assert kept.hands[4].keypoints is not None
    assert np.isnan(kept.hands[4].keypoints).all()
