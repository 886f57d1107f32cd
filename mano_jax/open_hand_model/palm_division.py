"""The palm's vertices: a centroidal Voronoi partition of a dense mesh between fixed rings, then relaxed.

Seeds are spread by farthest point sampling and moved to their cells' centres (Lloyd's iteration) in six dimensions,
place and normal, so that facing fingers never share a cell. The dual of the partition joins the fixed rings exactly:
their vertices are seeds too, and own the border between them.
"""

from collections.abc import Callable

import numpy as np

from mano_jax.open_hand_model import rings, surface
from mano_jax.open_hand_model.topology import flip_edges, loops, neighbour_matrix

# Where the palm folds: (bone, millimetres past its joint, how many times denser than elsewhere, less one).
FOLDS = {
    "thumb": (1, -2.0, 1.8),
    "index": (0, 6.0, 1.6),
    "middle": (0, 6.0, 1.6),
    "ring": (0, 6.0, 1.6),
    "little": (0, 4.0, 1.6),
}


def density(points: np.ndarray) -> np.ndarray:
    """How many vertices a place is worth: more where the palm folds (knuckles, webs, thumb), few on the wrist."""
    value = np.full(len(points), 1.0)
    for name, (bone, along, weight) in FOLDS.items():
        centre, _ = rings.ring_plane(name, bone, along)
        value += weight * np.exp(-np.sum((points - centre) ** 2, -1) / (2 * 14.0**2))
    value *= np.where(points[:, 0] < 12, 0.55 + 0.45 * np.clip((points[:, 0] + 24) / 36, 0, 1), 1.0)
    return value


def _palm_border_labels(points: np.ndarray, faces: np.ndarray, fixed_rings: list[np.ndarray]) -> dict[int, int]:
    """{dense vertex: seed} for the palm's border loops: each border vertex belongs to its loop's nearest seed."""
    labels: dict[int, int] = {}
    centres = np.array([ring.mean(0) for ring in fixed_rings])
    firsts = np.cumsum([0] + [len(ring) for ring in fixed_rings])
    for loop in loops(faces):
        number = int(np.argmin(np.linalg.norm(points[loop].mean(0) - centres, axis=-1)))
        gaps = np.linalg.norm(points[loop][:, None] - fixed_rings[number][None], axis=-1)
        labels.update(zip(loop, (firsts[number] + np.argmin(gaps, 1)).tolist(), strict=True))
    return labels


def divide_palm(
    points: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    fixed_rings: list[np.ndarray],
    count: int,
    seed: int,
    steps: int = 40,
) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi partition into `count` free seeds and the fixed rings -> (seed positions, dual triangles)."""
    from scipy.spatial import KDTree

    fixed = np.concatenate(fixed_rings)
    border = _palm_border_labels(points, faces, fixed_rings)
    inner = np.setdiff1d(np.arange(len(points)), list(border))
    weight = density(points)
    features = np.concatenate([points, 6.0 * normals], -1)
    fixed_features = features[[inner[np.argmin(np.linalg.norm(points[inner] - p, axis=-1))] for p in fixed]]
    fixed_features[:, :3] = fixed

    # Farthest point sampling, in lengths shortened where the palm is worth more.
    scale = weight**0.25
    chosen = []
    gap = KDTree(fixed_features).query(features[inner])[0] * scale[inner]
    generator = np.random.default_rng(seed)
    gap *= 1 + 0.05 * generator.random(len(gap))
    for _ in range(count):
        pick = int(np.argmax(gap))
        chosen.append(inner[pick])
        gap = np.minimum(gap, np.linalg.norm(features[inner] - features[inner[pick]], axis=-1) * scale[inner])
    seeds = features[chosen]
    for _ in range(steps):
        everything = np.concatenate([fixed_features, seeds])
        owner = np.asarray(KDTree(everything).query(features[inner])[1]) - len(fixed)
        free = owner >= 0
        total = np.bincount(owner[free], weight[inner][free], count)
        for column in range(6):
            mean = np.bincount(owner[free], (weight[inner] * features[inner][:, column])[free], count)
            seeds[:, column] = np.where(total > 0, mean / np.maximum(total, 1e-9), seeds[:, column])
        seeds = features[inner][KDTree(features[inner]).query(seeds)[1]]
    label = np.empty(len(points), np.int64)
    label[inner] = KDTree(np.concatenate([fixed_features, seeds])).query(features[inner])[1]
    label[list(border)] = list(border.values())
    corners = label[faces]
    dual = corners[(corners != np.roll(corners, 1, axis=1)).all(1)]
    return np.concatenate([fixed, seeds[:, :3]]), np.unique(_rotated(dual), axis=0)


def _rotated(faces: np.ndarray) -> np.ndarray:
    """Each triangle written from its smallest corner, so that equal triangles are equal rows."""
    first = np.argmin(faces, 1)
    return np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, 1)


def relax(
    vertices: np.ndarray, faces: np.ndarray, movable: np.ndarray, field: Callable, rounds: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Move vertices towards their neighbours' mean along the surface, flipping edges to Delaunay in between."""
    for _ in range(rounds):
        joined = neighbour_matrix(faces, len(vertices))
        value = 1.0 / np.sqrt(density(vertices))
        weights = joined.multiply(1.0 / value[None, :] ** 2).tocsr()
        mean = (weights @ vertices) / np.asarray(weights.sum(1)).reshape(-1, 1).clip(1e-9)
        normal = surface.normals(field, vertices)
        step = 0.5 * (mean - vertices)
        step -= np.sum(step * normal, -1, keepdims=True) * normal
        moved = surface.project(field, vertices + step, 4)
        vertices = np.where(movable[:, None], moved, vertices)
        faces = flip_edges(vertices, faces, normal)
    return vertices, faces
