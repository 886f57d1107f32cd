"""RHD, the Rendered Handpose Dataset v1.1 (Zimmermann and Brox, ICCV 2017): rendered people, both hands, all labels.

Layout and conventions as in lmb-freiburg/hand3d (`create_binary_db.py`, `data/BinaryDbReader.py`).
"""

import concurrent.futures
import os
import pathlib

import numpy as np
from jaxtyping import Int

from handpose_jax.data.examples import HandExamples, PixelFiles
from handpose_jax.data.pixels import read_pixels
from handpose_jax.data.sets.annotation_pickle import read_annotation_pickle
from handpose_jax.data.sets.layout import (
    Problems,
    Survey,
    choice,
    found_root,
    matched,
    names_in,
    numbers,
    required_part,
    required_root,
    survey_of,
)
from mano_jax.keypoints import reorder_keypoints

TITLE = "RHD (Rendered Handpose Dataset)"
MARKERS = ("training/anno_training.pickle", "evaluation/anno_evaluation.pickle", "training/color", "evaluation/color")
BELOW = ("RHD_published_v2",)
ARCHIVES = ("rhd*",)
SPLITS = ("training", "evaluation")
SIZE = (320, 320)
SIDES = ("left", "right")
LABELS = {"left": (2, 17), "right": (18, 33)}
"""Mask values of each hand: three a finger and the palm."""
HAND_CHOICES = ("mask", "visible", "both")
WRISTS = ("wrist", "palm")
_MIDDLE_MCP = 9


def read(
    folder: str | os.PathLike,
    split: str = "training",
    *,
    hand: str = "mask",
    wrist: str = "wrist",
    skip_bad: bool = False,
) -> HandExamples:
    """Hands of one split.

    Args:
      folder: RHD_published_v2, or the folder that holds it.
      split: "training" (41,258 pictures) or "evaluation" (2,728).
      hand: which of a picture's two hands. "mask" (default): the one with more pixels in the mask, the right one where
        they are equal, as hand3d does; reads every mask. "visible": the one with more visible keypoints, the right one
        where they are equal. "both": every hand with a visible keypoint, a row each.
      wrist: what keypoint 0 is. "wrist" (default), or "palm": half way from the wrist to the middle finger's MCP, in
        3D and in pixels, visible if either is, as hand3d's palm variant.
      skip_bad: leave out entries that cannot be used, a line each in `skipped`, in place of raising.

    Raises:
      ValueError: an unknown option, a missing part, an annotation that is not RHD's, a picture without its annotation
        or the other way round, an unreadable mask.
    """
    choice("hand", hand, HAND_CHOICES)
    choice("wrist", wrist, WRISTS)
    choice("split", split, SPLITS)
    root = required_root(folder, TITLE, MARKERS, BELOW)
    color = required_part(root, f"{split}/color", TITLE)
    path = required_part(root, f"{split}/anno_{split}.pickle", TITLE)
    if hand == "mask" and not names_in(root / split / "mask"):
        required_part(root, f"{split}/mask", f"{TITLE} with hand='mask' (hand='visible' does not)")
    problems = Problems(skip_bad)
    frames, xyz, uv, visible, K = _annotations(path, problems)
    there = matched([f"{frame:05d}.png" for frame in frames], color, path.name, problems)
    for part in ("mask", "depth"):
        if names_in(root / split / part):
            names = [f"{frame:05d}.png" for frame, is_there in zip(frames, there, strict=True) if is_there]
            found = dict(zip(names, matched(names, root / split / part, path.name, problems), strict=True))
            there = [is_there and found[f"{frame:05d}.png"] for frame, is_there in zip(frames, there, strict=True)]

    row, which = _chosen_hands(hand, root / split / "mask", frames, visible, np.flatnonzero(there), problems)
    joints = reorder_keypoints(xyz[row, which], "rhd")
    keypoints = reorder_keypoints(uv[row, which], "rhd")
    seen = reorder_keypoints(visible[row, which][..., None], "rhd")[..., 0]
    if wrist == "palm":
        joints[:, 0] = 0.5 * (joints[:, 0] + joints[:, _MIDDLE_MCP])
        keypoints[:, 0] = 0.5 * (keypoints[:, 0] + keypoints[:, _MIDDLE_MCP])
        seen[:, 0] = seen[:, 0] | seen[:, _MIDDLE_MCP]

    def files(part: str, encoding: str) -> PixelFiles | None:
        if not names_in(root / split / part):
            return None
        return PixelFiles(tuple(str(root / split / part / f"{frames[r]:05d}.png") for r in row), encoding, SIZE)

    side = np.array(SIDES)[which]
    return HandExamples(
        name="rhd",
        split=split,
        ids=tuple(f"{split}/{frames[r]:05d}-{s}" for r, s in zip(row, side, strict=True)),
        K=K[row],
        side=side,
        joints=joints,
        keypoints=keypoints,
        visible=seen,
        images=files("color", "rgb"),
        depth=files("depth", "depth_rhd"),
        masks=files("mask", "labels"),
        mask_labels=np.array([LABELS[s] for s in side]).reshape(-1, 2),
        skipped=tuple(problems.lines),
    )


def find_root(folder: pathlib.Path) -> pathlib.Path | None:
    return found_root(folder, MARKERS, BELOW)


def survey(root: pathlib.Path) -> Survey:
    parts = [f"{split}/{part}" for split in SPLITS for part in ("color", "mask", "depth", f"anno_{split}.pickle")]
    return survey_of(root, parts, {split: (f"{split}/color", ".png") for split in SPLITS})


def _annotations(path: pathlib.Path, problems: Problems):
    """Frame numbers, and for each: xyz and uv [2, 21, ...], visible [2, 21] (left hand first) and K."""
    content = read_annotation_pickle(path, "RHD's annotation")
    frames, xyz, uv_visible, K = [], [], [], []
    for frame in sorted(content):
        where = f"{path}: frame {frame:05d}"
        try:
            if not {"xyz", "uv_vis", "K"} <= set(content[frame]):
                raise ValueError(f"{where}: expected xyz, uv_vis and K, got {', '.join(sorted(content[frame]))[:80]}")
            values = [
                numbers(content[frame][name], shape, where, name, finite)
                # A point that is not before the camera has no pixel.
                for name, shape, finite in (("xyz", (42, 3), True), ("uv_vis", (42, 3), False), ("K", (3, 3), True))
            ]
        except ValueError as error:
            problems.report(str(error))
            continue
        frames.append(frame)
        for collected, value in zip((xyz, uv_visible, K), values, strict=True):
            collected.append(value)
    xyz, uv_visible = (np.array(values).reshape(-1, 2, 21, 3) for values in (xyz, uv_visible))
    K = np.array(K).reshape(-1, 3, 3)
    return frames, xyz, uv_visible[..., :2], uv_visible[..., 2] == 1, K


def _chosen_hands(
    hand, masks, frames, visible, rows, problems
) -> tuple[Int[np.ndarray, "hands"], Int[np.ndarray, "hands"]]:
    """For each example the row of its picture and 0 for the left hand, 1 for the right."""
    counts = visible.sum(axis=-1)
    if hand == "both":
        row, which = np.nonzero(counts[rows] > 0)
        return rows[row], which
    if hand == "visible":
        return rows, np.where(counts[rows, 0] > counts[rows, 1], 0, 1)
    files = PixelFiles(tuple(str(masks / f"{frames[row]:05d}.png") for row in rows), "labels", SIZE)

    def side(place: int) -> int | str:
        try:
            labels = read_pixels(files, place)
        except ValueError as error:
            return str(error)
        left, right = (((labels >= first) & (labels <= last)).sum() for first, last in LABELS.values())
        return 0 if left > right else 1

    # Pillow unpacks PNG without holding the interpreter's lock.
    with concurrent.futures.ThreadPoolExecutor() as threads:
        sides = list(threads.map(side, range(len(rows))))
    for found in sides:
        if isinstance(found, str):
            problems.report(found)
    good = [place for place, found in enumerate(sides) if not isinstance(found, str)]
    return rows[good], np.array([sides[place] for place in good], np.int64)
