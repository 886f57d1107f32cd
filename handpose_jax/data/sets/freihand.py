"""FreiHAND v2 (Zimmermann et al., ICCV 2019): right hands with MANO's mesh, four versions of each training picture.

Layout and conventions as in lmb-freiburg/freihand (`utils/fh_utils.py`, `view_samples.py`, `eval.py`).
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from handpose_jax.data.examples import HandExamples, PixelFiles
from handpose_jax.data.sets.layout import (
    Problems,
    Survey,
    choice,
    found_root,
    matched,
    names_in,
    no_keypoints,
    numbers,
    projected,
    read_json,
    required_part,
    required_root,
    survey_of,
)

TITLE = "FreiHAND v2"
MARKERS = ("training_K.json", "evaluation_K.json", "training_xyz.json")
BELOW = ("FreiHAND_pub_v2", "FreiHAND_pub_v2_eval")
ARCHIVES = ("freihand*",)
SPLITS = ("training", "evaluation")
SIZE = (224, 224)
VERSIONS = ("gs", "hom", "sample", "auto")
"""Green screen as photographed, and three other backgrounds; number = sample + count * version."""
_BONE = (9, 10)


def read(
    folder: str | os.PathLike,
    split: str = "training",
    *,
    versions: Sequence[str] = VERSIONS,
    vertices: bool | None = None,
    skip_bad: bool = False,
) -> HandExamples:
    """Right hands of one split.

    Args:
      folder: FreiHAND_pub_v2, or the folder that holds it. The annotations of the evaluation split, published in 2022,
        may lie in it or in FreiHAND_pub_v2_eval beside it.
      split: "training" (32,560 samples in four versions) or "evaluation" (3,960). Without its annotations, joints and
        keypoints of the evaluation split are NaN and `visible` is False; K and `bone_length` are always given.
      versions: which of the four versions of a training sample; all by default.
      vertices: whether to read the mesh. By default only for evaluation: the training file is 1.5 GB of JSON.
      skip_bad: leave out entries that cannot be used, a line each in `skipped`, in place of raising.

    Raises:
      ValueError: an unknown option, a missing part, annotations of different lengths, a wrong number of joints, a
        picture without its annotation or the other way round.
    """
    choice("split", split, SPLITS)
    for version in versions:
        choice("versions", version, VERSIONS)
    root = required_root(folder, TITLE, MARKERS, BELOW)
    rgb = required_part(root, f"{split}/rgb", TITLE)
    problems = Problems(skip_bad)
    K_path = required_part(root, f"{split}_K.json", TITLE)
    K = numbers(read_json(K_path), ("samples", 3, 3), str(K_path), "K")
    count = len(K)
    bone_length = _annotation(required_part(root, f"{split}_scale.json", TITLE), "scale", count, ())
    xyz_path = _annotation_path(root, split, "xyz")
    if xyz_path is None:
        if split == "training":
            required_part(root, "training_xyz.json", TITLE)
        (joints, keypoints, visible), mesh = no_keypoints(count), None
    else:
        joints = _annotation(xyz_path, "xyz", count, (21, 3))
        keypoints, visible = projected(joints, K), np.ones((count, 21), bool)
        mesh = _mesh(root, split, count, split == "evaluation" if vertices is None else vertices)

    wanted = [VERSIONS.index(version) for version in (versions if split == "training" else VERSIONS[:1])]
    present = names_in(rgb, ".jpg")
    extra = [name for name in present if not _is_number(name) or int(name[:8]) >= count * len(VERSIONS)]
    numbers_of = [sample + count * version for version in wanted for sample in range(count)]
    names = [f"{number:08d}.jpg" for number in numbers_of]
    # Other versions than the wanted ones may lie there; only what no annotation can mean is a picture too many.
    checked = present if split == "evaluation" else set(extra) | (present & set(names))
    there = matched(names, rgb, K_path.name, problems, checked)
    masks = root / split / "mask"
    mask_names = names_in(masks, ".jpg")
    if mask_names:
        own = [f"{number % count:08d}.jpg" for number in numbers_of]
        for name in sorted(set(own) - mask_names):
            problems.report(f"{masks / name}: the mask is missing, but pictures are annotated with it; unpack again")
        there = [is_there and name in mask_names for is_there, name in zip(there, own, strict=True)]

    chosen = [number for number, is_there in zip(numbers_of, there, strict=True) if is_there]
    sample = np.array([number % count for number in chosen], np.int64)
    version = [VERSIONS[number // count] for number in chosen]
    mask_paths = tuple(str(masks / f"{row:08d}.jpg") for row in sample)
    suffix = [f"-{name}" if split == "training" else "" for name in version]
    return HandExamples(
        name="freihand",
        split=split,
        ids=tuple(f"{split}/{number:08d}{end}" for number, end in zip(chosen, suffix, strict=True)),
        K=K[sample],
        side=np.full(len(chosen), "right"),
        joints=joints[sample],
        keypoints=keypoints[sample],
        visible=visible[sample],
        images=PixelFiles(tuple(str(rgb / f"{number:08d}.jpg") for number in chosen), "rgb", SIZE),
        masks=PixelFiles(mask_paths, "mask_picture", SIZE) if mask_names else None,
        vertices=None if mesh is None else mesh[sample],
        bone_length=bone_length[sample],
        skipped=tuple(problems.lines),
        notes=() if xyz_path else ("evaluation without its annotations (FreiHAND_pub_v2_eval.zip holds them)",),
    )


def find_root(folder: pathlib.Path) -> pathlib.Path | None:
    return found_root(folder, MARKERS, BELOW)


def survey(root: pathlib.Path) -> Survey:
    parts = ["training/rgb", "training/mask", "evaluation/rgb"]
    parts += [f"{split}_{part}.json" for split in SPLITS for part in ("K", "scale", "xyz", "verts", "mano")]
    return survey_of(root, parts, {split: (f"{split}/rgb", ".jpg") for split in SPLITS})


def _annotation_path(root: pathlib.Path, split: str, part: str) -> pathlib.Path | None:
    name = f"{split}_{part}.json"
    places = (root / name, root.parent / "FreiHAND_pub_v2_eval" / name)
    return next((path for path in places if path.is_file()), None)


def _annotation(path: pathlib.Path, what: str, count: int, shape: tuple[int, ...]) -> Any:
    array = numbers(read_json(path), ("samples", *shape), str(path), what)
    if len(array) != count:
        raise ValueError(f"{path}: expected {count} samples, as K has, got {len(array)}; unpack the archive again")
    return array


def _mesh(root: pathlib.Path, split: str, count: int, wanted: bool) -> np.ndarray | None:
    path = _annotation_path(root, split, "verts") if wanted else None
    if path is None:
        return None
    return _annotation(path, "verts", count, (778, 3)).astype(np.float32)


def _is_number(name: str) -> bool:
    return len(name) == 12 and name[:8].isdigit()
