"""RHD: joint order, bytes, choice of hand; three real frames pin its conventions."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handpose_jax.data.pixels import read_mask, read_pixels
from handpose_jax.data.sets import READERS, rhd
from tests.fixtures.python2_pickle import protocol_2
from tests.fixtures.rhd import write_rhd

read: Callable[..., Any] = READERS["rhd"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_rhd(tmp_path_factory.mktemp("rhd"), frames=4)


@pytest.fixture(scope="module")
def examples(written):
    return read(written.root, "training")


def test_reader_and_writer_agree(written, examples):
    np.testing.assert_allclose(examples.joints, written.joints, atol=1e-12)
    np.testing.assert_allclose(examples.keypoints, written.keypoints, atol=1e-9)
    np.testing.assert_allclose(examples.K, written.K, atol=1e-4)
    np.testing.assert_array_equal(examples.side, written.side)
    assert set(examples.side) == {"left", "right"}
    assert examples.visible.all()
    assert examples.ids == tuple(f"training/{n:05d}-{side}" for n, side in enumerate(written.side))


def test_projections_of_joints_are_the_keypoints(examples):
    images = np.einsum("nij,nkj->nki", examples.K, examples.joints)
    assert np.abs(images[..., :2] / images[..., 2:] - examples.keypoints).max() < 0.1


def test_pixels(written, examples):
    for row, picture in enumerate(written.pictures):
        np.testing.assert_array_equal(read_pixels(examples.images, row), picture.rgb)
        np.testing.assert_allclose(read_pixels(examples.depth, row), picture.depth, atol=0.5 * 5 / 65535 + 1e-6)
        hand = 0 if examples.side[row] == "left" else 1
        np.testing.assert_array_equal(read_mask(examples, row), picture.hand == hand)


def test_mask_labels_of_a_finger_run_from_tip_to_palm(examples):
    """The label of each end segment lies nearer to its end of the finger, where the finger is seen from the side."""
    seen_from_the_side = 0
    for row in range(len(examples)):
        labels = read_pixels(examples.masks, row)
        first = rhd.LABELS[examples.side[row]][0]
        for finger in range(5):
            tip, base = examples.keypoints[row, 4 + 4 * finger], examples.keypoints[row, 1 + 4 * finger]
            if np.linalg.norm(tip - base) < 30:
                continue
            seen_from_the_side += 1
            for segment, near, far in ((0, tip, base), (2, base, tip)):
                middle = np.argwhere(labels == first + 3 * finger + segment)[:, ::-1].mean(axis=0)
                assert np.linalg.norm(middle - near) < np.linalg.norm(middle - far)
    assert seen_from_the_side >= 5


def test_both_hands(written):
    examples = read(written.root, "training", hand="both")
    assert len(examples) == 8
    np.testing.assert_allclose(examples.joints.reshape(4, 2, 21, 3), written.extra["both_joints"], atol=1e-12)
    assert tuple(examples.side[:2]) == ("left", "right")
    assert len(set(examples.ids)) == 8
    both = [read_mask(examples, row) for row in (0, 1)]
    np.testing.assert_array_equal(both[0] | both[1], written.extra["labels"][0] > 1)


def test_the_rules_for_choosing_a_hand_disagree_where_the_larger_hand_is_less_visible(tmp_path):
    written = write_rhd(tmp_path, frames=2)
    path = written.root / "training" / "anno_training.pickle"
    frames = [annotation(written, frame) for frame in range(2)]
    frames[0]["uv_vis"][:5, 2] = 0.0  # Left: the larger in frame 0.
    path.write_bytes(protocol_2(dict(enumerate(frames))))
    assert list(read(written.root).side) == ["left", "right"]
    assert list(read(written.root, hand="visible").side) == ["right", "right"]
    assert not read(written.root).visible[0, [0, 1, 2, 3, 4]].any()


def test_equal_hands_are_right(tmp_path):
    written = write_rhd(tmp_path, frames=1)
    labels = np.zeros((320, 320), np.uint8)
    labels[0, :10], labels[1, :10] = 17, 18
    Image.fromarray(labels).save(written.root / "training" / "mask" / "00000.png")
    assert list(read(written.root).side) == ["right"]
    assert list(read(written.root, hand="visible").side) == ["right"]
    labels[1, 9] = 0
    Image.fromarray(labels).save(written.root / "training" / "mask" / "00000.png")
    assert list(read(written.root).side) == ["left"]


def test_palm_is_half_way_to_the_middle_mcp(written, examples):
    palm = read(written.root, wrist="palm")
    np.testing.assert_allclose(palm.joints[:, 0], 0.5 * (examples.joints[:, 0] + examples.joints[:, 9]))
    np.testing.assert_allclose(palm.keypoints[:, 0], 0.5 * (examples.keypoints[:, 0] + examples.keypoints[:, 9]))
    np.testing.assert_array_equal(palm.joints[:, 1:], examples.joints[:, 1:])


def test_palm_is_visible_if_wrist_or_middle_mcp_is(tmp_path):
    written = write_rhd(tmp_path, frames=4)
    # Raw rows of a left hand: 0 the wrist, 12 the middle finger's MCP (the finger is 9 to 12, tip first).
    hidden = ([], [0], [12], [0, 12])
    frames = [annotation(written, frame) for frame in range(4)]
    for frame, rows in zip(frames, hidden, strict=True):
        for row in rows:
            frame["uv_vis"][[row, 21 + row], 2] = 0.0
    (written.root / "training" / "anno_training.pickle").write_bytes(protocol_2(dict(enumerate(frames))))
    assert list(read(written.root, wrist="palm").visible[:, 0]) == [True, True, True, False]
    assert list(read(written.root).visible[:, 0]) == [True, False, True, False]
    assert list(read(written.root).visible[:, 9]) == [True, True, False, False]


@pytest.mark.parametrize("protocol", [0, 2])
def test_both_pickle_protocols_of_python_2(tmp_path, protocol):
    written = write_rhd(tmp_path, "evaluation", frames=1, seed=1, protocol=protocol)
    examples = read(tmp_path, "evaluation")
    np.testing.assert_allclose(examples.joints, written.joints, atol=1e-12)
    assert examples.ids == ("evaluation/00000-right",)


def test_without_masks_and_depth(tmp_path):
    written = write_rhd(tmp_path, frames=1)
    for part in ("mask", "depth"):
        (written.root / "training" / part / "00000.png").unlink()
    with pytest.raises(ValueError, match="hand='visible' does not"):
        read(written.root)
    examples = read(written.root, hand="visible")
    assert examples.masks is None
    assert examples.depth is None


def test_three_real_frames(real_data, tmp_path):
    """Numbers of RHD itself, read through the reader: order, unit, camera, and each finger from base to tip."""
    real = json.loads((real_data / "rhd_three_frames.json").read_text())["frames"]
    root = tmp_path / "RHD_published_v2" / "training"
    (root / "color").mkdir(parents=True)
    annotations = {}
    for frame in real:
        number = int(frame["image"][:5])
        xyz, uv_visible = np.zeros((42, 3)), np.zeros((42, 3))
        rows = slice(0, 21) if frame["side"] == "left" else slice(21, 42)
        xyz[rows], uv_visible[rows] = np.array(frame["xyz_mm"]) / 1000, frame["uv_visible"]
        annotations[number] = {"xyz": xyz, "uv_vis": uv_visible, "K": np.array(frame["K"], np.float32)}
        (root / "color" / frame["image"]).write_bytes(b"not looked at")
    (root / "anno_training.pickle").write_bytes(protocol_2(annotations))
    examples = read(tmp_path, hand="visible")
    assert list(examples.side) == [frame["side"] for frame in real]
    assert list(examples.K[:, 0, 0].round(1)) == [299.0, 305.9, 263.2]
    images = np.einsum("nij,nkj->nki", examples.K, examples.joints)
    assert np.abs(images[..., :2] / images[..., 2:] - examples.keypoints).max() < 0.1
    # Middle finger's MCP to PIP, as known of these frames.
    bones = np.linalg.norm(examples.joints[:, 9] - examples.joints[:, 10], axis=1) * 1000
    np.testing.assert_allclose(bones, [34.6, 36.9, 36.8], atol=0.06)
    fingers = examples.joints[:, 1:].reshape(3, 5, 4, 3)
    from_wrist = np.linalg.norm(fingers - examples.joints[:, None, :1], axis=-1)
    # The palm is longer than any phalanx, and the thumb starts nearest to the wrist.
    assert (np.linalg.norm(fingers[:, 1:, 0] - examples.joints[:, :1], axis=-1) > 0.06).all()
    assert (np.linalg.norm(np.diff(fingers, axis=2), axis=-1) < 0.055).all()
    assert (from_wrist[..., 0].argmin(axis=1) == 0).all()


def annotation(written, frame: int) -> dict[str, np.ndarray]:
    raw = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
    xyz = written.extra["both_joints"][frame][:, raw].reshape(42, 3)
    uv = written.extra["both_keypoints"][frame][:, raw].reshape(42, 2)
    return {"xyz": xyz, "uv_vis": np.concatenate([uv, np.ones((42, 1))], axis=1), "K": written.K[frame]}
