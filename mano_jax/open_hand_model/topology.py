"""Triangle meshes as tables of corners: border loops, neighbours, a test for discs, edge flips. Knows no hands."""

import numpy as np


def directed_edges(faces: np.ndarray) -> np.ndarray:
    """[3F, 2] edges of the triangles in their own direction."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def loops(faces: np.ndarray) -> list[list[int]]:
    """The border loops as lists of vertices, each in the direction of the faces' own edges."""
    edges = directed_edges(faces)
    present = {(int(a), int(b)) for a, b in edges}
    after = {a: b for a, b in sorted(present) if (b, a) not in present}
    found = []
    while after:
        start = min(after)
        loop, here = [start], after.pop(start)
        while here != start:
            loop.append(here)
            here = after.pop(here)
        found.append(loop)
    return found


def neighbour_matrix(faces: np.ndarray, count: int):
    """[count, count] sparse, 1 where two vertices share an edge."""
    from scipy.sparse import coo_matrix

    edges = directed_edges(faces)
    both = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    return coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count)).tocsr()


def is_disc(faces: np.ndarray, count: int, border_loops: int) -> bool:
    """True if the triangles form one manifold sphere with `border_loops` holes that uses all `count` vertices."""
    if len(np.unique(faces)) != count:
        return False
    edges = directed_edges(faces)
    if len(np.unique(edges, axis=0)) != len(edges):  # an edge used twice in the same direction
        return False
    undirected = np.unique(np.sort(edges, 1), axis=0)
    if count - len(undirected) + len(faces) != 2 - border_loops:
        return False
    # Around every vertex the triangles form one fan: the opposite edges make one path or one cycle.
    opposite: dict[int, list[tuple[int, int]]] = {}
    for a, b, c in faces.tolist():
        for corner, one, two in ((a, b, c), (b, c, a), (c, a, b)):
            opposite.setdefault(corner, []).append((one, two))
    for fan in opposite.values():
        after = dict(fan)
        starts = set(after) - set(after.values())
        if len(after) != len(fan) or len(starts) > 1:
            return False
        start = here = min(starts) if starts else min(after)
        steps = 0
        while here in after and (steps == 0 or here != start):
            here, steps = after[here], steps + 1
        if steps != len(fan):
            return False
    present = {(int(a), int(b)) for a, b in edges}
    borders = [a for a, b in present if (b, a) not in present]
    return len(borders) == len(set(borders)) and len(loops(faces)) == border_loops


def _angle(vertices: np.ndarray, corner: int, one: int, two: int) -> float:
    first, second = vertices[one] - vertices[corner], vertices[two] - vertices[corner]
    return float(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second))


def flip_edges(vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, passes: int = 3) -> np.ndarray:
    """Flip inner edges towards Delaunay where the new triangles face outwards (`normals` [N, 3] of the surface)."""
    triangles = [tuple(int(corner) for corner in face) for face in faces]
    for _ in range(passes):
        owner = {}
        for number, (a, b, c) in enumerate(triangles):
            owner[(a, b)], owner[(b, c)], owner[(c, a)] = (number, c), (number, a), (number, b)
        joined = {tuple(sorted(edge)) for edge in owner}
        touched: set[int] = set()
        flips = 0
        for (a, b), (left, c) in list(owner.items()):
            if a > b or (b, a) not in owner:
                continue
            right, d = owner[(b, a)]
            if left in touched or right in touched or tuple(sorted((c, d))) in joined:
                continue
            if _angle(vertices, c, a, b) + _angle(vertices, d, a, b) <= np.pi + 1e-3:
                continue
            outward = normals[[a, b, c, d]].mean(0)
            new = ((c, a, d), (d, b, c))
            areas = [np.cross(vertices[q] - vertices[p], vertices[r] - vertices[p]) @ outward for p, q, r in new]
            if min(areas) < 1.0:  # square millimetres (twice the area): folded over or a sliver
                continue
            triangles[left], triangles[right] = new
            joined.discard((a, b))
            joined.add(tuple(sorted((c, d))))
            touched |= {left, right}
            flips += 1
        if not flips:
            break
    return np.array(triangles)
