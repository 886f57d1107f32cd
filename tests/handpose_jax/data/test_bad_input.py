"""Folders that are incomplete or damaged: an error that names the file and what to do, or with skip_bad a line."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import scipy.io

from handpose_jax.data.pixels import read_pixels
from handpose_jax.data.sets import READERS
from tests.fixtures.every_set import OPTIONS
from tests.fixtures.python2_pickle import protocol_2


@pytest.fixture
def a_copy(tiny_sets, tmp_path):
    """A function that makes a folder of a set that may be damaged."""

    def copy(name: str) -> pathlib.Path:
        return shutil.copytree(tiny_sets[name], tmp_path / "downloads" / tiny_sets[name].name)

    return copy


def read(name: str, root: pathlib.Path, **options):
    return READERS[name](root, **{**OPTIONS[name], **options})


def message_of(name: str, root: pathlib.Path, **options) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the caller checks the message)
        read(name, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_empty_and_missing_folders(name, tmp_path):
    assert f"{tmp_path}: the folder is empty; unpack" in message_of(name, tmp_path)
    assert f"{tmp_path / 'nowhere'}: no such folder" in message_of(name, tmp_path / "nowhere")
    (tmp_path / "something").mkdir()
    assert f"{tmp_path}: expected " in message_of(name, tmp_path)


HALVES = [
    # set, folder or file that was not unpacked
    ("rhd", "training/color"),
    ("rhd", "training/mask"),
    ("rhd", "training/anno_training.pickle"),
    ("stb", "images/B1Counting"),
    ("stb", "labels/B1Counting_SK.mat"),
    ("dexter_object", "Pinch"),
    ("dexter_object", "Rigid/color"),
    ("dexter_object", "Rigid/annotations/Rigid3D.txt"),
    ("freihand", "training/rgb"),
    ("freihand", "training_xyz.json"),
    ("freihand", "training_scale.json"),
    ("icvl", "Testing/test_seq_2.txt"),
    ("msra", "P0/TIP"),
    ("nyu", "test/joint_data.mat"),
]


@pytest.mark.parametrize(("name", "part"), HALVES)
def test_half_unpacked_archives(name, part, a_copy):
    root = a_copy(name)
    path = root / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (root.parent / "archive_1.zip").touch()
    message = message_of(name, root)
    assert str(path) in message
    assert "an archive lies there still (archive_1.zip): unpack it fully" in message


MAIN_PICTURES = {
    "rhd": ["training/color/00001.png", "training/mask/00001.png", "training/depth/00001.png"],
    "stb": ["images/B1Counting/SK_color_1.png"],
    "dexter_object": ["Rigid/color/Color_0001.bmp"],
    "freihand": ["training/rgb/00000005.jpg", "training/mask/00000001.jpg"],
    "icvl": ["Testing/Depth/test_seq_1/image_0000.png"],
    "msra": ["P0/TIP/000000_depth.bin"],
    "nyu": ["test/depth_1_0000002.png"],
}


@pytest.mark.parametrize(("name", "picture"), [(name, path) for name, paths in MAIN_PICTURES.items() for path in paths])
def test_annotations_without_their_picture(name, picture, a_copy):
    root = a_copy(name)
    whole = len(read(name, root))
    # Others stay in its folder: an empty folder is a part that is missing as a whole.
    (root / picture).parent.joinpath("other").touch()
    (root / picture).unlink()
    message = message_of(name, root)
    assert str(root / picture) in message
    assert "is missing" in message
    assert "skip_bad" in message
    rest = read(name, root, skip_bad=True)
    assert len(rest) == whole - (4 if "00000001.jpg" in picture else 1)
    assert any(picture in line for line in rest.skipped)


EXTRA_PICTURES = [
    ("rhd", "training/color/00002.png"),
    ("stb", "images/B1Counting/SK_color_2.png"),
    ("dexter_object", "Rigid/color/Color_0002.bmp"),
    ("freihand", "training/rgb/00000008.jpg"),
    ("msra", "P0/TIP/000001_depth.bin"),
    ("nyu", "test/depth_1_0000003.png"),
]


@pytest.mark.parametrize(("name", "picture"), EXTRA_PICTURES)
def test_pictures_without_their_annotation(name, picture, a_copy):
    root = a_copy(name)
    whole = len(read(name, root))
    (root / picture).touch()
    message = message_of(name, root)
    assert f"{root / picture}: the picture has no annotation" in message
    rest = read(name, root, skip_bad=True)
    assert len(rest) == whole
    assert len(rest.skipped) == 1


def test_icvl_tells_of_pictures_without_annotation(a_copy):
    """Whether its archives hold such pictures is not known, so they are no error."""
    root = a_copy("icvl")
    (root / "Testing/Depth/test_seq_1/image_0001.png").touch()
    assert read("icvl", root).notes == ("1 pictures have no annotation",)


def test_wrong_numbers_of_joints(a_copy):
    root = a_copy("rhd")
    frames = {
        frame: {"xyz": np.zeros((joints, 3)), "uv_vis": np.ones((42, 3)), "K": np.eye(3)}
        for frame, joints in enumerate((42, 21))
    }
    (root / "training/anno_training.pickle").write_bytes(protocol_2(frames))
    message = message_of("rhd", root)
    assert "anno_training.pickle: frame 00001: xyz must have shape [42, 3], got [21, 3]" in message
    rest = read("rhd", root, skip_bad=True)
    assert [name[:14] for name in rest.ids] == ["training/00000"]

    root = a_copy("stb")
    scipy.io.savemat(root / "labels/B1Counting_SK.mat", {"handPara": np.zeros((3, 20, 2))})
    assert "B1Counting_SK.mat: handPara must have shape [3, 21, frames], got [3, 20, 2]" in message_of("stb", root)

    root = a_copy("freihand")
    (root / "training_xyz.json").write_text(json.dumps(np.zeros((2, 20, 3)).tolist()))
    assert "training_xyz.json: xyz must have shape [samples, 21, 3], got [2, 20, 3]" in message_of("freihand", root)
    (root / "training_xyz.json").write_text(json.dumps(np.zeros((3, 21, 3)).tolist()))
    assert "training_xyz.json: expected 2 samples, as K has, got 3" in message_of("freihand", root)

    root = a_copy("nyu")
    scipy.io.savemat(root / "test/joint_data.mat", {"joint_xyz": np.zeros((3, 2, 35, 3))})
    assert "joint_xyz must have shape [kinects, frames, 36, 3], got [3, 2, 35, 3]" in message_of("nyu", root)


def test_lines_with_wrong_numbers_of_joints(a_copy):
    root = a_copy("icvl")
    path = root / "Testing/test_seq_1.txt"
    path.write_text(path.read_text().rsplit(maxsplit=1)[0])
    assert "test_seq_1.txt: line 1: expected a path and 48 numbers" in message_of("icvl", root)
    assert len(read("icvl", root, skip_bad=True)) == 1

    root = a_copy("msra")
    path = root / "P0/TIP/joint.txt"
    path.write_text(path.read_text().rsplit(maxsplit=3)[0])
    assert "TIP/joint.txt: line 2: expected 63 numbers (21 joints), got 60" in message_of("msra", root)
    assert len(read("msra", root, skip_bad=True)) == 16
    path.write_text("500\n")
    assert "TIP/joint.txt: expected 500 frames, as its first line says, got 0" in message_of("msra", root)

    root = a_copy("dexter_object")
    path = root / "Rigid/annotations/Rigid3D.txt"
    path.write_text(path.read_text().split(";", 1)[1])
    message = message_of("dexter_object", root)
    assert "Rigid3D.txt: line 1: expected 8 entries (five fingertips, three corners) of 3 numbers" in message
    assert len(read("dexter_object", root, skip_bad=True)) == 5


def test_annotation_files_that_are_damaged(a_copy):
    root = a_copy("stb")
    path = root / "labels/B1Counting_SK.mat"
    path.write_bytes(path.read_bytes()[:100])
    assert "B1Counting_SK.mat: not a readable .mat file" in message_of("stb", root)
    scipy.io.savemat(path, {"other": np.zeros(3)})
    assert "B1Counting_SK.mat: not STB's labels" in message_of("stb", root)

    root = a_copy("freihand")
    path = root / "training_xyz.json"
    path.write_text(path.read_text()[:-100])
    assert "training_xyz.json: not readable JSON" in message_of("freihand", root)
    path.write_text("[[[NaN]]]")
    assert "training_xyz.json: xyz must have shape" in message_of("freihand", root)

    root = a_copy("nyu")
    (root / "test/joint_data.mat").write_bytes(b"MATLAB 7.3 MAT-file, but not really")
    assert "joint_data.mat: not a readable .mat file" in message_of("nyu", root)


def test_a_picture_cut_short_is_named_when_it_is_decoded(a_copy):
    root = a_copy("rhd")
    for part in ("color", "mask"):
        path = root / "training" / part / "00001.png"
        path.write_bytes(path.read_bytes()[:-200])
    assert f"{root}/training/mask/00001.png: not a readable labels file" in message_of("rhd", root)
    rest = read("rhd", root, skip_bad=True)
    assert len(rest) == 1
    assert len(rest.skipped) == 1
    examples = read("rhd", root, hand="visible")
    read_pixels(examples.images, 0)
    with pytest.raises(ValueError, match=r"color/00001\.png: not a readable rgb file"):
        read_pixels(examples.images, 1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rhd", {"hand": "left"}, "hand must be one of mask, visible, both, got 'left'"),
        ("rhd", {"wrist": "ring"}, "wrist must be one of wrist, palm, got 'ring'"),
        ("rhd", {"split": "test"}, "split must be one of training, evaluation, got 'test'"),
        ("stb", {"view": "SK"}, "view must be one of BB, BB_left"),
        ("stb", {"wrist": "wrist"}, "wrist must be one of ring, middle, mean, palm"),
        ("stb", {"sequences": ("B7Random",)}, "sequences must be one of B1Counting"),
        ("dexter_object", {"sign": "-1"}, "sign must be one of auto, raw, flipped"),
        ("dexter_object", {"view": "rgb"}, "view must be one of color, depth"),
        ("freihand", {"versions": ("gan",)}, "versions must be one of gs, hom, sample, auto"),
        ("icvl", {"split": "test"}, "split must be one of training, evaluation"),
        ("msra", {"subject": 9}, "subject must be one of P0"),
        ("msra", {"known_bad": "drop"}, "known_bad must be one of keep, skip"),
        ("nyu", {"kinect": 4}, "kinect must be one of 1, 2, 3"),
    ],
)
def test_options_that_do_not_exist(tiny_sets, name, options, message):
    assert message in message_of(name, tiny_sets[name], **options)
