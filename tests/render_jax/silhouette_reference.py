"""Independent float64 silhouettes to compare with, written pair by pair in pixels, and meshes to draw."""

import numpy as np

CUTOFF = np.log(1 / 1e-4 - 1)


def _pixel_centres(image_size):
    v, u = np.meshgrid(np.arange(image_size[0]) + 0.5, np.arange(image_size[1]) + 0.5, indexing="ij")
    return np.stack([u, v], axis=-1)


def counted(corners):
    """Whether a face [3, 3] counts at all."""
    with np.errstate(all="ignore"):
        one, two = corners[1, :2] - corners[0, :2], corners[2, :2] - corners[0, :2]
        area = one[0] * two[1] - one[1] * two[0]
    return np.isfinite(corners).all() and (corners[:, 2] > 0).all() and abs(area) > 1e-9


def softras(vertices, faces, image_size, sigma, cotangent=None):
    """alpha, and with a cotangent also the gradient of sum(cotangent alpha) [vertices, 3].

    The gradient divides by nothing clever: each face's p by its own derivative, the nearest point by its parameter.
    """
    vertices = np.asarray(vertices, np.float64)
    centres, transparency, seen = _pixel_centres(image_size), np.ones(image_size), []
    for face in np.asarray(faces):
        corners = vertices[face]
        if not counted(corners):
            continue
        # Farther pixels do not see the face, by definition; leaving them out saves nearly all the work.
        reach = np.sqrt(CUTOFF * sigma) + 1
        low, high = corners[:, :2].min(axis=0) - reach, corners[:, :2].max(axis=0) + reach
        columns = slice(*np.clip([np.floor(low[0]), np.ceil(high[0])], 0, image_size[1]).astype(int))
        rows = slice(*np.clip([np.floor(low[1]), np.ceil(high[1])], 0, image_size[0]).astype(int))
        points = centres[rows, columns]
        if points.size == 0:
            continue
        steps = np.roll(corners[:, :2], -1, axis=0) - corners[:, :2]
        parts = [
            np.clip((points - start) @ step / (step @ step), 0, 1)
            for start, step in zip(corners[:, :2], steps, strict=True)
        ]
        apart = [
            points - start - part[..., None] * step
            for start, step, part in zip(corners[:, :2], steps, parts, strict=True)
        ]
        squared = np.stack([(residual**2).sum(axis=-1) for residual in apart])
        nearest, distance = squared.argmin(axis=0), squared.min(axis=0)
        turns = [
            step[0] * (points[..., 1] - start[1]) - step[1] * (points[..., 0] - start[0])
            for start, step in zip(corners[:, :2], steps, strict=True)
        ]
        inside = (np.min(turns, axis=0) >= 0) | (np.max(turns, axis=0) <= 0)
        counts = inside | (distance <= CUTOFF * sigma)
        with np.errstate(over="ignore"):
            p = np.where(counts, 1 / (1 + np.exp(np.where(inside, -distance, distance) / sigma)), 0)
            rest = np.where(counts, 1 / (1 + np.exp(np.where(inside, distance, -distance) / sigma)), 1)
        transparency[rows, columns] *= rest
        seen.append((face, rows, columns, np.where(inside, p, -p), nearest, parts, apart))
    if cotangent is None:
        return 1 - transparency
    gradient, weight = np.zeros_like(vertices), cotangent * transparency
    for face, rows, columns, p, nearest, parts, apart in seen:
        for edge in range(3):
            pull = np.where(nearest == edge, weight[rows, columns] * p, 0)[..., None] * apart[edge] * (-2 / sigma)
            gradient[face[edge], :2] += (pull * (1 - parts[edge])[..., None]).sum(axis=(0, 1))
            gradient[face[(edge + 1) % 3], :2] += (pull * parts[edge][..., None]).sum(axis=(0, 1))
    return 1 - transparency, gradient


def covered(vertices, faces, points):
    """Whether any face lies over each of the points [..., 2]."""
    result = np.zeros(points.shape[:-1], bool)
    for face in np.asarray(faces):
        corners = np.asarray(vertices, np.float64)[face]
        if counted(corners):
            steps = np.roll(corners[:, :2], -1, axis=0) - corners[:, :2]
            turns = [
                step[0] * (points[..., 1] - start[1]) - step[1] * (points[..., 0] - start[0])
                for start, step in zip(corners[:, :2], steps, strict=True)
            ]
            result |= (np.min(turns, axis=0) >= 0) | (np.max(turns, axis=0) <= 0)
    return result


def outline(vertices, faces, image_size, sigma):
    """alpha of the outline mode: every edge of every face sampled densely, samples with both sides covered dropped."""
    vertices = np.asarray(vertices, np.float64)
    sides = {tuple(sorted(side)) for face in np.asarray(faces) for side in zip(face, np.roll(face, -1), strict=True)}
    samples = []
    for one, two in sides:
        start, step = vertices[one, :2], vertices[two, :2] - vertices[one, :2]
        length = np.hypot(*step)
        if length > 0:
            part = np.linspace(0, 1, max(2, int(length / 0.1)))[:, None]
            across = np.array([-step[1], step[0]]) / length * 1e-4
            points = start + part * step
            free = ~covered(vertices, faces, points + across) | ~covered(vertices, faces, points - across)
            samples.append(points[free])
    centres, samples = _pixel_centres(image_size), np.concatenate(samples)
    squared = np.stack([((row[:, None] - samples[None]) ** 2).sum(axis=-1).min(axis=1) for row in centres])
    sign = np.where(covered(vertices, faces, centres), 1, -1)
    with np.errstate(over="ignore"):
        return np.where(squared <= CUTOFF * sigma, 1 / (1 + np.exp(-sign * squared / sigma)), sign > 0)


def star(sphere, rows, columns, image_size):
    """Closed mesh with five arms, tilted so that they cross each other on the picture: screen vertices, faces."""
    vertices, faces = sphere(rows, columns)
    longitude = np.arctan2(vertices[:, 1], vertices[:, 0])
    reach = np.hypot(vertices[:, 0], vertices[:, 1])
    points = vertices * (1 + 0.5 * reach * np.cos(5 * longitude))[:, None] * [1, 1, 0.6]
    turn, tilt = 0.3, 0.7
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    points = points @ about_z.T @ about_x.T
    height, width = image_size
    size = 0.3 * min(image_size)
    return (points * [size, size, 0.2] + [0.51 * width, 0.48 * height, 1]).astype(np.float32), faces
