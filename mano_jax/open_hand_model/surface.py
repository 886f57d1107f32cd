"""An implicit surface made of tapered bodies: what a hand's flesh is described with.

A `Body` is a straight limb with an oval section that changes along it and ellipsoidal ends; bodies melt into each other
by a smooth minimum. All of it is NumPy in float64, in the anatomical frame and millimetres of measures.py.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Body(NamedTuple):
    """A tapered limb. `frame` rows: direction, lateral, dorsal. Sections are sampled evenly from start to end."""

    origin: np.ndarray  # [3]
    frame: np.ndarray  # [3, 3]
    length: float
    half_width: np.ndarray  # [samples]
    dorsal: np.ndarray  # [samples] half depth towards the back of the hand
    palmar: np.ndarray  # [samples] half depth towards the palm
    start_cap: float  # how far the ellipsoidal ends reach beyond the limb
    end_cap: float
    joint: int = 0  # of the model: whose rotation carries this body
    share: float = 1.0  # of that rotation (the rest is its parent's)


SAMPLES = 33


def body(origin, frame, length, sections, caps, joint=0, share=1.0) -> Body:
    """A body whose (half width, dorsal, palmar) run linearly through `sections`, evenly placed along it."""
    table = np.atleast_2d(np.asarray(sections, float))
    places = np.linspace(0, len(table) - 1, SAMPLES)
    width, dorsal, palmar = (np.interp(places, np.arange(len(table)), column) for column in table.T)
    start_cap, end_cap = caps
    origin, frame = np.asarray(origin, float), np.asarray(frame, float)
    return Body(origin, frame, float(length), width, dorsal, palmar, start_cap, end_cap, joint, share)


def frame_along(direction, dorsal_hint=(0.0, 0.0, 1.0)) -> np.ndarray:
    """Rows (direction, lateral, dorsal): right-handed, dorsal as near to the hint as it can be."""
    direction = np.asarray(direction, float) / np.linalg.norm(direction)
    dorsal = np.asarray(dorsal_hint, float) - np.dot(dorsal_hint, direction) * direction
    dorsal /= np.linalg.norm(dorsal)
    return np.array([direction, np.cross(dorsal, direction), dorsal])


def distance(limb: Body, points: np.ndarray) -> np.ndarray:
    """[N] approximate signed distance of points [N, 3], exact in sign, right to first order at the surface."""
    along, lateral, height = limb.frame @ (points - limb.origin).T
    place = np.clip(along / max(limb.length, 1e-9), 0.0, 1.0) * (SAMPLES - 1)
    low = np.minimum(place.astype(int), SAMPLES - 2)
    part = place - low
    width, dorsal, palmar = (
        samples[low] * (1.0 - part) + samples[low + 1] * part for samples in (limb.half_width, limb.dorsal, limb.palmar)
    )
    depth = np.where(height > 0, dorsal, palmar)
    beyond = np.where(along < 0, along, np.maximum(along - limb.length, 0.0))
    cap = np.where(along < 0, limb.start_cap, limb.end_cap)
    scaled = np.stack([beyond / cap, lateral / width, height / depth])
    level = np.sqrt(np.sum(scaled**2, 0))
    slope = np.sqrt((scaled[0] / cap) ** 2 + (scaled[1] / width) ** 2 + (scaled[2] / depth) ** 2)
    # On the axis level and slope vanish together; their ratio is the smallest half axis there.
    inside = -np.minimum(width, depth)
    safe = np.where(slope > 1e-6, slope, 1.0)
    return np.where(slope > 1e-6, level * (level - 1.0) / safe, inside)


def smooth_minimum(first: np.ndarray, second: np.ndarray, radius: float) -> np.ndarray:
    """The union of two surfaces, melted where they are within `radius` of each other (quadratic blend)."""
    overlap = np.maximum(radius - np.abs(first - second), 0.0) / radius
    return np.minimum(first, second) - overlap**2 * radius / 4.0


def blend(parts: Sequence[tuple[Body, float]], points: np.ndarray) -> np.ndarray:
    """[N]: the smooth union of bodies in order, each melted into those before it with its own radius."""
    total = distance(parts[0][0], points)
    for limb, radius in parts[1:]:
        total = smooth_minimum(total, distance(limb, points), radius)
    return total


def gradient(field: Callable[[np.ndarray], np.ndarray], points: np.ndarray, step: float = 0.02) -> np.ndarray:
    """[N, 3] of a field by central differences."""
    columns = []
    for axis in np.eye(3) * step:
        columns.append((field(points + axis) - field(points - axis)) / (2 * step))
    return np.stack(columns, -1)


def project(field: Callable, points: np.ndarray, steps: int = 8, furthest: float = np.inf) -> np.ndarray:
    """Points [N, 3] moved onto the zero of the field by damped Newton steps along its gradient."""
    moved = points.copy()
    for _ in range(steps):
        slope = gradient(field, moved)
        size = np.maximum(np.sum(slope**2, -1), 0.05)
        moved = moved - np.clip(field(moved) / size, -4.0, 4.0)[:, None] * slope
        away = moved - points
        length = np.linalg.norm(away, axis=-1, keepdims=True)
        moved = points + away * np.minimum(1.0, furthest / np.maximum(length, 1e-9))
    return moved


def normals(field: Callable, points: np.ndarray) -> np.ndarray:
    slope = gradient(field, points)
    return slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-12)


def ray_length(field: Callable, origins: np.ndarray, directions: np.ndarray, furthest: float = 40.0) -> np.ndarray:
    """[N] length of rays from inside to where they first leave the surface (march, then bisection)."""
    low = np.zeros(len(origins))
    high = np.full(len(origins), furthest)
    open_ray = np.ones(len(origins), bool)
    for length in np.arange(0.5, furthest, 0.5):
        outside = field(origins + length * directions) > 0
        high = np.where(open_ray & outside, length, high)
        open_ray &= ~outside
        low = np.where(open_ray, length, low)
        if not open_ray.any():
            break
    for _ in range(30):
        middle = (low + high) / 2
        outside = field(origins + middle[:, None] * directions) > 0
        low, high = np.where(outside, low, middle), np.where(outside, middle, high)
    return (low + high) / 2
