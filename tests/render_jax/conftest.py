"""An independent rasterizer to compare with, and meshes to draw."""

from types import SimpleNamespace

import numpy as np
import pytest


def reference_rasterizer(vertices, faces, image_size, perspective=True):
    """All pixels against all faces in float64, by intersecting rays.

    The ray of pixel centre p meets the plane through three points where t (p, 1) = sum of lambda_k P_k, with
    P_k = (u_k, v_k, 1) z_k: one 3x3 inverse a face. (For a parallel projection, P_k = (u_k, v_k, 1).)

    Returns face_index, depth, barycentric, and `sure`: False where float32 may rightly decide otherwise, because the
    centre is within 1e-4 (in barycentric coordinates) of a border or two faces are within 1e-5 in depth.
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
    height, width = image_size
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], axis=-1)
    depth = np.full(image_size, np.inf)
    second = np.full(image_size, np.inf)
    face_index = np.full(image_size, -1)
    barycentric = np.zeros((*image_size, 3))
    near_border = np.zeros(image_size, bool)
    for number, face in enumerate(faces):
        corners = vertices[face]
        one, two = corners[1] - corners[0], corners[2] - corners[0]
        with np.errstate(invalid="ignore", over="ignore"):
            area = one[0] * two[1] - one[1] * two[0]
        if not np.isfinite(corners).all() or (corners[:, 2] <= 0).any() or not abs(area) > 1e-9:
            continue
        points = np.column_stack([corners[:, :2], np.ones(3)]) * (corners[:, 2:] if perspective else 1)
        weights = rays @ np.linalg.inv(points.T).T
        weights = weights / weights.sum(axis=-1, keepdims=True)
        z = weights @ corners[:, 2]
        # Behind the viewer the plane's weights can be positive too, but not at positive depth and inside.
        smallest = weights.min(axis=-1)
        inside = (smallest >= 0) & (z > 0)
        near_border |= np.abs(smallest) < 1e-4
        nearer = inside & (z < depth)
        second = np.where(nearer, depth, np.where(inside, np.minimum(second, z), second))
        face_index[nearer], depth[nearer], barycentric[nearer] = number, z[nearer], weights[nearer]
    with np.errstate(invalid="ignore"):
        sure = ~near_border & ~(second - depth < 1e-5 * depth)
    return SimpleNamespace(
        face_index=face_index, depth=np.where(face_index < 0, 0, depth), barycentric=barycentric, sure=sure
    )


def sphere(rows=12, columns=16):
    """Closed unit sphere of latitudes and longitudes, counter-clockwise from outside: vertices, faces."""
    latitude = np.linspace(0, np.pi, rows + 1)[1:-1]
    longitude = np.arange(columns) * (2 * np.pi / columns)
    ring = np.stack(
        [
            np.sin(latitude)[:, None] * np.cos(longitude),
            np.sin(latitude)[:, None] * np.sin(longitude),
            np.cos(latitude)[:, None] * np.ones(columns),
        ],
        axis=-1,
    )
    vertices = np.concatenate([ring.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    north, south, faces = len(vertices) - 2, len(vertices) - 1, []
    for column in range(columns):
        following = (column + 1) % columns
        faces.append([north, column, following])
        faces.append([south, (rows - 2) * columns + following, (rows - 2) * columns + column])
        for row in range(rows - 2):
            a, b = row * columns + column, row * columns + following
            faces += [[a, a + columns, b + columns], [a, b + columns, b]]
    return vertices.astype(np.float32), np.array(faces, np.int32)


def triangle_soup(seed, count, image_size):
    """Random triangles through and around the image, crossing each other: vertices (u, v, depth), faces."""
    random = np.random.default_rng(seed)
    height, width = image_size
    middle = random.uniform([-0.2 * width, -0.2 * height, 1], [1.2 * width, 1.2 * height, 2], (count, 1, 3))
    spread = random.uniform(0.02, 0.6, (count, 1, 1)) * np.array([width, height, 1])
    corners = middle + spread * random.uniform(-1, 1, (count, 3, 3))
    return corners.reshape(-1, 3).astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


@pytest.fixture(scope="session")
def reference():
    return reference_rasterizer


@pytest.fixture(scope="session")
def meshes():
    return SimpleNamespace(sphere=sphere, triangle_soup=triangle_soup)
