"""An atlas for the open hand: five fingers cut open along their sides, the back of the hand, the palm, bits of webs.

Charts are flattened with little distortion, all at one scale, and laid out in a square. Made once from the finished
mesh (needs SciPy) and shipped with it. u runs to the right and v up, both in [0, 1], as in OBJ files; the row
of an image is (1 - v) times its height.
"""

from typing import NamedTuple

import numpy as np

from mano_jax.keypoints import FINGERTIP_VERTICES
from mano_jax.open_hand_model.measures import FINGER_NAMES
from mano_jax.open_hand_model.rings import AROUND, RINGS
from mano_jax.open_hand_model.topology import directed_edges, loops

GAP = 0.004
"""Metres left free around each chart, so that filtering does not mix colours of neighbours."""


class Chart(NamedTuple):
    """Triangles cut out of the mesh. `faces` index `points`; `vertices` says which of the mesh's each point is."""

    points: np.ndarray  # [P, 2] metres
    vertices: np.ndarray  # [P]
    faces: np.ndarray  # [F, 3]
    where: np.ndarray  # [F] index of each triangle in the mesh


def atlas(template: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """`uv` [T, 2] in [0, 1] and `uv_faces` [F, 3], corner by corner those of `faces`; template in metres."""
    charts, taken = [], np.zeros(len(faces), bool)
    for name, tip in zip(FINGER_NAMES, FINGERTIP_VERTICES["745"], strict=True):
        charts.append(_finger_chart(template, faces, name, tip))
        taken[charts[-1].where] = True
    corners = template[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # What else faces the back, in pieces of its own, belongs to the palm.
    back = _one_piece(faces, ~taken & _smoothed_side(faces, normals, ~taken))
    # The webs are saddles: laid flat, some triangles of their borders come to lie over others. They get charts of
    # their own.
    charts, islands = charts[:5], []
    for dorsal, chosen in ((True, back), (False, ~taken & ~back)):
        chosen = chosen.copy()
        while True:
            chart = _flat_chart(template, faces, np.flatnonzero(chosen), dorsal)
            covering = _covering(chart)
            if len(covering) == 0:
                break
            chosen[covering] = False
            islands += covering.tolist()
        charts.append(chart)
    while islands:
        piece = _one_piece(faces, np.isin(np.arange(len(faces)), islands))
        charts.append(_flat_chart(template, faces, np.flatnonzero(piece), True))
        islands = [face for face in islands if not piece[face]]
    return _packed(charts, len(faces))


def _levels(faces: np.ndarray, tip: int, count: int) -> list[np.ndarray]:
    """Vertices at 0, 1, ... `count` - 1 edges from the fingertip: the rings of a finger, from its end."""
    edges = directed_edges(faces)
    edges = np.concatenate([edges, edges[:, ::-1]])
    found, levels = np.array([tip]), [np.array([tip])]
    for _ in range(count - 1):
        reached = np.unique(edges[np.isin(edges[:, 0], levels[-1]), 1])
        levels.append(np.setdiff1d(reached, found))
        found = np.union1d(found, reached)
    return levels


def _finger_chart(template: np.ndarray, faces: np.ndarray, name: str, tip: int) -> Chart:
    """A finger cut along the side that faces the little finger, and unrolled, tip up."""
    levels = _levels(faces, tip, len(RINGS[name]) + 3)
    if [len(level) for level in levels] != [1, AROUND // 2] + [AROUND] * (len(levels) - 2):
        raise RuntimeError(f"the {name}'s rings are not where they are expected")
    level_of, turn = np.full(len(template), -1), np.zeros(len(template))
    heights, girths = [0.0], []
    for number, level in enumerate(levels):
        level_of[level] = number
        if number == 0:
            continue
        ring = template[level]
        inner = levels[number - 1]
        heights.append(heights[-1] + np.linalg.norm(ring[:, None] - template[inner][None], axis=-1).min(1).mean())
        along = template[levels[max(number - 2, 0)]].mean(0) - template[levels[min(number + 1, len(levels) - 1)]].mean(
            0
        )
        along /= np.linalg.norm(along)
        dorsal = np.array([0.0, 1.0, 0.0]) - along[1] * along
        dorsal /= np.linalg.norm(dorsal)
        offset = ring - ring.mean(0)
        across = np.cross(along, dorsal)  # to the little finger's side
        turn[level] = np.arctan2(offset @ across, offset @ dorsal)
        if number >= 2:
            order = np.argsort(turn[level])
            girths.append(np.linalg.norm(ring[order] - np.roll(ring[order], 1, 0), axis=-1).sum())
    where = np.flatnonzero((level_of[faces] >= 0).all(1))
    # The cut runs along a row of vertices, one in each ring: that nearest to a quarter turn.
    for level in levels[1:]:
        row = level[np.argmin(np.abs(np.angle(np.exp(1j * (turn[level] - np.pi / 2)))))]
        turn[level] = np.mod(turn[level] - turn[row], 2 * np.pi)
        turn[row] = 0.0
    width = float(np.max(girths))
    points, vertices, rows = [], [], []
    known: dict[tuple[int, int], int] = {}
    for face in faces[where]:
        turns = turn[face].copy()
        ring = level_of[face] > 0
        after_cut = ring & (turns < 1e-9) & (turns[ring].max() > np.pi)
        turns[after_cut] = 2 * np.pi
        turns[~ring] = turns[ring].mean()
        row = []
        for vertex, value in zip(face, turns, strict=True):
            key = (int(vertex), round(value * 1e6))
            if key not in known:
                known[key] = len(points)
                points.append((width * value / (2 * np.pi), -heights[level_of[vertex]]))
                vertices.append(vertex)
            row.append(known[key])
        rows.append(row)
    return Chart(np.array(points), np.array(vertices), np.array(rows), where)


def _neighbours(faces: np.ndarray) -> list[list[int]]:
    """Triangles that share an edge with each one."""
    owner: dict[tuple[int, int], int] = {edge: face for face, edge in _edges_of(faces)}
    found: list[list[int]] = [[] for _ in faces]
    for (a, b), face in owner.items():
        if (b, a) in owner:
            found[face].append(owner[(b, a)])
    return found


def _edges_of(faces: np.ndarray):
    for number, (a, b, c) in enumerate(faces.tolist()):
        yield from ((number, (a, b)), (number, (b, c)), (number, (c, a)))


def _smoothed_side(faces: np.ndarray, normals: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Whether a triangle faces the back, after neighbours have been averaged: a border without teeth."""
    side = normals[:, 1] / np.linalg.norm(normals, axis=1)
    beside = _neighbours(faces)
    for _ in range(6):
        side = np.array(
            [
                0.5 * side[face]
                + 0.5 * np.mean([side[other] for other in beside[face] if chosen[other]] or [side[face]])
                for face in range(len(faces))
            ]
        )
    return side > 0


def _one_piece(faces: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The largest connected piece of the chosen triangles."""
    beside = _neighbours(faces)
    left, pieces = set(np.flatnonzero(chosen).tolist()), []
    while left:
        front, piece = [left.pop()], []
        while front:
            here = front.pop()
            piece.append(here)
            for other in beside[here]:
                if other in left:
                    left.remove(other)
                    front.append(other)
        pieces.append(piece)
    kept = np.zeros(len(faces), bool)
    kept[max(pieces, key=len)] = True
    return kept


def _flat_chart(template: np.ndarray, faces: np.ndarray, where: np.ndarray, dorsal: bool) -> Chart:
    """Flattened as rigidly as possible (Liu et al. 2008, "A local/global approach to mesh parameterization")."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import factorized

    vertices, inverse = np.unique(faces[where], return_inverse=True)
    local = inverse.reshape(-1, 3)
    if len(loops(local)) != 1:
        raise RuntimeError("back or palm is not one piece without holes")
    solid = template[vertices]
    # Seen from outside with the fingers up, the thumb is at the left on the back and at the right on the palm.
    points = np.stack([solid[:, 2] * (-1 if dorsal else 1), -solid[:, 0]], -1)
    corners = solid[local]
    first = corners[:, 1] - corners[:, 0]
    base = np.linalg.norm(first, axis=1)
    second = corners[:, 2] - corners[:, 0]
    x = np.einsum("fc,fc->f", second, first) / base
    y = np.sqrt(np.maximum(np.sum(second**2, 1) - x**2, 1e-18))
    flat = np.zeros((len(local), 3, 2))  # each triangle laid flat by itself
    flat[:, 1, 0], flat[:, 2, 0], flat[:, 2, 1] = base, x, y
    pairs = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    weights = []
    for a, b, c in pairs:
        one, two = flat[:, a] - flat[:, c], flat[:, b] - flat[:, c]
        twice_area = np.abs(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])
        weights.append(np.maximum(np.sum(one * two, 1) / twice_area, 0.05))
    count = len(vertices)
    rows = np.concatenate([np.concatenate([local[:, a], local[:, b]]) for a, b, _ in pairs])
    columns = np.concatenate([np.concatenate([local[:, b], local[:, a]]) for a, b, _ in pairs])
    values = np.concatenate([np.tile(weight, 2) for weight in weights])
    joined = coo_matrix((values, (rows, columns)), shape=(count, count)).tocsr()
    degree = np.asarray(joined.sum(1)).ravel()
    laplacian = coo_matrix((degree + 1e-9, (range(count), range(count))), shape=(count, count)) - joined
    solve = factorized(laplacian.tocsc())
    for _ in range(200):
        products = np.zeros((len(local), 2, 2))
        for (a, b, _), weight in zip(pairs, weights, strict=True):
            edge, goal = flat[:, a] - flat[:, b], points[local[:, a]] - points[local[:, b]]
            products += weight[:, None, None] * goal[:, :, None] * edge[:, None, :]
        # The rotation nearest to a 2x2 matrix, in closed form.
        angle = np.arctan2(products[:, 1, 0] - products[:, 0, 1], products[:, 0, 0] + products[:, 1, 1])
        turned = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 2, 2)
        pull = np.zeros((count, 2))
        for (a, b, _), weight in zip(pairs, weights, strict=True):
            step = weight[:, None] * np.einsum("fij,fj->fi", turned, flat[:, a] - flat[:, b])
            np.add.at(pull, local[:, a], step)
            np.add.at(pull, local[:, b], -step)
        points = np.stack([solve(pull[:, 0]), solve(pull[:, 1])], -1)
    return Chart(points - points.mean(0), vertices, local, where)


def _covering(chart: Chart) -> np.ndarray:
    """Triangles of the mesh to take out of a chart, at its border, so that no two of it overlap."""
    corners = chart.points[chart.faces]
    low, high = corners.min(1), corners.max(1)
    near = np.argwhere(np.triu(((low[:, None] < high[None]) & (low[None] < high[:, None])).all(-1), 1))
    beside = _neighbours(chart.faces)
    taken: set[int] = set()
    for one, two in near.tolist():
        if one in taken or two in taken or not _overlap(corners[one], corners[two]):
            continue
        inner = {face: (len(beside[face]), -len(set(beside[face]) & taken)) for face in (one, two)}
        taken.add(min((one, two), key=lambda face: inner[face]))
    return chart.where[sorted(taken)]


def _overlap(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two triangles share more than a border: no edge of either has the other on its outer side."""
    for first, second in ((one, two), (two, one)):
        for a, b in zip(first, np.roll(first, -1, 0), strict=True):
            outside = (b - a)[0] * (second - a)[:, 1] - (b - a)[1] * (second - a)[:, 0]
            if outside.max() <= 1e-9:
                return False
    return True


def _packed(charts: list[Chart], count: int) -> dict[str, np.ndarray]:
    """Fingers in a row below back and palm, single pieces above, in one square."""
    placed, widths = [], []
    top = 0.0
    for row in (charts[:5], charts[5:7], charts[7:]):
        if not row:
            continue
        left = GAP
        tallest = max(np.ptp(chart.points[:, 1]) for chart in row)
        for chart in row:
            placed.append(chart.points - chart.points.min(0) + (left, top + GAP))
            left += np.ptp(chart.points[:, 0]) + 2 * GAP
        widths.append(left)
        top += tallest + 2 * GAP
    size = max(*widths, top)
    uv_faces = np.zeros((count, 3), np.int32)
    start = 0
    for chart in charts:
        uv_faces[chart.where] = chart.faces + start
        start += len(chart.points)
    return {"uv": (np.concatenate(placed) / size).astype(np.float32), "uv_faces": uv_faces}
