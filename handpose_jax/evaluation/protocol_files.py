"""Files that protocols score: `.npz`, `.json`, FreiHAND's `pred.json`, and the depth community's lines of text."""

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from handpose_jax.data.keypoint_files import load_json
from handpose_jax.data.keypoint_formats.numpy_batch import load_arrays
from handpose_jax.evaluation.protocols import Protocol, camera_points

FREIHAND_FRAMES = 3960
MESH_VERTICES = 778


class ScoredHands(NamedTuple):
    """Hands of one file, a row a frame; metres. What a file does not give is NaN, or None as a whole."""

    joints: Float[np.ndarray, "frames joints 3"]
    vertices: Float[np.ndarray, "frames vertices 3"] | None = None
    visible: Bool[np.ndarray, "frames joints"] | None = None
    sequence: np.ndarray | None = None


def read_hands(paths: str | pathlib.Path | Sequence[str | pathlib.Path], protocol: Protocol) -> ScoredHands:
    """Hands of a file of predictions or truth; of several, each of which gives other fields (joints, vertices).

    `.npz`, or `.json` of the same names with lists and null for NaN: `joints` [N, 21, 3] metres and, where there,
    `valid` [N] (a row that is false is NaN here), `vertices` [N, V, 3], `visible` [N, 21], `sequence` [N]. A JSON may
    also be a bare list of joints or vertices (FreiHAND's `evaluation_xyz.json`, `evaluation_verts.json`) or the pair
    [joints, vertices] of FreiHAND's `pred.json`. Any other suffix is text (`read_text`), where the protocol has it.

    Raises:
      OSError: a file is missing or unreadable.
      ValueError: it holds something else, named in one line.
    """
    paths = [paths] if isinstance(paths, str | pathlib.Path) else list(paths)
    where = ", ".join(str(path) for path in paths)
    fields: dict[str, Any] = {}
    for path in map(pathlib.Path, paths):
        suffix = path.suffix.lower()
        if suffix == ".npz":
            found = load_arrays(path)
        elif suffix == ".json":
            found = _json_fields(load_json(path), path)
        elif protocol.camera is not None:
            found = read_text(path, protocol)
        else:
            raise ValueError(f"{path}: files of {protocol.name} are .npz or .json with joints [N, 21, 3] in metres")
        fields |= found
    if fields.get("joints") is None:
        raise ValueError(
            f"{where}: needs joints [N, {protocol.file_joints}, 3]; holds {', '.join(fields) or 'nothing'}"
        )
    joints = _points(fields["joints"], "joints", protocol.file_joints, where)
    if joints.shape[1] == len(protocol.joints) != protocol.file_joints:
        # Only what is scored (five tips): in its place, nothing elsewhere.
        full = np.full((len(joints), protocol.file_joints, 3), np.nan)
        full[:, protocol.joints] = joints
        joints = full
    count = len(joints)
    if joints.shape[1:] != (protocol.file_joints, 3) or not count:
        raise ValueError(f"{where}: joints must be [N, {protocol.file_joints}, 3], got {list(joints.shape)}")
    vertices = fields.get("vertices")
    if vertices is not None:
        vertices = _points(vertices, "vertices", None, where)
    given = {"vertices": vertices}
    for name, shape in (("valid", (count,)), ("visible", (count, protocol.file_joints)), ("sequence", (count,))):
        values = fields.get(name)
        given[name] = values = None if values is None else np.asarray(values)
        if values is not None and values.shape != shape:
            raise ValueError(f"{where}: {name} must be {list(shape)}, got {list(values.shape)}")
    if vertices is not None and len(vertices) != count:
        raise ValueError(f"{where}: {len(vertices)} rows of vertices for {count} of joints")
    if given["valid"] is not None:
        rows = ~given["valid"].astype(bool)[:, None, None]
        joints = np.where(rows, np.nan, joints)
        vertices = None if vertices is None else np.where(rows, np.nan, vertices)
    visible = None if given["visible"] is None else given["visible"].astype(bool)
    return ScoredHands(joints, vertices, visible, given["sequence"])


def read_text(path: pathlib.Path, protocol: Protocol) -> dict[str, Any]:
    """Lines of `u v d` (pixels, pixels, millimetres) of every joint, one frame a line, as joints in metres.

    Numbers are separated by blanks, tabs or commas. A name may stand before the numbers (of the image; the folder in
    it is the frame's sequence). Empty lines and lines that begin with # are skipped.

    Raises:
      OSError: the file is missing or unreadable.
      ValueError: a line has another number of columns, or something that is no number.
    """
    assert protocol.camera is not None
    columns = 3 * protocol.file_joints
    rows, names = [], []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file; {protocol.name} scores lines of u v d, .npz or .json") from None
    for number, line in enumerate(lines, 1):
        words = re.split(r"[\s,]+", line.strip(" \t,\r"))
        if words == [""] or words[0].startswith("#"):
            continue
        if len(words) not in (columns, columns + 1):
            raise ValueError(
                f"{path} line {number}: {len(words)} columns; {protocol.name} has u v d of {protocol.file_joints} "
                f"joints, {columns} numbers, with or without a name before them"
            )
        names.append(words[0] if len(words) > columns else "")
        try:
            rows.append([float(word) for word in words[-columns:]])
        except ValueError:
            raise ValueError(f"{path} line {number}: a column is not a number") from None
    if not rows:
        raise ValueError(f"{path}: holds no frame")
    pixels = np.array(rows, np.float64).reshape(len(rows), protocol.file_joints, 3)
    found: dict[str, Any] = {"joints": camera_points(pixels, protocol.camera)}
    if all("/" in name for name in names):
        found["sequence"] = np.array([name.rpartition("/")[0] for name in names])
    return found


def read_reference_curve(path: str | pathlib.Path) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """Thresholds (mm, increasing) and shares (in [0, 1]; read as percent if any is above 1.5) of a published curve.

    Lines of two numbers, separated by blanks or commas; empty lines and those that begin with # are skipped.

    Raises:
      OSError: the file is missing or unreadable.
      ValueError: it holds something else.
    """
    path = pathlib.Path(path)
    points = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        words = re.split(r"[\s,;]+", line.strip(" \t,;\r"))
        if words == [""] or words[0].startswith("#"):
            continue
        try:
            threshold, share = map(float, words)
        except ValueError:
            raise ValueError(
                f"{path} line {number}: expected a threshold (mm) and a PCK, got {line.strip()!r}"
            ) from None
        points.append((threshold, share))
    if len(points) < 2:
        raise ValueError(f"{path}: a curve needs at least two lines of threshold (mm) and PCK, got {len(points)}")
    thresholds, shares = np.array(sorted(points)).T
    shares = shares / 100.0 if shares.max() > 1.5 else shares
    if not (np.isfinite(thresholds).all() and (shares >= 0.0).all() and (shares <= 1.0 + 1e-6).all()):
        raise ValueError(f"{path}: PCK must be between 0 and 1, or 0 and 100")
    return thresholds, shares


def submission_text(hands: ScoredHands) -> str:
    """FreiHAND's `pred.json`: [joints of every frame, vertices of every frame], metres; what is missing is zero."""
    vertices = hands.vertices
    if vertices is None:
        vertices = np.zeros((len(hands.joints), MESH_VERTICES, 3))
    # Rounded to a ten-thousandth of a millimetre, which halves the file.
    return json.dumps([np.round(np.nan_to_num(points), 7).tolist() for points in (hands.joints, vertices)])


def _json_fields(content: Any, path: pathlib.Path) -> Mapping[str, Any]:
    if isinstance(content, dict):
        return content
    depth, inside = 0, content
    while isinstance(inside, list):
        depth += 1
        inside = next((part for part in inside if part is not None), None)
    if depth == 4 and len(content) == 2:
        joints, vertices = content
        # Mesh-free submissions have zeros or nothing in the place of vertices.
        return {"joints": joints} | ({"vertices": vertices} if vertices and vertices[0] else {})
    if depth == 3:
        width = len(next(row for row in content if row is not None))
        return {"vertices" if width > 100 else "joints": content}
    raise ValueError(f"{path}: expected an object with joints, a list [N, 21, 3], or a pred.json [joints, vertices]")


def _points(values: Any, name: str, count: int | None, where: str) -> np.ndarray:
    """[N, count, 3] float64; null is NaN, for one number, one joint or one frame."""
    try:
        if not isinstance(values, np.ndarray):
            if count is None:
                count = len(next((row for row in values if row is not None), ()))
            try:
                values = np.asarray(values, np.float64)
            except (TypeError, ValueError):  # null in the place of a whole joint or frame
                values = np.asarray([_without_null(row, (count, 3)) for row in values], np.float64)
        if values.ndim != 3 or values.shape[-1] != 3 or values.dtype.kind not in "fiu":
            raise ValueError
        return values.astype(np.float64)
    except (TypeError, ValueError):
        got = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else "rows of other lengths"
        raise ValueError(f"{where}: {name} must be numbers [N, {count or 'V'}, 3], got {got}") from None


def _without_null(part: Any, shape: tuple[int, ...]) -> Any:
    if part is None:
        return np.full(shape, np.nan).tolist() if shape else np.nan
    return [_without_null(one, shape[1:]) for one in part] if shape else part
