"""NYU hand pose (Tompson et al., SIGGRAPH 2014): depth of right hands from three Kinects, 36 joints, 14 of them scored.

Layout and conventions as in moberweger/deep-prior-pp (`src/data/importers.py`) and mks0601/V2V-PoseNet.
"""

import os
import pathlib

import numpy as np

from handpose_jax.data.examples import HandExamples, PixelFiles
from handpose_jax.data.sets.layout import (
    Problems,
    Survey,
    camera,
    choice,
    found_root,
    matched,
    names_in,
    no_keypoints,
    numbers,
    required_part,
    required_root,
    survey_of,
)

TITLE = "NYU hand pose"
MARKERS = ("train/joint_data.mat", "test/joint_data.mat")
BELOW = ("dataset", "nyu_hand_dataset_v2/dataset", "nyu_hand_dataset_v2", "nyu", "NYU")
ARCHIVES = ("nyu_hand*",)
SPLITS = {"training": "train", "evaluation": "test"}
SIZE = (480, 640)
K = camera(588.036865, 587.075073, 320.0, 240.0)
JOINTS = 36
SCORED = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
SCORED_NAMES = (
    *("little_tip", "little_root", "ring_tip", "ring_root", "middle_tip", "middle_root", "index_tip", "index_root"),
    *("thumb_tip", "thumb_root_2", "thumb_root_1", "wrist_2", "wrist_1", "palm"),
)
KEYPOINT_FROM_SCORED = {4: 8, 8: 6, 12: 4, 16: 2, 20: 0}
"""Only the fingertips mean the same as in the 21 keypoints."""


def read(
    folder: str | os.PathLike, split: str = "evaluation", *, kinect: int = 1, skip_bad: bool = False
) -> HandExamples:
    """Right hands of one split. The 14 scored joints are in `native`, the palm last; of the 21 keypoints only the
    fingertips are given.

    Args:
      folder: that holds train/ and test/.
      split: "training" (72,757 frames) or "evaluation" (8,252).
      kinect: 1 (default, as the protocol), 2 or 3.
      skip_bad: leave out frames that cannot be used, a line each in `skipped`, in place of raising.

    Raises:
      ValueError: an unknown option, a missing part, a joint_data.mat that is not the set's, a picture without its
        annotation or the other way round.
    """
    choice("split", split, SPLITS)
    choice("kinect", str(kinect), ("1", "2", "3"))
    root = required_root(folder, TITLE, MARKERS, BELOW)
    pictures = required_part(root, SPLITS[split], TITLE)
    path = required_part(root, f"{SPLITS[split]}/joint_data.mat", TITLE)
    problems = Problems(skip_bad)
    xyz, uvd = _joint_data(path, kinect)
    prefix = f"depth_{kinect}_"
    names = [f"{prefix}{frame + 1:07d}.png" for frame in range(len(xyz))]
    present = {name for name in names_in(pictures, ".png") if name.startswith(prefix)}
    rows = np.flatnonzero(matched(names, pictures, path.name, problems, present))
    # Millimetres with y up.
    native = xyz[rows][:, SCORED] * np.array([0.001, -0.001, 0.001])
    joints, keypoints, visible = no_keypoints(len(rows))
    for keypoint, scored in KEYPOINT_FROM_SCORED.items():
        joints[:, keypoint] = native[:, scored]
        keypoints[:, keypoint] = uvd[rows, SCORED[scored], :2]
        visible[:, keypoint] = True
    return HandExamples(
        name="nyu",
        split=split,
        ids=tuple(f"{split}/{kinect}/{row + 1:07d}" for row in rows),
        K=np.repeat(K[None], len(rows), axis=0),
        side=np.full(len(rows), "right"),
        joints=joints,
        keypoints=keypoints,
        visible=visible,
        depth=PixelFiles(tuple(str(pictures / names[row]) for row in rows), "depth_nyu", SIZE),
        sequence=tuple(f"{split}/{kinect}" for _ in rows),
        native_names=SCORED_NAMES,
        native=native,
        skipped=tuple(problems.lines),
    )


def find_root(folder: pathlib.Path) -> pathlib.Path | None:
    return found_root(folder, MARKERS, BELOW)


def survey(root: pathlib.Path) -> Survey:
    found = survey_of(root, [f"{name}/joint_data.mat" for name in SPLITS.values()], {})
    counts = {
        split: sum(file.startswith("depth_1_") for file in names_in(root / name, ".png"))
        for split, name in SPLITS.items()
    }
    pictures = {f"{SPLITS[split]}/depth_1_*.png": count for split, count in counts.items()}
    present = (*found.present, *(name for name, count in pictures.items() if count))
    missing = (*found.missing, *(name for name, count in pictures.items() if not count))
    return Survey(present, missing, {split: count for split, count in counts.items() if count})


def _joint_data(path: pathlib.Path, kinect: int) -> tuple[np.ndarray, np.ndarray]:
    """Millimetres (y up) and pixels with millimetres, each [frames, 36, 3], of one Kinect."""
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=["joint_xyz", "joint_uvd"])
    except Exception as error:  # Whatever decoding foreign bytes raises, it means the same to the caller.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ValueError(f"{path}: not a readable .mat file ({reason}); unpack it again") from None
    arrays = []
    for name in ("joint_xyz", "joint_uvd"):
        if name not in content:
            raise ValueError(f"{path}: not NYU's joints: expected a variable {name} [kinects, frames, {JOINTS}, 3]")
        array = numbers(content[name], ("kinects", "frames", JOINTS, 3), str(path), name)
        if len(array) < kinect:
            raise ValueError(f"{path}: {name} has {len(array)} Kinects, number {kinect} was asked for")
        arrays.append(array[kinect - 1])
    if len(arrays[0]) != len(arrays[1]):
        raise ValueError(f"{path}: joint_xyz and joint_uvd have different numbers of frames; unpack the set again")
    return arrays[0], arrays[1]
