"""778 vertices on the rest surface: ringed fingers, an evenly divided palm, one opening of 16 edges at the wrist.

Any triangulated disc of 778 vertices with 16 of them on its border has 1,538 triangles (Euler), which is MANO's
topology. The palm is divided between the fingers' first rings and the wrist's loop (palm_division.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mano_jax.open_hand_model import rings, surface
from mano_jax.open_hand_model.measures import FINGER_NAMES
from mano_jax.open_hand_model.palm_division import divide_palm, relax
from mano_jax.open_hand_model.topology import is_disc, loops, neighbour_matrix

VERTICES, WRIST_VERTICES = 778, 16
WRIST_PLANE = -24.0  # millimetres, where the mesh is open
GRID = 1.25
# Tip vertices of the thumb, index, middle, ring, little in the two conventions that are in use for MANO.
TIPS_745, TIPS_744 = (745, 317, 444, 556, 673), (744, 320, 443, 554, 671)


class HandMesh(NamedTuple):
    vertices: np.ndarray  # [778, 3]
    faces: np.ndarray  # [1538, 3]
    part: np.ndarray  # [778] 0 palm, 1-5 thumb to little (beyond the first ring)


def dense_mesh(field: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes, vertices moved onto the surface; the wrist's opening is where the grid ends."""
    from skimage.measure import marching_cubes

    axes = [np.arange(low, high, GRID) for low, high in ((WRIST_PLANE, 192), (-64, 96), (-48, 30))]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    values = np.concatenate([field(part) for part in np.array_split(grid, 32)]).reshape([len(axis) for axis in axes])
    points, faces, _, _ = marching_cubes(values, 0.0, spacing=(GRID,) * 3)
    points = points.astype(float) + [axis[0] for axis in axes]
    faces = faces.astype(np.int64)
    corners = points[faces]
    if np.einsum("fi,fi", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) < 0:
        faces = faces[:, ::-1]
    opening = points[:, 0] < WRIST_PLANE + 1e-3
    moved = surface.project(field, points, 3)
    moved[opening, 0] = WRIST_PLANE
    return moved, faces


def _cut_fingers(
    field_of_finger: list[Callable], points: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The palm's part of the dense mesh: what does not lie beyond the plane of a finger's first ring."""
    nearest = np.argmin([finger(points) for finger in field_of_finger], 0)
    keep = np.ones(len(points), bool)
    for number, name in enumerate(FINGER_NAMES):
        centre, frame = rings.ring_plane(name, *rings.RINGS[name][0])
        along, *across = frame @ (points - centre).T
        keep &= ~((nearest == number) & (along > 0) & ((np.hypot(*across) < 14.0) | (along > 8.0)))
    faces = faces[keep[faces].all(1)]
    # Keep the largest piece (specks can remain at a plane's edge) and number its vertices anew.
    from scipy.sparse.csgraph import connected_components

    piece = connected_components(neighbour_matrix(faces, len(points)), directed=False)[1]
    largest = np.bincount(piece[faces[:, 0]]).argmax()
    faces = faces[piece[faces[:, 0]] == largest]
    used = np.unique(faces)
    renumber = np.zeros(len(points), int)
    renumber[used] = np.arange(len(used))
    return points[used], renumber[faces]


def _even_loop(points: np.ndarray, count: int) -> np.ndarray:
    """`count` points evenly along a closed polygon, starting at its most dorsal point."""
    points = np.roll(points, -int(np.argmax(points[:, 2])), 0)
    closed = np.concatenate([points, points[:1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=-1))])
    places = np.arange(count) * length[-1] / count
    return np.stack([np.interp(places, length, closed[:, axis]) for axis in range(3)], -1)


def push_out(
    vertices: np.ndarray,
    faces: np.ndarray,
    field: Callable,
    opening: np.ndarray,
    tips: list[int],
    rounds: int = 4,
    furthest: float = 0.5,
) -> np.ndarray:
    """Flat triangles cut corners off a round hand: move vertices outwards until faces lie on the surface on average."""
    normal = surface.normals(field, vertices)
    offset = np.zeros(len(vertices))
    joined = neighbour_matrix(faces, len(vertices))
    degree = np.asarray(joined.sum(1)).ravel()
    for _ in range(rounds):
        corners = (vertices + offset[:, None] * normal)[faces]
        middles = corners.mean(1)
        depth = field(middles)
        total, number = np.zeros(len(vertices)), np.zeros(len(vertices))
        for corner in range(3):
            np.add.at(total, faces[:, corner], -depth)
            np.add.at(number, faces[:, corner], 1.0)
        offset += 0.5 * total / number
        offset = 0.5 * offset + 0.5 * (joined @ offset) / degree
        offset = np.clip(offset, -0.3, furthest)
    step = offset[:, None] * normal
    step[opening, 0] = 0.0
    step[tips] = 0.0  # the finger's length ends there
    return vertices + step


def build(field: Callable, field_of_finger: list[Callable], attempts: int = 20) -> HandMesh:
    """The mesh of the whole hand. Raises RuntimeError if no division of the palm gives a disc."""
    fingers = [rings.finger_mesh(field, name) for name in FINGER_NAMES]
    points, faces = _cut_fingers(field_of_finger, *dense_mesh(field))
    normals = surface.normals(field, points)
    wrist = max((loop for loop in loops(faces)), key=lambda loop: -points[loop][:, 0].mean())
    fixed = [_even_loop(points[wrist], WRIST_VERTICES), *(finger.vertices[: rings.AROUND] for finger in fingers)]
    fixed_count = sum(len(ring) for ring in fixed)
    free = VERTICES - WRIST_VERTICES - sum(len(finger.vertices) for finger in fingers)
    for seed in range(attempts):
        palm, palm_faces = divide_palm(points, faces, normals, fixed, free, seed)
        if is_disc(palm_faces, fixed_count + free, border_loops=6):
            break
    else:
        raise RuntimeError(f"no manifold division of the palm in {attempts} attempts; change the density or the rings")
    palm[fixed_count:] = surface.project(field, palm[fixed_count:], 6)
    movable = np.arange(len(palm)) >= fixed_count
    palm, palm_faces = relax(palm, palm_faces, movable, field)

    # Sew: fixed rings of the palm are the fingers' first rings.
    vertices, all_faces, part = [palm], [palm_faces], [np.zeros(len(palm), int)]
    start, ring_start = len(palm), WRIST_VERTICES
    poles, pads = [], []
    for number, finger in enumerate(fingers, 1):
        rest = len(finger.vertices) - rings.AROUND
        index = np.concatenate([ring_start + np.arange(rings.AROUND), start + np.arange(rest)])
        vertices.append(finger.vertices[rings.AROUND :])
        all_faces.append(index[finger.faces])
        part[0][ring_start : ring_start + rings.AROUND] = number
        part.append(np.full(rest, number))
        poles.append(index[-1])
        pads.append(index[finger.pad])
        start, ring_start = start + rest, ring_start + rings.AROUND
    vertices, faces, part = np.concatenate(vertices), np.concatenate(all_faces), np.concatenate(part)
    if len(vertices) != VERTICES or not is_disc(faces, VERTICES, border_loops=1):
        raise RuntimeError("the sewn hand is not a disc of 778 vertices")
    opening = np.arange(VERTICES) < WRIST_VERTICES
    vertices = push_out(vertices, faces, field, opening, poles)
    order = _order_with_tips(poles, pads)
    place = np.argsort(order)
    return HandMesh(vertices[order], place[faces], part[order])


def _order_with_tips(poles: list[int], pads: list[int]) -> np.ndarray:
    """A permutation of the vertices that puts tips and the pads beside them at MANO's indices."""
    wanted = dict(zip((*TIPS_745, *TIPS_744), (*poles, *pads), strict=True))
    rest = iter(np.setdiff1d(np.arange(VERTICES), list(wanted.values())))
    return np.array([wanted[place] if place in wanted else next(rest) for place in range(VERTICES)])
