"""ICVL (Tang et al., CVPR 2014): depth of right hands, 16 joints.

Layout and conventions as in moberweger/deep-prior-pp (`src/data/importers.py`) and mks0601/V2V-PoseNet
(`src/data/ICVL/data.lua`).
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
    names_in,
    no_keypoints,
    required_root,
    survey_of,
    unpacking_advice,
)

TITLE = "ICVL"
MARKERS = ("Training/labels.txt", "Testing/test_seq_1.txt", "train.txt", "test_seq_1.txt", "Training/Depth")
BELOW = ("ICVL", "icvl")
ARCHIVES = ("training*", "testing*", "icvl*")
SPLITS = {
    "training": ("Training", ("labels.txt",)),
    "evaluation": ("Testing", ("test_seq_1.txt", "test_seq_2.txt")),
}
SIZE = (240, 320)
FOCAL, CENTRE = 241.42, (160.0, 120.0)
FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINT_NAMES = ("palm", *(f"{finger}_{part}" for finger in FINGERS for part in ("root", "mid", "tip")))


def read(
    folder: str | os.PathLike,
    split: str = "evaluation",
    *,
    originals_only: bool = False,
    focal: float = FOCAL,
    skip_bad: bool = False,
) -> HandExamples:
    """Right hands of one split. Their 16 joints are in `native` (metres); the set has no map to the 21 keypoints.

    Args:
      folder: that holds Training/ and Testing/; or, as deep-prior has it, all pictures in one Depth/ and beside it the
        label files train.txt, test_seq_1.txt and test_seq_2.txt.
      split: "training" (331,006 pictures, most of them turned copies) or "evaluation" (702 + 894).
      originals_only: leave the turned copies out, that is the paths whose first folder is an angle of at most six
        characters ("45/...", "67-5/...").
      focal: pixels, of both axes; u, v are pixels and d millimetres in the label files, and metres follow from this.
        241.42 (default) as the loaders; the community's evaluation program converts with 240.99 and 240.96.
      skip_bad: leave out entries that cannot be used, a line each in `skipped`, in place of raising.

    Raises:
      ValueError: an unknown option, a missing part, a line with another number of joints, an annotation without its
        picture.
    """
    choice("split", split, SPLITS)
    root = required_root(folder, TITLE, MARKERS, BELOW)
    problems = Problems(skip_bad)
    name, files = SPLITS[split]
    labels = [path for path in (_label_file(root, name, file) for file in files) if path is not None]
    if len(labels) < (1 if split == "training" else 2):
        wanted = root / name / (files[0] if split == "training" or not labels else files[1])
        raise ValueError(f"{wanted}: the labels are missing; {unpacking_advice(root)}")
    pictures = next((path for path in (root / name / "Depth", root / "Depth") if path.is_dir()), None)
    if pictures is None:
        raise ValueError(f"{root / name / 'Depth'}: is missing, but {TITLE} needs it; {unpacking_advice(root)}")
    present: dict[pathlib.Path, set[str]] = {}
    paths, values, sequence, ids = [], [], [], []
    for path in labels:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            parts = line.split()
            if not parts:
                continue
            relative = parts[0].replace("\\", "/")
            if originals_only and "/" in relative and len(relative.split("/")[0]) <= 6:
                continue
            picture = pictures / relative
            try:
                row = [float(value) for value in parts[1:]]
            except ValueError:
                row = []
            if len(row) != 3 * len(JOINT_NAMES):
                problems.report(
                    f"{path}: line {number}: expected a path and {3 * len(JOINT_NAMES)} numbers "
                    f"(u, v, d of 16 joints), got {len(parts) - 1} numbers"
                )
                continue
            if picture.parent not in present:
                present[picture.parent] = names_in(picture.parent)
            if picture.name not in present[picture.parent]:
                problems.report(f"{picture}: the picture is missing, but {path.name} annotates it; unpack again")
                continue
            paths.append(str(picture))
            values.append(row)
            sequence.append(relative.rpartition("/")[0])
            ids.append(f"{split}/{relative.removesuffix('.png')}")
    used = {pathlib.Path(path) for path in paths}
    spare = sum(len([n for n in names if n.endswith(".png") and f / n not in used]) for f, names in present.items())
    notes = (f"{spare} pictures have no annotation",) if spare and not originals_only and not problems.lines else ()
    uvd = np.array(values, np.float64).reshape(-1, len(JOINT_NAMES), 3)
    depth = uvd[..., 2:] * 0.001
    native = np.concatenate([(uvd[..., :2] - np.array(CENTRE)) / focal * depth, depth], axis=-1)
    joints, keypoints, visible = no_keypoints(len(uvd))
    return HandExamples(
        name="icvl",
        split=split,
        ids=tuple(ids),
        K=np.repeat(camera(focal, focal, *CENTRE)[None], len(uvd), axis=0),
        side=np.full(len(uvd), "right"),
        joints=joints,
        keypoints=keypoints,
        visible=visible,
        depth=PixelFiles(tuple(paths), "depth_millimetres", SIZE),
        sequence=tuple(sequence),
        native_names=JOINT_NAMES,
        native=native,
        skipped=tuple(problems.lines),
        notes=notes,
    )


def find_root(folder: pathlib.Path) -> pathlib.Path | None:
    return found_root(folder, MARKERS, BELOW)


def survey(root: pathlib.Path) -> Survey:
    found = survey_of(root, ("Training/Depth", "Testing/Depth"), {})
    present, missing, pictures = list(found.present), list(found.missing), {}
    for split, (name, files) in SPLITS.items():
        paths = {file: _label_file(root, name, file) for file in files}
        present += [str(path.relative_to(root)) for path in paths.values() if path is not None]
        missing += [f"{name}/{file}" for file, path in paths.items() if path is None]
        lines = 0
        for path in filter(None, paths.values()):
            with path.open("rb") as file:
                lines += sum(bool(line.strip()) for line in file)
        if lines and (f"{name}/Depth" in present or (root / "Depth").is_dir()):
            pictures[split] = lines
    return Survey(tuple(present), tuple(missing), pictures)


def _label_file(root: pathlib.Path, name: str, file: str) -> pathlib.Path | None:
    """In the split's folder, or where other loaders put it, at the root; the training file is train.txt there."""
    places = [root / name / file, root / file]
    if file == "labels.txt":
        places = [root / name / file, root / "train.txt"]
    return next((path for path in places if path.is_file()), None)
