"""Independent measures of triangle meshes for tests, NumPy float64: topology, volume, sections, penetration."""

import collections

import numpy as np


def edge_counts(faces: np.ndarray) -> collections.Counter:
    """How many triangles use each undirected edge."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    return collections.Counter(map(tuple, edges.tolist()))


def border_loops(faces: np.ndarray) -> list[list[int]]:
    """Loops of the edges that only one triangle uses, in that triangle's direction."""
    directed = [(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)]
    present = set(directed)
    after = {a: b for a, b in directed if (b, a) not in present}
    found = []
    while after:
        here = next(iter(after))
        loop = []
        while here in after:
            loop.append(here)
            here = after.pop(here)
        found.append(loop)
    return found


def fans(faces: np.ndarray, vertex: int) -> int:
    """Number of fans of triangles around a vertex (1 on a manifold)."""
    links = [[int(c) for c in face if c != vertex] for face in faces if vertex in face]
    groups: list[set[int]] = []
    for link in links:
        touching = [group for group in groups if group & set(link)]
        groups = [group for group in groups if group not in touching] + [set(link).union(*touching)]
    return len(groups)


def closed(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with every hole closed by a fan around its centre."""
    for loop in border_loops(faces):
        centre = len(vertices)
        vertices = np.concatenate([vertices, vertices[loop].mean(0, keepdims=True)])
        loop = np.array(loop)
        fan = np.stack([np.roll(loop, -1), loop, np.full(len(loop), centre)], 1)
        faces = np.concatenate([faces, fan])
    return vertices, faces


def volume(vertices, faces: np.ndarray) -> float:
    """Signed volume, holes closed; positive if the faces are counter-clockwise from outside."""
    vertices, faces = closed(np.asarray(vertices, np.float64), faces)
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float(np.einsum("fi,fi", a, np.cross(b, c)) / 6)


def section(vertices: np.ndarray, faces: np.ndarray, centre: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """[N, 3] where the mesh's edges cross a plane."""
    height = (vertices - centre) @ normal
    edges = np.array(list(edge_counts(faces)))
    edges = edges[height[edges[:, 0]] * height[edges[:, 1]] < 0]
    part = height[edges[:, 0]] / (height[edges[:, 0]] - height[edges[:, 1]])
    return vertices[edges[:, 0]] * (1 - part[:, None]) + vertices[edges[:, 1]] * part[:, None]


def winding(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[N] winding number of a closed mesh (van Oosterom & Strackee 1983): 1 inside, 0 outside."""
    a, b, c = (vertices[faces[:, corner]][None] - points[:, None] for corner in range(3))
    la, lb, lc = (np.linalg.norm(side, axis=-1) for side in (a, b, c))
    top = np.sum(a * np.cross(b, c), -1)
    bottom = la * lb * lc + np.sum(a * b, -1) * lc + np.sum(b * c, -1) * la + np.sum(c * a, -1) * lb
    return (2 * np.arctan2(top, bottom)).sum(1) / (4 * np.pi)


def distance_to_triangles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[N] distance of points to the nearest of triangles [F, 3, 3]: to a plane within its triangle, or to an edge."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    nearest = np.full(len(points), np.inf)
    for one, two in ((a, b), (b, c), (c, a)):
        along = two - one
        part = np.einsum("pfi,fi->pf", points[:, None] - one, along) / np.maximum(np.sum(along**2, -1), 1e-18)
        foot = one + np.clip(part, 0, 1)[..., None] * along
        nearest = np.minimum(nearest, np.linalg.norm(points[:, None] - foot, axis=-1).min(1))
    normal = np.cross(b - a, c - a)
    size = np.maximum(np.sum(normal**2, -1), 1e-30)
    height = np.einsum("pfi,fi->pf", points[:, None] - a, normal)
    foot = points[:, None] - (height / size)[..., None] * normal
    sides = ((a, b), (b, c), (c, a))
    left = [np.einsum("pfi,fi->pf", np.cross(two - one, foot - one), normal) >= 0 for one, two in sides]
    inside = np.all(left, 0)
    flat = np.where(inside, np.abs(height) / np.sqrt(size), np.inf)
    return np.minimum(nearest, flat.min(1))


def penetration(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray, parents: tuple[int, ...]) -> float:
    """Depth of the deepest vertex of one part inside another that is not its neighbour in the tree of joints.

    A part is what one joint moves most; its holes are closed by fans.
    """
    vertices = np.asarray(vertices, np.float64)
    label = weights.argmax(1)
    face_label = weights[faces].sum(1).argmax(1)
    parent = np.array(parents)
    deepest = 0.0
    for part in np.unique(face_label):
        own = faces[face_label == part]
        corners = vertices[own].reshape(-1, 3)
        others = (label != part) & (parent[label] != part) & (label != parent[part])
        others &= ((vertices > corners.min(0)) & (vertices < corners.max(0))).all(1)
        candidates = vertices[others]
        if len(candidates):
            inside = candidates[winding(candidates, *closed(vertices, own)) > 0.5]
            if len(inside):
                deepest = max(deepest, float(distance_to_triangles(inside, vertices[own]).max()))
    return deepest
