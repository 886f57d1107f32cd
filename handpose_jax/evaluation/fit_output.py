"""The files that a fit leaves behind: arrays, JSON, meshes and overlays."""

from __future__ import annotations

import json
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from handpose_jax.data.cameras import Camera
from handpose_jax.data.images import load_image
from handpose_jax.data.keypoint_set import project_hand
from handpose_jax.data.located_hands import LocatedHand, image_names
from handpose_jax.evaluation.drawing import contact_sheet
from handpose_jax.evaluation.fit_report import number
from handpose_jax.evaluation.pictures import PicturedHand, overlay
from mano_jax import HandModel
from mano_jax.export import mesh_bytes
from mano_jax.skinned_export import skinned_glb

if TYPE_CHECKING:
    from PIL.Image import Image

PathFor = Callable[[str], pathlib.Path]
"""Where to write the file of a name; its folder exists."""
Progress = Callable[[int, int], None]
"""Told (done, total)."""
MOST_OVERLAYS_ON_SHEET = 60


def write_numbers(
    path_for: PathFor,
    arrays: Mapping[str, np.ndarray],
    report: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
) -> None:
    """`fits.npz`, `fits.json` and, with truth, `metrics.json`."""
    with path_for("fits.npz").open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    write_json(path_for("fits.json"), report)
    if metrics is not None:
        finite = {key: number(value) if isinstance(value, float) else value for key, value in metrics.items()}
        write_json(path_for("metrics.json"), finite)


def write_meshes(
    path_for: PathFor,
    kind: str,
    hands: Sequence[LocatedHand],
    arrays: Mapping[str, np.ndarray],
    models: Mapping[str, HandModel],
    on_progress: Progress,
) -> None:
    """`meshes/NAME.glb` (or obj, ply) for every fitted hand."""
    rows = [row for row in range(len(hands)) if arrays["valid"][row]]
    names = file_names(hands)
    for done, row in enumerate(rows, start=1):
        side = str(arrays["side"][row])
        content = mesh_bytes(kind, arrays["vertices"][row], models[side].faces, f"{names[row]} {side} hand")
        path_for(f"meshes/{names[row]}.{kind}").write_bytes(content)
        on_progress(done, len(rows))


def write_animation(
    path_for: PathFor, arrays: Mapping[str, np.ndarray], models: Mapping[str, HandModel], frames_per_second: float
) -> None:
    """`sequence.glb`: the frames of one hand, from the first to the last that are valid, as an animated skeleton."""
    rows = np.flatnonzero(arrays["valid"])
    side = str(arrays["side"][rows[0]])
    content = skinned_glb(
        models[side],
        arrays["pose"][rows],
        arrays["shape"][rows[0]],
        arrays["rotation"][rows],
        arrays["translation"][rows],
        frames_per_second=frames_per_second,
        camera_frame=True,
        name=f"{side} hand",
    )
    path_for("sequence.glb").write_bytes(content)


def write_overlays(
    path_for: PathFor,
    hands: Sequence[LocatedHand],
    arrays: Mapping[str, np.ndarray],
    models: Mapping[str, HandModel],
    on_progress: Progress,
    warn: Callable[[str], None],
) -> None:
    """`overlays/NAME.png` for every image, and `contact_sheet.png` of those with the largest residuals first."""
    groups: dict[pathlib.Path, tuple[Camera, list[int]]] = {}
    for row, hand in enumerate(hands):
        # An image without a camera (3D keypoints alone, or a hand with a problem) has nothing to be laid over it.
        if hand.image is not None and hand.camera is not None:
            groups.setdefault(hand.image, (hand.camera, []))[1].append(row)
    if not groups:
        return

    drawn = []
    names = _numbered([path.stem for path in groups])
    for done, ((path, (camera, rows)), name) in enumerate(zip(groups.items(), names, strict=True), start=1):
        try:
            image = load_image(path)
        except (ValueError, OSError) as error:
            # The header was read, the rest was not; the hands were fitted all the same.
            warn(f"no overlay: {error}")
            continue
        picture = _overlay(image, path.name, camera.matrix, rows, hands, arrays, models)
        picture.save(path_for(f"overlays/{name}.png"))
        residual = max((float(arrays["residual_px"][row]) for row in rows if arrays["valid"][row]), default=np.inf)
        label = f"{path.name}: {'; '.join(_label(arrays, row) for row in rows)}"
        drawn.append((residual, label, picture.resize((picture.width // 2, picture.height // 2))))
        on_progress(done, len(groups))
    drawn.sort(key=lambda item: item[:2], reverse=True)
    if len(drawn) > 1:
        _, labels, pictures = zip(*drawn[:MOST_OVERLAYS_ON_SHEET], strict=True)
        sheet = contact_sheet(pictures, labels, columns=2, cell_width=770)
        sheet.save(path_for("contact_sheet.png"))


def _overlay(
    image: np.ndarray,
    name: str,
    camera: np.ndarray,
    rows: Sequence[int],
    hands: Sequence[LocatedHand],
    arrays: Mapping[str, np.ndarray],
    models: Mapping[str, HandModel],
) -> Image:
    pictured = []
    for row in rows:
        valid, side = bool(arrays["valid"][row]), str(arrays["side"][row])
        pictured.append(
            PicturedHand(
                keypoints=project_hand(hands[row].hand, camera).keypoints,
                vertices=arrays["vertices"][row] if valid else None,
                faces=models[side if valid else "right"].faces,
                label=_label(arrays, row),
            )
        )
    return overlay(image, pictured, camera, name)


def _label(arrays: Mapping[str, np.ndarray], row: int) -> str:
    if not arrays["valid"][row]:
        return "not fitted"
    residual = float(arrays["residual_px"][row])
    return str(arrays["side"][row]) + (f", {residual:.1f} px" if np.isfinite(residual) else "")


def file_names(hands: Sequence[LocatedHand]) -> list[str]:
    """A file name for each hand, no two the same: its image's stem, numbered where an image has several, or its row."""
    names = enumerate(image_names(hands))
    return _numbered([f"hand_{row:05d}" if name is None else pathlib.PurePosixPath(name).stem for row, name in names])


def _numbered(stems: Sequence[str]) -> list[str]:
    totals, names = Counter(stems), []
    # Names that stand alone keep theirs; a numbered one may not take it.
    taken = {stem for stem, total in totals.items() if total == 1}
    for stem in stems:
        name = stem
        if totals[stem] > 1:
            name = next(f"{stem}_{n}" for n in range(len(stems) + len(taken) + 1) if f"{stem}_{n}" not in taken)
        taken.add(name)
        names.append(name)
    return names


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """A JSON file, indented, rows of numbers on one line."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    # A row of numbers belongs on one line; lists that hold no other list, object or string are such rows.
    text = re.sub(r'\[[^\[\]{}"]*\]', lambda row: " ".join(row.group().split()), text)
    path.write_text(text + "\n", encoding="utf-8")
