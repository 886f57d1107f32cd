"""Readers of keypoint files: every format's layout, its traps, and one clear line for each bad file."""

import json
import pathlib

import numpy as np
import pytest

from handpose_jax.data.cameras import camera_from_text
from handpose_jax.data.keypoint_files import read_keypoints, read_truth
from handpose_jax.data.keypoint_set import HandKeypoints, NoHandError
from handpose_jax.data.located_hands import ImageSource, hands_of_image, locate_hands, truth_of_hands

K = [[480.0, 0.0, 130.0], [0.0, 480.0, 100.0], [0.0, 0.0, 1.0]]
PIXELS = np.stack([np.arange(21) * 9.0 + 20.0, 200.0 - np.arange(21) * 4.0], axis=1)
SEEN = np.concatenate([PIXELS, np.linspace(0.3, 1.0, 21)[:, None]], axis=1)
POINTS = np.concatenate([(PIXELS - (130, 100)) / 480 * 0.5, np.full((21, 1), 0.5)], axis=1)


def write(path: pathlib.Path, content: object) -> pathlib.Path:
    path.write_text(json.dumps(content))
    return path


def no_size(name):
    return None


def pixels(hand: HandKeypoints) -> np.ndarray:
    assert hand.keypoints is not None
    return hand.keypoints


def points(hand: HandKeypoints) -> np.ndarray:
    assert hand.keypoints_3d is not None
    return hand.keypoints_3d


def photos(**changes) -> dict:
    entry = {"file": "a.jpg", "side": "left", "K": K, "keypoints_detected_px": PIXELS.tolist()}
    return {"image_size": 256, "photos": [{**entry, **changes}]}


# This project's JSON


def test_handpose_json(tmp_path):
    content = photos()
    content["photos"].append({"file": "b.jpg", "keypoints_detected_px": SEEN.tolist()})
    keypoints = read_keypoints(write(tmp_path / "a.json", content))
    first, second = keypoints.hands
    assert keypoints.format == "handpose"
    np.testing.assert_array_equal(pixels(first)[:, :2], PIXELS)
    np.testing.assert_array_equal(pixels(first)[:, 2], 1.0)
    np.testing.assert_array_equal(pixels(second), SEEN)
    np.testing.assert_array_equal(first.camera, K)
    assert (first.side, second.side) == ("left", "auto")
    assert (first.image, first.image_size, second.camera) == ("a.jpg", (256, 256), None)


def test_field_names_say_what_they_hold(tmp_path):
    path = write(tmp_path / "a.json", photos(joints_camera_m=POINTS.tolist(), other_px=(PIXELS + 1).tolist()))
    assert points(read_keypoints(path, field="joints_camera_m").hands[0]).shape == (21, 4)
    np.testing.assert_array_equal(pixels(read_keypoints(path, field="other_px").hands[0])[:, :2], PIXELS + 1)
    with pytest.raises(ValueError, match="no photo has a field 'nothing'; fields there: K, file"):
        read_keypoints(path, field="nothing")


def test_a_single_photo_needs_no_list(tmp_path):
    path = write(tmp_path / "a.json", {"K": K, "keypoints": SEEN.tolist(), "side": "Right"})
    hand = read_keypoints(path).hands[0]
    assert (hand.side, hand.image) == ("right", None)


def test_a_keypoint_that_is_null_is_not_seen(tmp_path):
    rows = SEEN.tolist()
    rows[4] = [None, None, 0.0]
    hand = read_keypoints(write(tmp_path / "a.json", photos(keypoints_detected_px=rows))).hands[0]
    assert np.isnan(pixels(hand)[4, :2]).all()
    assert hand.problem is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints_detected_px": PIXELS[:20].tolist()}, r"\[21, 2 or 3\].*got \[20, 2\]"),
        ({"keypoints_detected_px": [[1, 2], [3]] * 10}, "rows that differ"),
        ({"keypoints_detected_px": "none"}, "keypoints must be numbers"),
        ({"keypoints_detected_px": (PIXELS / 256).tolist()}, "not pixels"),
        ({"side": "middle"}, "side must be 'left', 'right'"),
        ({"K": [[1, 2], [3]]}, "K must be a 3x3 matrix"),
        ({"image_size": "large"}, "image_size"),
    ],
)
def test_one_bad_photo_is_one_bad_row(tmp_path, changes, message):
    content = photos()
    content["photos"].append(photos(**changes)["photos"][0])
    keypoints = read_keypoints(write(tmp_path / "a.json", content))
    good, bad = keypoints.hands
    assert good.problem is None
    assert np.isnan(pixels(bad)).all()
    assert bad.problem is not None
    with pytest.raises(ValueError, match=message):
        raise ValueError(bad.problem)
    assert "photo 1" in bad.problem
    assert "\n" not in bad.problem


def test_millimetres_are_noticed(tmp_path):
    path = write(tmp_path / "a.json", photos(joints_camera_m=(1000 * POINTS).tolist()))
    assert "millimetres" in str(read_keypoints(path, field="joints_camera_m").hands[0].problem)


# npz


def test_numpy_batch(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=np.stack([SEEN, SEEN + 1]), K=np.array([K, K]), side=["left", "right"])
    keypoints = read_keypoints(tmp_path / "a.npz")
    np.testing.assert_array_equal(pixels(keypoints.hands[1]), SEEN + 1)
    np.testing.assert_array_equal(keypoints.hands[1].camera, K)
    assert [hand.side for hand in keypoints.hands] == ["left", "right"]


def test_numpy_batch_with_one_camera_without_side_and_in_3d(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints_3d=np.stack([POINTS, POINTS]), K=np.array(K))
    first, second = read_keypoints(tmp_path / "a.npz").hands
    np.testing.assert_array_equal(points(first)[:, :3], POINTS)
    np.testing.assert_array_equal(second.camera, K)
    assert first.side == "auto"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"keypoints": np.zeros((3, 20, 2))}, r"\[N, 21, 2 or 3\], got \[3, 20, 2\]"),
        ({"keypoints": SEEN}, r"got \[21, 3\]"),
        ({"keypoints": np.zeros((0, 21, 3))}, "no hand"),
        ({"keypoints_3d": PIXELS[None]}, r"\[N, 21, 3 or 4\]"),
        ({"keypoints": SEEN[None], "K": np.zeros((2, 3, 3))}, r"K must be numbers of shape \[1, 3, 3\]"),
        ({"keypoints": SEEN[None], "side": np.array([1])}, "side must be 1 strings"),
        ({"keypoints": SEEN[None], "keypoints_3d": POINTS[None]}, "--field"),
        ({"points": SEEN[None]}, "needs an array keypoints"),
        ({"keypoints": np.array([["a"] * 21])[..., None]}, "shape"),
        ({"keypoints": np.array([SEEN, None], object)}, "not a readable .npz"),
    ],
)
def test_bad_numpy_batches(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message) as error:
        read_keypoints(tmp_path / "a.npz")
    assert "a.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    np.save(tmp_path / "b.npy", SEEN)
    (tmp_path / "c.json").write_text("{not json")
    (tmp_path / "d.json").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "e.json").write_text("[" * 100_000)
    write(tmp_path / "f.json", {"something": 1})
    write(tmp_path / "g.json", [1, 2, 3])
    (tmp_path / "empty").mkdir()
    for name in ("a.npz", "b.npy", "c.json", "d.json", "e.json", "f.json", "g.json", "empty"):
        with pytest.raises(ValueError, match=name) as error:
            read_keypoints(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError):
        read_keypoints(tmp_path / "missing.json")


# MediaPipe

FRACTIONS = PIXELS / (640, 480)
TASKS_HAND = [{"x": x, "y": y, "z": 0.0} for x, y in FRACTIONS]


def test_mediapipe_fractions_become_pixels(tmp_path):
    """u = x * width, v = y * height; the size comes from the file, else from the image."""
    content = {"hand_landmarks": [TASKS_HAND], "image_width": 640, "image_height": 480}
    hand = read_keypoints(write(tmp_path / "photo.json", content)).hands[0]
    np.testing.assert_allclose(pixels(hand)[:, :2], PIXELS)
    assert (hand.image, hand.image_size) == ("photo", (480, 640))

    asked = []

    def size_of(name):
        asked.append(name)
        return (480, 640)

    for layout in (
        {"landmarks": [TASKS_HAND], "image": "x.jpg"},
        {"handLandmarks": [FRACTIONS.tolist()], "file": "x.jpg"},
        {"landmarks": TASKS_HAND, "image": "x.jpg"},
        {"multi_hand_landmarks": [{"landmark": TASKS_HAND}], "image": "x.jpg"},
        [{"landmarks": [TASKS_HAND], "image": "x.jpg"}],
        {"results": [{"landmarks": [TASKS_HAND], "image": "x.jpg"}]},
        {"x.jpg": {"landmarks": [TASKS_HAND]}},
    ):
        keypoints = read_keypoints(write(tmp_path / "m.json", layout), image_size_of=size_of)
        assert keypoints.format == "mediapipe"
        np.testing.assert_allclose(pixels(keypoints.hands[0])[:, :2], PIXELS)
    assert set(asked) == {"x.jpg"}


def test_mediapipe_labels(tmp_path):
    """Legacy labels are those of a mirrored image: "Right" in a photograph as it was taken is a left hand."""
    size = {"image_width": 640, "image_height": 480}
    hands = {"multi_hand_landmarks": [TASKS_HAND, TASKS_HAND], **size}
    legacy = {**hands, "multi_handedness": [{"classification": [{"label": "Right", "score": 0.9}]}, {"label": "Left"}]}
    tasks = {
        "hand_landmarks": [TASKS_HAND, TASKS_HAND],
        "handedness": [[{"category_name": "Right"}], [{"categoryName": "Left"}]],
        **size,
    }

    def sides(content, labels):
        keypoints = read_keypoints(write(tmp_path / "a.json", content), mediapipe_labels=labels)
        return [hand.side for hand in keypoints.hands]

    assert sides(legacy, "auto") == sides(legacy, "mirrored") == sides(tasks, "mirrored") == ["left", "right"]
    assert sides(legacy, "subject") == sides(tasks, "subject") == ["right", "left"]
    assert sides(tasks, "auto") == ["auto", "auto"]


def test_mediapipe_without_a_size_or_in_pixels_or_empty(tmp_path):
    path = write(tmp_path / "a.json", {"landmarks": [TASKS_HAND]})
    assert "size is unknown" in str(read_keypoints(path, image_size_of=no_size).hands[0].problem)
    in_pixels = {"landmarks": [PIXELS.tolist()], "image_width": 640, "image_height": 480}
    assert "look like pixels" in str(read_keypoints(write(tmp_path / "a.json", in_pixels)).hands[0].problem)
    with pytest.raises(NoHandError, match="no hand"):
        read_keypoints(write(tmp_path / "a.json", {"landmarks": []}))


# OpenPose


def openpose(left: list, right: list) -> dict:
    return {"hand_left_keypoints_2d": left, "hand_right_keypoints_2d": right, "pose_keypoints_2d": [0.0] * 75}


def test_openpose_people_and_both_hands(tmp_path):
    flat, other, absent = SEEN.ravel().tolist(), (SEEN + 1).ravel().tolist(), [0.0] * 63
    people = [openpose(flat, other), openpose(absent, flat), openpose([], [])]
    keypoints = read_keypoints(write(tmp_path / "photo_keypoints.json", {"version": 1.3, "people": people}))
    assert keypoints.format == "openpose"
    assert [hand.side for hand in keypoints.hands] == ["left", "right", "right"]
    assert {hand.image for hand in keypoints.hands} == {"photo"}
    np.testing.assert_allclose(pixels(keypoints.hands[1]), SEEN + 1)


def test_openpose_problems(tmp_path):
    with pytest.raises(NoHandError, match="--hand"):
        read_keypoints(write(tmp_path / "a.json", {"people": [{"pose_keypoints_2d": []}]}))
    short = {"people": [openpose([1.0] * 60, [])]}
    assert "63 numbers" in str(read_keypoints(write(tmp_path / "a.json", short)).hands[0].problem)
    scaled = SEEN * (1 / 640, 1 / 480, 1)
    normalised = {"people": [openpose(scaled.ravel().tolist(), [])]}
    assert "not pixels" in str(read_keypoints(write(tmp_path / "a.json", normalised)).hands[0].problem)


# COCO-WholeBody


def test_coco_wholebody(tmp_path):
    """Half a pixel is added, v is cut to a confidence, invalid hands are left out, images are found by their ids."""
    visible = np.concatenate([PIXELS, np.tile([[2.0], [1.0], [0.25]], (7, 1))], axis=1)
    person = {
        "image_id": 7,
        "lefthand_kpts": visible.ravel().tolist(),
        "lefthand_valid": True,
        "righthand_kpts": SEEN.ravel().tolist(),
        "righthand_valid": False,
    }
    images = [{"id": 7, "file_name": "000000000007.jpg", "width": 640, "height": 480}]
    path = write(tmp_path / "a.json", {"images": images, "annotations": [person]})
    keypoints = read_keypoints(path)
    assert keypoints.format == "coco_wholebody"
    (hand,) = keypoints.hands
    assert (hand.side, hand.image, hand.image_size) == ("left", "000000000007.jpg", (480, 640))
    np.testing.assert_allclose(pixels(hand)[:, :2], PIXELS + 0.5)
    np.testing.assert_allclose(pixels(hand)[:3, 2], [1.0, 1.0, 0.25])


def test_coco_wholebody_results(tmp_path):
    result = {"image_id": 139, "category_id": 1, "righthand_kpts": SEEN.ravel().tolist(), "lefthand_kpts": [0.0] * 63}
    (hand,) = read_keypoints(write(tmp_path / "a.json", [result])).hands
    assert (hand.side, hand.image) == ("right", "000000000139.jpg")


# Folders, cameras, truth


def test_a_folder_joins_its_files_and_passes_over_frames_without_hands(tmp_path):
    write(tmp_path / "b_keypoints.json", {"people": [openpose(SEEN.ravel().tolist(), [])]})
    write(tmp_path / "a_keypoints.json", {"people": [openpose([], SEEN.ravel().tolist())]})
    write(tmp_path / "c_keypoints.json", {"people": []})
    keypoints = read_keypoints(tmp_path)
    assert [hand.image for hand in keypoints.hands] == ["a", "b"]
    assert keypoints.files_without_hand == ("c_keypoints.json",)


def test_format_can_be_forced_and_a_wrong_one_is_an_error(tmp_path):
    path = write(tmp_path / "a.json", photos())
    with pytest.raises(ValueError, match="not an OpenPose file"):
        read_keypoints(path, format="openpose")
    with pytest.raises(ValueError, match="not a COCO-WholeBody file"):
        read_keypoints(path, format="coco_wholebody")
    with pytest.raises(ValueError, match="not a MediaPipe file"):
        read_keypoints(path, format="mediapipe")
    with pytest.raises(ValueError, match="format must be one of"):
        read_keypoints(path, format="other")


def test_cameras_and_projection(tmp_path):
    path = write(tmp_path / "a.json", photos(joints_camera_m=POINTS.tolist()))
    nowhere = ImageSource(None, None)
    spatial = read_keypoints(path, field="joints_camera_m")
    (hand,) = locate_hands(spatial, nowhere, "a.json", project=True)
    np.testing.assert_allclose(pixels(hand.hand)[:, :2], PIXELS)
    assert hand.hand.keypoints_3d is None
    (other,) = locate_hands(spatial, nowhere, "a.json", flag_camera=camera_from_text("960,960,130,100"), project=True)
    np.testing.assert_allclose(pixels(other.hand)[:, :2], 2 * PIXELS - (130, 100))
    behind = POINTS.copy()
    behind[3, 2] = -0.1
    spatial = read_keypoints(write(path, photos(joints_camera_m=behind.tolist())), field="joints_camera_m")
    (hand,) = locate_hands(spatial, nowhere, "a.json", project=True)
    assert pixels(hand.hand)[3, 2] == 0


def test_hands_without_a_camera_are_problems_in_2d_only(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=SEEN[None])
    np.savez(tmp_path / "b.npz", keypoints_3d=POINTS[None])
    nowhere = ImageSource(None, None)
    (flat,) = locate_hands(read_keypoints(tmp_path / "a.npz"), nowhere, "a.npz", field_of_view=50.0)
    (spatial,) = locate_hands(read_keypoints(tmp_path / "b.npz"), nowhere, "b.npz")
    assert "--K=fx,fy,cx,cy" in str(flat.hand.problem)
    assert (spatial.hand.problem, spatial.camera) == (None, None)


def test_side_of_the_caller_overrides_the_file(tmp_path):
    keypoints = read_keypoints(write(tmp_path / "a.json", photos()))
    nowhere = ImageSource(None, None)
    sides = [locate_hands(keypoints, nowhere, "a", side=side)[0].hand.side for side in (None, "right", "auto")]
    assert sides == ["left", "right", "auto"]


def test_one_image_of_a_file_with_many(tmp_path):
    content = photos()
    content["photos"].append(photos(file="b.jpg")["photos"][0])
    keypoints = read_keypoints(write(tmp_path / "a.json", content))
    assert [hand.image for hand in hands_of_image(keypoints, tmp_path / "b.jpg", "a.json").hands] == ["b.jpg"]
    with pytest.raises(ValueError, match=r"no keypoints for c.jpg; it names a.jpg, b.jpg"):
        hands_of_image(keypoints, tmp_path / "c.jpg", "a.json")


def test_truth(tmp_path):
    np.savez(tmp_path / "t.npz", joints=POINTS[None])
    names, joints = read_truth(tmp_path / "t.npz")
    assert names is None
    np.testing.assert_array_equal(joints[0], POINTS)

    content = photos(joints_camera_m=POINTS.tolist())
    content["photos"].append(photos(file="b.jpg", joints_camera_m=(POINTS + 1).tolist())["photos"][0])
    path = write(tmp_path / "a.json", content)
    names, joints = read_truth(path)
    assert names == ("a.jpg", "b.jpg")
    keypoints = hands_of_image(read_keypoints(path), tmp_path / "b.jpg", "a.json")
    hands = locate_hands(keypoints, ImageSource(None, None), "a.json")
    np.testing.assert_array_equal(truth_of_hands(hands, names, joints, "a.json"), (POINTS + 1)[None])
    with pytest.raises(ValueError, match="2 true hands for 1 hands"):
        truth_of_hands(hands, None, joints, "t.npz")

    np.savez(tmp_path / "u.npz", joints=POINTS)
    with pytest.raises(ValueError, match=r"\[N, 21, 3\], got \[21, 3\]"):
        read_truth(tmp_path / "u.npz")
    with pytest.raises(ValueError, match="joints_camera_m"):
        read_truth(write(tmp_path / "b.json", photos()))
