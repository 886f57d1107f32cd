"""MSRA15, the MSRA hand gesture database (Sun et al., CVPR 2015): depth of nine right hands, 21 joints.

Layout and conventions as in moberweger/deep-prior-pp (`src/data/importers.py`) and mks0601/V2V-PoseNet.
"""

import os
import pathlib

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
    projected,
    required_part,
    required_root,
)
from mano_jax.keypoints import reorder_keypoints

TITLE = "MSRA15 (MSRA hand gesture database)"
SUBJECTS = tuple(f"P{number}" for number in range(9))
GESTURES = (*map(str, range(1, 10)), "I", "IP", "L", "MP", "RP", "T", "TIP", "Y")
MARKERS = tuple(f"{subject}/*/joint.txt" for subject in SUBJECTS)
BELOW = ("cvpr15_MSRAHandGestureDB",)
ARCHIVES = ("cvpr15_msra*",)
SPLITS = ("training", "evaluation", "all", *SUBJECTS)
SIZE = (240, 320)
K = camera(241.42, 241.42, 160.0, 120.0)
KNOWN_BAD = {
    ("P2", "TIP"): {172, 173, 174},
    ("P2", "MP"): {173, 174, 175, *range(345, 355), 356, 359, 360},
    ("P3", "T"): {120, 489},
    ("P8", "4"): {168},
}
"""Frames that deep-prior-pp's page lists as wrongly annotated."""


def read(
    folder: str | os.PathLike,
    split: str = "all",
    *,
    subject: int = 0,
    known_bad: str = "keep",
    skip_bad: bool = False,
) -> HandExamples:
    """Right hands of one split.

    Args:
      folder: cvpr15_MSRAHandGestureDB, or the folder that holds it.
      split: "P0" to "P8", "all", or of the protocol that leaves one subject out: "evaluation" (that subject) and
        "training" (the eight others).
      subject: left out; 0 by default. The protocol takes all nine in turn.
      known_bad: "keep" (default; published numbers are over all 76,375 frames) or "skip" frames known to be wrongly
        annotated.
      skip_bad: leave out frames that cannot be used, a line each in `skipped`, in place of raising.

    Raises:
      ValueError: an unknown option, a missing part, a line with another number of joints, another number of lines than
        the file says, a picture without its annotation or the other way round.
    """
    choice("split", split, SPLITS)
    choice("known_bad", known_bad, ("keep", "skip"))
    choice("subject", f"P{subject}", SUBJECTS)
    wanted = {
        "all": SUBJECTS,
        "evaluation": (f"P{subject}",),
        "training": tuple(name for name in SUBJECTS if name != f"P{subject}"),
    }.get(split, (split,))
    root = required_root(folder, TITLE, MARKERS, BELOW)
    problems = Problems(skip_bad)
    joints, paths, ids, sequence = [], [], [], []
    for person in wanted:
        required_part(root, person, TITLE)
        for gesture in GESTURES:
            place = f"{person}/{gesture}"
            path = required_part(root, f"{place}/joint.txt", TITLE)
            rows = _joints(path, problems)
            names = [f"{frame:06d}_depth.bin" for frame in range(len(rows))]
            there = matched(names, path.parent, f"{place}/joint.txt", problems, names_in(path.parent, "_depth.bin"))
            bad = KNOWN_BAD.get((person, gesture), set()) if known_bad == "skip" else set()
            for frame, row in enumerate(rows):
                if there[frame] and row is not None and frame not in bad:
                    joints.append(row)
                    paths.append(str(path.parent / names[frame]))
                    ids.append(f"{place}/{frame:06d}")
                    sequence.append(place)
    # Millimetres, y up and z towards the viewer: OpenCV's axes have both the other way round.
    xyz = np.array(joints, np.float64).reshape(-1, 21, 3) * np.array([0.001, -0.001, -0.001])
    xyz = reorder_keypoints(xyz, "msra")
    cameras = np.repeat(K[None], len(xyz), axis=0)
    return HandExamples(
        name="msra",
        split=split,
        ids=tuple(ids),
        K=cameras,
        side=np.full(len(xyz), "right"),
        joints=xyz,
        keypoints=projected(xyz, cameras),
        visible=np.ones((len(xyz), 21), bool),
        depth=PixelFiles(tuple(paths), "depth_msra", SIZE),
        sequence=tuple(sequence),
        skipped=tuple(problems.lines),
    )


def find_root(folder: pathlib.Path) -> pathlib.Path | None:
    return found_root(folder, MARKERS, BELOW)


def survey(root: pathlib.Path) -> Survey:
    present, missing, pictures = [], [], {}
    for subject in SUBJECTS:
        for gesture in GESTURES:
            place = f"{subject}/{gesture}"
            count = len(names_in(root / place, "_depth.bin"))
            is_there = count > 0 and (root / place / "joint.txt").is_file()
            (present if is_there else missing).append(place)
            pictures[subject] = pictures.get(subject, 0) + count
    return Survey(tuple(present), tuple(missing), {subject: count for subject, count in pictures.items() if count})


def _joints(path: pathlib.Path, problems: Problems) -> list[Float[np.ndarray, "63"] | None]:
    lines = path.read_text(errors="replace").rstrip().splitlines()
    if not lines or not lines[0].strip().isdigit():
        raise ValueError(f"{path}: not MSRA15's joints: the first line must be the number of frames; unpack again")
    if len(lines) - 1 != int(lines[0]):
        problems.report(f"{path}: expected {int(lines[0])} frames, as its first line says, got {len(lines) - 1}")
    result: list[np.ndarray | None] = []
    for number, line in enumerate(lines[1:], start=2):
        parts = line.split()
        try:
            row = np.array(parts, np.float64)
        except ValueError:
            row = np.zeros(0)
        if row.shape == (63,) and np.isfinite(row).all():
            result.append(row)
        else:
            problems.report(f"{path}: line {number}: expected 63 numbers (21 joints), got {len(parts)}")
            result.append(None)
    return result
