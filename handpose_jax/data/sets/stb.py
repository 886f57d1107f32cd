"""STB, the Stereo hand pose Tracking Benchmark (Zhang et al., ICIP 2017): one left hand before two cameras.

Conventions as in zhjwustc/icip17_stereo_hand_pose_dataset (README, `positionCalc.m`); the order of joints, units and
wrists as in lmb-freiburg/hand3d (`data/stb/create_db.m`, `data/BinaryDbReaderSTB.py`).
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from handpose_jax.data.examples import HandExamples, PixelFiles
from handpose_jax.data.sets.layout import (
    Problems,
    Survey,
    camera,
    choice,
    found_root,
    matched,
    names_in,
    numbers,
    projected,
    required_root,
    survey_of,
    unpacking_advice,
)
from mano_jax.keypoints import KEYPOINT_NAMES, reorder_keypoints

TITLE = "STB (Stereo hand pose Tracking Benchmark)"
MARKERS = ("labels/B[1-6]*_BB.mat", "labels/B[1-6]*_SK.mat", "images/B[1-6]*")
BELOW = ("STB", "stb")
ARCHIVES = ("stb*", "b[1-6]*", "labels*")
SIZE = (480, 640)
SEQUENCES = tuple(f"B{number}{kind}" for number in range(1, 7) for kind in ("Counting", "Random"))
SPLITS = {"training": SEQUENCES[2:], "evaluation": SEQUENCES[:2], "all": SEQUENCES}
"""As all papers divide it: the first background is for evaluation."""

BB = camera(822.79041, 822.79041, 318.47345, 250.31296)
BASELINE = 0.120054
SK_COLOR = camera(607.92271, 607.88192, 314.78337, 236.42484)
SK_DEPTH = camera(475.62768, 474.77709, 336.41179, 238.77962)
SK_ROTATION = (0.00531, -0.01196, 0.00301)
SK_TRANSLATION = (-0.0240381, -0.0004563, -0.0012326)
"""Axis-angle and metres: depth = R colour + t."""
VIEWS = {"BB": ("BB_left", "BB_right"), **{name: (name,) for name in ("BB_left", "BB_right", "SK_color", "SK_depth")}}
WRISTS = {"ring": ((13,), 2.0), "middle": ((9,), 2.2), "mean": ((5, 9, 13, 17), 2.25), "palm": ((13,), 1.0)}
"""MCPs from whose mean the palm is overshot, and by which factor; "palm" stays at the palm."""


def read(
    folder: str | os.PathLike,
    split: str = "training",
    *,
    view: str = "BB",
    wrist: str = "ring",
    sequences: Sequence[str] | None = None,
    skip_bad: bool = False,
) -> HandExamples:
    """Left hands of one split; sequence by sequence, and of each the views one after the other.

    Args:
      folder: that holds labels/ and images/, or labels/ and the sequences' folders themselves.
      split: "training" (B2 to B6), "evaluation" (B1) or "all".
      view: "BB" (default: both pictures of the stereo camera, as hand3d; 30,000 and 6,000 of them), "BB_left",
        "BB_right", "SK_color", or "SK_depth" (depth and no colour). 3D is in the frame of the camera of the view.
      wrist: what keypoint 0 is. The set annotates the palm's centre, not the wrist. "ring" (default): ring MCP + 2.0 *
        (palm - ring MCP), as hand3d, Ge et al., Minimal-Hand; "middle": the same of the middle MCP with 2.2; "mean": of
        the mean of the four fingers' MCPs with 2.25; "palm": the palm's centre itself, as hand3d's own evaluation. The
        palm is in `native[:, 0]` whatever is chosen. Pixels are the projection of the 3D point (hand3d extrapolates in
        pixels, which differs slightly).
      sequences: only these ("B1Counting", ...), in place of the split's.
      skip_bad: leave out frames and sequences that cannot be used, a line each in `skipped`, in place of raising.

    Raises:
      ValueError: an unknown option, a missing part, labels that are not STB's, a picture without its annotation or the
        other way round.
    """
    choice("split", split, SPLITS)
    choice("view", view, VIEWS)
    choice("wrist", wrist, WRISTS)
    wanted = SPLITS[split] if sequences is None else tuple(sequences)
    for name in wanted:
        choice("sequences", name, SEQUENCES)
    root = required_root(folder, TITLE, MARKERS, BELOW)
    problems = Problems(skip_bad)
    parts: list[tuple[str, list[int], Float[np.ndarray, "frames 21 3"], list[str]]] = []
    for sequence in wanted:
        labels = root / "labels" / f"{sequence}_{view[:2]}.mat"
        try:
            xyz = _labels(labels)
            images = _images(root, sequence, VIEWS[view])
        except ValueError as error:
            problems.report(str(error))
            continue
        for one in VIEWS[view]:
            names = [f"{one}_{frame}.png" for frame in range(len(xyz))]
            present = {name for name in names_in(images) if name.startswith(f"{one}_") and name.endswith(".png")}
            present = {name for name in present if name[len(one) + 1 : -4].isdigit()}
            there = matched(names, images, f"labels/{labels.name}", problems, present)
            frames = [frame for frame, is_there in enumerate(there) if is_there]
            paths = [str(images / names[frame]) for frame in frames]
            parts.append((f"{sequence}/{one}", frames, _in_view(xyz[frames], one), paths))

    native = np.concatenate([np.zeros((0, 21, 3)), *(points for _, _, points, _ in parts)])
    joints = native.copy()
    mcps, factor = WRISTS[wrist]
    base = native[:, list(mcps)].mean(axis=1)
    joints[:, 0] = base + factor * (native[:, 0] - base)
    K = np.concatenate([np.zeros((0, 3, 3)), *(np.repeat(_K(name)[None], len(f), axis=0) for name, f, _, _ in parts)])
    paths = tuple(path for *_, paths in parts for path in paths)
    files = PixelFiles(paths, "depth_stb" if view == "SK_depth" else "rgb", SIZE)
    return HandExamples(
        name="stb",
        split=split,
        ids=tuple(f"{name}/{frame:04d}" for name, frames, _, _ in parts for frame in frames),
        K=K,
        side=np.full(len(joints), "left"),
        joints=joints,
        keypoints=projected(joints, K),
        visible=np.ones((len(joints), 21), bool),
        images=None if view == "SK_depth" else files,
        depth=files if view == "SK_depth" else None,
        sequence=tuple(name for name, frames, _, _ in parts for _ in frames),
        native_names=("palm", *KEYPOINT_NAMES[1:]),
        native=native,
        skipped=tuple(problems.lines),
    )


def find_root(folder: pathlib.Path) -> pathlib.Path | None:
    return found_root(folder, MARKERS, BELOW)


def survey(root: pathlib.Path) -> Survey:
    folders = {sequence: _sequence_folder(root, sequence) for sequence in SEQUENCES}
    labels = [f"labels/{sequence}_{kind}.mat" for sequence in SEQUENCES for kind in ("BB", "SK")]
    found = survey_of(root, labels, {})
    there = tuple(str(path.relative_to(root)) for path in folders.values() if path is not None)
    missing = tuple(f"images/{sequence}" for sequence, path in folders.items() if path is None)
    pictures: dict[str, int] = {}
    for split in ("training", "evaluation"):
        names = [
            name for sequence in SPLITS[split] if (path := folders[sequence]) is not None for name in names_in(path)
        ]
        count = sum(name.startswith(("BB_left_", "BB_right_", "SK_color_")) for name in names)
        pictures |= {split: count} if count else {}
    return Survey(found.present + there, found.missing + missing, pictures)


def _labels(path: pathlib.Path) -> Float[np.ndarray, "frames 21 3"]:
    """Canonical order but for the palm in the wrist's place, metres, in the frame of the labels' camera."""
    import scipy.io

    if not path.is_file():
        raise ValueError(f"{path}: the labels are missing; {unpacking_advice(path.parent.parent)}")
    try:
        content = scipy.io.loadmat(path, variable_names=["handPara"])
    except Exception as error:  # Whatever decoding foreign bytes raises, it means the same to the caller.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ValueError(f"{path}: not a readable .mat file ({reason}); unpack it again") from None
    if "handPara" not in content:
        raise ValueError(f"{path}: not STB's labels: expected a variable handPara [3, 21, frames]")
    para = numbers(content["handPara"], (3, 21, "frames"), str(path), "handPara")
    return reorder_keypoints(para.transpose(2, 1, 0) * 0.001, "stb")


def _in_view(xyz: Float[np.ndarray, "frames 21 3"], view: str) -> Float[np.ndarray, "frames 21 3"]:
    """From the labels' frame (left BB, or SK's depth camera) to that of the view."""
    if view == "BB_right":
        return xyz - np.array([BASELINE, 0.0, 0.0])
    if view == "SK_color":
        # R^T (x - t) for rows of points.
        return (xyz - np.array(SK_TRANSLATION)) @ sk_rotation()
    return xyz


def sk_rotation() -> Float[np.ndarray, "3 3"]:
    """R from SK's colour to its depth camera."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(SK_ROTATION).as_matrix()


def _K(name: str) -> Float[np.ndarray, "3 3"]:
    view = name.rpartition("/")[2]
    return {"SK_color": SK_COLOR, "SK_depth": SK_DEPTH}.get(view, BB)


def _sequence_folder(root: pathlib.Path, sequence: str) -> pathlib.Path | None:
    # Some archives hold a folder of the sequence's name, others do not, and loaders differ in the level images/.
    for place in (root / "images", root):
        for folder in (place / sequence / sequence, place / sequence):
            if any(name.endswith(".png") for name in names_in(folder)):
                return folder
    return None


def _images(root: pathlib.Path, sequence: str, views: Sequence[str]) -> pathlib.Path:
    folder = _sequence_folder(root, sequence)
    if folder is None:
        place = root / "images" if (root / "images").is_dir() else root
        raise ValueError(f"{place / sequence}: the pictures are missing; {unpacking_advice(root)}")
    for view in views:
        if f"{view}_0.png" not in names_in(folder):
            raise ValueError(f"{folder / f'{view}_0.png'}: there is none of {view}; {unpacking_advice(root)}")
    return folder
