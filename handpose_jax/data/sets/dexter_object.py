"""Dexter+Object (Sridhar et al., ECCV 2016): fingertips of a left hand that holds a box, colour and depth.

Layout, calibration and conventions as in MengHao666/Minimal-Hand-pytorch (`datasets/dexter_object.py`) and
OlgaChernytska/3D-Hand-Pose-Estimation (`notebook/dataset_exploration.ipynb`), which disagree on the sign of x and y.
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
    no_keypoints,
    projected,
    required_part,
    required_root,
    survey_of,
)

TITLE = "Dexter+Object"
SEQUENCES = ("Grasp1", "Grasp2", "Occlusion", "Pinch", "Rigid", "Rotate")
MARKERS = tuple(f"{sequence}/annotations" for sequence in SEQUENCES)
BELOW = ("data", "dexter+object/data", "dexter+object")
ARCHIVES = ("dexter*object*",)
SPLITS = ("evaluation",)
DEPTH = camera(224.502, 230.494, 160.0, 120.0)
COLOR = camera(587.45209, 600.67456, 325.0, 249.0)
COLOR_FROM_DEPTH = (
    (0.9999, 0.0034, 0.0161, 0.0190473),
    (-0.0033, 1.0, -0.0079, -0.0018514),
    (-0.0162, 0.0079, 0.9998, -0.0047501),
)
"""[R | t], metres, in OpenCV's axes."""
COLOR_SIZE, DEPTH_SIZE = (480, 640), (240, 320)
TIPS = (4, 8, 12, 16, 20)
ENTRIES = (8, 5)
"""A line annotates five fingertips, thumb to little, and three corners of the box, which re-made files leave out."""
NO_ANNOTATION = 32001.0
SIGNS = {"raw": (1.0, 1.0), "flipped": (-1.0, -1.0), "flipped_x": (-1.0, 1.0), "flipped_y": (1.0, -1.0)}
MAX_RESIDUAL = 20.0
"""Pixels of the depth camera: two thirds of a finger's length at half a metre. More, and no sign explains the files."""


def read(
    folder: str | os.PathLike,
    split: str = "evaluation",
    *,
    view: str = "color",
    sign: str = "auto",
    skip_bad: bool = False,
) -> HandExamples:
    """Left hands of all six sequences (3,145 frames); of the 21 keypoints only the fingertips are annotated.

    Args:
      folder: that holds Grasp1 to Rotate, or holds data/ or dexter+object/data/ with them.
      split: "evaluation": there is no other.
      view: "color" (default): pictures of the colour camera, 3D moved into its frame, keypoints projected. "depth":
        depth and no colour, keypoints as annotated.
      sign: of x and y in the 3D files against OpenCV's axes, on which loaders disagree. "auto" (default): whichever
        projects them onto the 2D files best; `notes` says which and with what residual. "raw", "flipped" (both
        negated), "flipped_x" and "flipped_y" decide it.
      skip_bad: leave out frames that cannot be used, a line each in `skipped`, in place of raising.

    Raises:
      ValueError: an unknown option, a missing part, a line with another number of entries, files of 2D and 3D of
        different lengths, a picture without its annotation or the other way round, no sign that fits within 20 px.
    """
    choice("split", split, SPLITS)
    choice("view", view, ("color", "depth"))
    choice("sign", sign, ("auto", *SIGNS))
    root = required_root(folder, TITLE, MARKERS, BELOW)
    problems = Problems(skip_bad)
    kind, digits_from = ("color", "Color_") if view == "color" else ("depth", "Depth_")
    pixels, points, paths, frames = [], [], [], []
    for sequence in SEQUENCES:
        required_part(root, sequence, TITLE)
        uv = _lines(required_part(root, f"{sequence}/annotations/{sequence}2D.txt", TITLE), (2, 3), problems)
        path = required_part(root, f"{sequence}/annotations/{sequence}3D.txt", TITLE)
        xyz = _lines(path, (3,), problems)
        if len(uv) != len(xyz):
            raise ValueError(f"{path}: {len(xyz)} frames, but {len(uv)} in {sequence}2D.txt; unpack again")
        pictures = required_part(root, f"{sequence}/{kind}", TITLE)
        present = names_in(pictures, (".bmp", ".png"))
        suffix = ".png" if any(name.endswith(".png") for name in present) else ".bmp"
        names = [f"{digits_from}{frame + 1:04d}{suffix}" for frame in range(len(xyz))]
        there = matched(names, pictures, path.name, problems, present)
        for frame, name in enumerate(names):
            if there[frame] and uv[frame] is not None and xyz[frame] is not None:
                pixels.append(uv[frame])
                points.append(xyz[frame])
                paths.append(str(pictures / name))
                frames.append((sequence, frame + 1))

    uv = np.array(pixels).reshape(-1, len(TIPS), 2)
    xyz = np.array(points).reshape(-1, len(TIPS), 3)
    annotated = (xyz[..., 2] != NO_ANNOTATION) & (xyz[..., 2] > 0)
    xyz[~annotated] = np.nan
    uv[~annotated] = np.nan
    signs, note = _signs(xyz * 0.001, uv, sign, root)
    xyz = xyz * 0.001 * np.array([*signs, 1.0])
    if view == "color":
        moved = np.array(COLOR_FROM_DEPTH)
        xyz = xyz @ moved[:, :3].T + moved[:, 3]
        uv = projected(xyz, COLOR)
    joints, keypoints, visible = no_keypoints(len(xyz))
    joints[:, list(TIPS)], keypoints[:, list(TIPS)], visible[:, list(TIPS)] = xyz, uv, annotated
    files = PixelFiles(
        tuple(paths),
        "rgb" if view == "color" else "depth_millimetres",
        COLOR_SIZE if view == "color" else DEPTH_SIZE,
    )
    return HandExamples(
        name="dexter_object",
        split=split,
        ids=tuple(f"{sequence}/{view}/{frame:04d}" for sequence, frame in frames),
        K=np.repeat((COLOR if view == "color" else DEPTH)[None], len(xyz), axis=0),
        side=np.full(len(xyz), "left"),
        joints=joints,
        keypoints=keypoints,
        visible=visible,
        images=files if view == "color" else None,
        depth=files if view == "depth" else None,
        sequence=tuple(sequence for sequence, _ in frames),
        skipped=tuple(problems.lines),
        notes=(note,),
    )


def find_root(folder: pathlib.Path) -> pathlib.Path | None:
    return found_root(folder, MARKERS, BELOW)


def survey(root: pathlib.Path) -> Survey:
    parts = [f"{sequence}/{part}" for sequence in SEQUENCES for part in ("color", "depth", "annotations")]
    found = survey_of(root, parts, {})
    count = sum(len(names_in(root / sequence / "color", (".bmp", ".png"))) for sequence in SEQUENCES)
    return Survey(found.present, found.missing, {"evaluation": count} if count else {})


def _lines(path: pathlib.Path, widths: tuple[int, ...], problems: Problems) -> list[np.ndarray | None]:
    """The fingertips' [5, 2 or 3] numbers a line; None for a line that cannot be used."""
    result: list[np.ndarray | None] = []
    lines = path.read_text(errors="replace").rstrip().splitlines()
    for number, line in enumerate(lines, start=1):
        entries = [entry for entry in (part.strip() for part in line.split(";")) if entry]
        try:
            rows = [[float(value) for value in entry.split(",")] for entry in entries]
        except ValueError:
            rows = []
        sizes = {len(row) for row in rows}
        if len(rows) in ENTRIES and len(sizes) == 1 and sizes <= set(widths):
            result.append(np.array(rows)[: len(TIPS), : widths[0]])
            continue
        problems.report(
            f"{path}: line {number}: expected {ENTRIES[0]} entries (five fingertips, three corners) of "
            f"{' or '.join(map(str, widths))} numbers between semicolons, got {line[:60]!r} ({len(entries)} entries)"
        )
        result.append(None)
    if not lines:
        raise ValueError(f"{path}: the file is empty; unpack the set again")
    return result


def _signs(
    xyz: Float[np.ndarray, "frames 5 3"], uv: Float[np.ndarray, "frames 5 2"], sign: str, root: pathlib.Path
) -> tuple[tuple[float, float], str]:
    """Signs of x and y, and what was found, in words."""
    residuals = {}
    for name, signs in SIGNS.items():
        distance = np.linalg.norm(projected(xyz * np.array([*signs, 1.0]), DEPTH) - uv, axis=-1)
        residuals[name] = float(np.nanmedian(distance)) if np.isfinite(distance).any() else float("nan")
    best = min(residuals, key=lambda name: residuals[name]) if sign == "auto" else sign
    listed = ", ".join(f"{name} {value:.2f}" for name, value in residuals.items())
    if sign == "auto" and not residuals[best] <= MAX_RESIDUAL:
        raise ValueError(
            f"{root}: the 3D annotations project onto the 2D ones under no sign of x and y (median distance in px: "
            f"{listed}); check that the files belong together, or give sign"
        )
    how = "found from the 2D files" if sign == "auto" else "as told"
    return SIGNS[best], f"sign of x and y: {best}, {how}; median distance from the 2D files in px: {listed}"
