"""The flesh of the open hand: bodies on the skeleton, with the sections real hands have.

`hand_bodies(measures)` turns a set of measures into groups of bodies (the palm, then five fingers); `rest_field` is the
surface they make. Everything is scaled by the measures, so that the same code makes the template and, with other
measures, its shape components. Anatomical frame, millimetres.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mano_jax.open_hand_model import measures as anatomy
from mano_jax.open_hand_model import surface
from mano_jax.open_hand_model.measures import FINGER_NAMES, FINGERS, FIRST_JOINT, Finger

# Width and depth of the fingers, millimetres, where real hands were measured (docs/open_hand.md): half of the proximal
# bone, PIP, half of the middle bone, DIP, half and three quarters of the distal bone. For the thumb: half of its
# metacarpal and its MCP (from the thenar's outline, a guess), then half of its proximal bone, IP, distal 50 and 75 %.
SECTIONS: dict[str, tuple[tuple[float, float], ...]] = {
    "thumb": ((24.0, 24.0), (22.0, 21.0), (21.0, 19.0), (19.0, 18.0), (19.0, 12.0), (17.0, 10.0)),
    "index": ((19.0, 19.0), (19.0, 18.0), (18.0, 18.0), (16.0, 16.0), (15.0, 13.0), (13.0, 11.0)),
    "middle": ((19.0, 21.0), (19.0, 18.0), (17.0, 17.0), (16.0, 16.0), (15.0, 13.0), (14.0, 12.0)),
    "ring": ((19.0, 20.0), (18.0, 17.0), (16.0, 16.0), (16.0, 14.0), (15.0, 12.0), (14.0, 11.0)),
    "little": ((15.0, 15.0), (14.0, 14.0), (13.0, 13.0), (13.0, 12.0), (12.0, 10.0), (11.0, 9.0)),
}
STATIONS = ((0, 0.5), (1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5), (2, 0.75))  # (bone, part of it)
# How far the joint's axis lies dorsal of the middle of the section, at the same stations (millimetres). The nail lies
# nearly on the bone, the pad below it.
DORSAL_SHIFT = (0.8, 0.8, 1.0, 1.0, 1.6, 1.4)


class Measures(NamedTuple):
    """What varies between hands. Factors are 1 for the mean hand."""

    fingers: dict[str, Finger] = FINGERS
    palm: tuple[float, float, float] = (1.0, 1.0, 1.0)  # length, breadth, thickness
    girth: dict[str, float] = dict.fromkeys(FINGER_NAMES, 1.0)
    wrist: float = 1.0  # girth of the wrist


def section_profile(finger: Finger, name: str, girth: float = 1.0):
    """Smooth (half width, dorsal, palmar) the finger should have, as a function of the distance along its bones."""
    from scipy.interpolate import PchipInterpolator

    ends = np.concatenate([[0.0], np.cumsum(finger.bones)])
    places = np.array([ends[bone] + part * finger.bones[bone] for bone, part in STATIONS])
    width, depth = np.asarray(SECTIONS[name], float).T / 2
    dorsal, palmar = depth - DORSAL_SHIFT, depth + DORSAL_SHIFT
    table = np.stack([width, dorsal, palmar], -1)
    # The root of the finger sinks in the palm: it keeps its first section, a little slimmer on the back.
    root = table[0] * ((0.88, 0.88, 1.0) if name != "thumb" else (0.85, 0.8, 0.8))
    table = np.concatenate([[root], table, [table[-1] * 0.97]])
    places = np.concatenate([[0.0], places, [ends[-1]]])
    return PchipInterpolator(places, table * girth)


# Where a finger's own section is compared with the profile: bone + part of it. Stations this close leave no ripples.
CALIBRATED = np.concatenate([np.arange(0.5, 1.0, 0.125), np.arange(1.0, 2.0, 0.125), np.arange(2.0, 2.8, 0.125)])


def finger_bodies(measures: Measures, name: str, correction: np.ndarray) -> list[tuple[surface.Body, float]]:
    """The finger's three bones in flesh; `correction` [len(CALIBRATED), 3] are factors on the profile."""
    finger = measures.fingers[name]
    profile = section_profile(finger, name, measures.girth[name])
    ends = np.concatenate([[0.0], np.cumsum(finger.bones)])
    frames, points = anatomy.bone_frames(finger), anatomy.finger_points(finger)
    parts = []
    for bone in range(3):
        length, end_cap = finger.bones[bone], 8.0
        if bone == 2:  # the skin's tip is the end of the cap
            end_cap = 0.40 * length * np.sqrt(measures.girth[name])
            length -= end_cap
        along = np.linspace(0.0, length, surface.SAMPLES)
        factors = [np.interp(bone + along / finger.bones[bone], CALIBRATED, column) for column in correction.T]
        rows = profile(ends[bone] + along) * np.stack(factors, -1)
        start_cap = (14.0 if name == "thumb" else 9.0) if bone == 0 else 8.0
        parts.append(
            (
                surface.body(points[bone], frames[bone], length, rows, (start_cap, end_cap), FIRST_JOINT[name] + bone),
                2.5,
            )
        )
    return parts


def metacarpal_bodies(measures: Measures) -> list[surface.Body]:
    """The flesh around the four metacarpals, index to little, from the carpus to the knuckles."""
    scale = np.asarray(measures.palm)
    carpus = {"index": (6, 10, 1), "middle": (6, 3, 2), "ring": (6, -5, 1), "little": (6, -12, -1)}
    rows = {
        "index": ((9.5, 10.5, 15), (10, 9, 14.0), (9.5, 8.5, 11.5)),
        "middle": ((9.5, 10.5, 16), (10, 9, 18.5), (9.5, 8.5, 12.5)),
        "ring": ((9.5, 10.5, 16), (9.5, 9, 18.0), (9.0, 8.0, 12.5)),
        "little": ((9.5, 10, 14), (9.5, 8.5, 12.5), (7.8, 7.0, 11.0)),
    }
    limbs = []
    for name, start in carpus.items():
        start, end = np.asarray(start) * scale, np.asarray(measures.fingers[name].base)
        frame = surface.frame_along(end - start, anatomy.bone_frames(measures.fingers[name])[0, 2])
        flesh = np.asarray(rows[name]) * (scale[1], scale[2], scale[2])
        limbs.append(surface.body(start, frame, np.linalg.norm(end - start), flesh, (14, 8)))
    return limbs


def _web(measures: Measures, left: str, right: str) -> surface.Body:
    """The fold between two fingers; it follows their directions and the lengths of their proximal bones."""
    ends = []
    for name in (left, right):
        finger = measures.fingers[name]
        grown = finger.bones[0] / FINGERS[name].bones[0]
        ends.append(
            (np.asarray(finger.base), anatomy.bone_frames(finger)[0], WEB_REACH[left, right][name == right] * grown)
        )
    (left_base, left_frame, left_reach), (right_base, right_frame, right_reach) = ends
    origin = (left_base + right_base) / 2 - (0, 0, 3.5 * measures.palm[2])
    frame = surface.frame_along(left_frame[0] + right_frame[0], left_frame[2] + right_frame[2])
    sections = np.array([(7, 6, 8), (5, 3.5, 5.5)]) * (measures.palm[1], measures.palm[2], measures.palm[2])
    return surface.body(origin, frame, (left_reach + right_reach) / 2 - 4.0, sections, (8, 4))


def palm_bodies(measures: Measures) -> list[tuple[surface.Body, float]]:
    """Wrist, metacarpals, balls, pads and webs, each with the radius with which it melts into those before it."""
    length, breadth, thickness = measures.palm
    thumb_base, thumb = np.asarray(measures.fingers["thumb"].base), FIRST_JOINT["thumb"]
    moved = (
        thumb_base - np.asarray(FINGERS["thumb"].base) * measures.palm
    )  # the thumb's base, against the palm's growth

    def place(*point: float) -> np.ndarray:
        return np.asarray(point) * measures.palm

    def sections(*rows: tuple[float, float, float]) -> np.ndarray:
        return np.asarray(rows, float) * (breadth, thickness, thickness)

    # The wrist, an oval tube that runs out of the mesh at its opening.
    tube = sections((27.5, 17.5, 18), (26.0, 16.5, 16.5), (24.5, 15, 15)) * measures.wrist
    parts = [(surface.body(place(-40, 0, 0), np.eye(3), 42 * length, tube, (20, 26 * length)), 14.0)]
    parts += [(limb, 12.0) for limb in metacarpal_bodies(measures)]
    # The root of the thumb, which softens the step from the forearm to the ball of the thumb.
    start = place(-4, 12, -2)
    frame = surface.frame_along(thumb_base - start, (0.0, 0.3, 1.0))
    root = sections((11, 10, 11), (11, 10, 12))
    parts.append((surface.body(start, frame, np.linalg.norm(thumb_base - start), root, (14, 12)), 14.0))
    # The ball of the thumb; it follows half of the CMC's rotation.
    frame, ball = surface.frame_along((0.80, 0.52, -0.12), (0.10, -0.25, 1.0)), sections((15.5, 11, 17.5))
    caps = (27 * length, 26 * length)
    parts.append((surface.body(place(36, 17, -12) + moved, frame, 0, ball, caps, thumb, 0.5), 9.0))
    # The heel on the little finger's side.
    frame, heel = surface.frame_along((0.97, -0.22, 0.0), (0.0, -0.3, 1.0)), sections((13, 12, 14))
    parts.append((surface.body(place(36, -24, -8), frame, 0, heel, (34 * length, 38 * length)), 11.0))
    # The first web, a thin fold between thumb and index.
    frame, fold = surface.frame_along((0.78, 0.62, -0.05), (-0.15, 0.1, 1.0)), sections((14, 7.5, 8))
    parts.append((surface.body(place(55, 29, -6) + 0.5 * moved, frame, 0, fold, (22, 17), thumb, 0.5), 12.0))
    # Pads below the knuckles, across the palm.
    parts.append((surface.body(place(76, -4, -5), np.eye(3), 0, sections((27, 7, 9.5)), (15, 18)), 10.0))
    return parts + [(_web(measures, left, right), 6.0) for left, right in WEB_REACH]


# How far the webs reach past the joints at their two sides, millimetres.
WEB_REACH = {("index", "middle"): (17.5, 17.5), ("middle", "ring"): (17.5, 17.5), ("ring", "little"): (14.0, 11.48)}
BLEND_WITH_PALM = {"thumb": 12.0, "index": 9.0, "middle": 9.0, "ring": 9.0, "little": 8.0}


def hand_bodies(measures: Measures, corrections: dict[str, np.ndarray]) -> list[list[tuple[surface.Body, float]]]:
    """[palm, thumb, index, middle, ring, little]."""
    return [palm_bodies(measures), *(finger_bodies(measures, name, corrections[name]) for name in FINGER_NAMES)]


def rest_field(groups: list) -> Callable[[np.ndarray], np.ndarray]:
    """The surface of the whole hand. Fingers melt into the palm and all but not into each other."""

    def field(points: np.ndarray) -> np.ndarray:
        palm = surface.blend(groups[0], points)
        joined = [
            surface.smooth_minimum(palm, surface.blend(group, points), BLEND_WITH_PALM[name])
            for name, group in zip(FINGER_NAMES, groups[1:], strict=True)
        ]
        return functools.reduce(lambda first, second: surface.smooth_minimum(first, second, 1.5), joined)

    return field


def calibrated_corrections(rounds: int = 6) -> dict[str, np.ndarray]:
    """Factors on the fingers' profiles that undo what melting adds at the joints: rays find out, round by round."""
    corrections = {name: np.ones((len(CALIBRATED), 3)) for name in FINGER_NAMES}
    for name, correction in corrections.items():
        finger = FINGERS[name]
        ends = np.concatenate([[0.0], np.cumsum(finger.bones)])
        bones = CALIBRATED.astype(int)
        wanted = section_profile(finger, name)(ends[bones] + (CALIBRATED - bones) * np.asarray(finger.bones)[bones])
        for _ in range(rounds):
            correction *= np.clip(wanted / measured_sections(name, correction), 0.8, 1.25)
    return corrections


def measured_sections(name: str, correction: np.ndarray) -> np.ndarray:
    """[len(CALIBRATED), 3] half width, dorsal and palmar half depth of the mean finger's own bodies."""
    finger = FINGERS[name]
    parts = finger_bodies(Measures(), name, correction)
    frames, points = anatomy.bone_frames(finger), anatomy.finger_points(finger)
    origins, rays = [], []
    for station in CALIBRATED:
        bone = int(station)
        centre = points[bone] + (station - bone) * finger.bones[bone] * frames[bone, 0]
        origins += [centre] * 4
        rays += [frames[bone, 1], -frames[bone, 1], frames[bone, 2], -frames[bone, 2]]
    lengths = surface.ray_length(lambda p: surface.blend(parts, p), np.array(origins), np.array(rays)).reshape(-1, 4)
    return np.stack([(lengths[:, 0] + lengths[:, 1]) / 2, lengths[:, 2], lengths[:, 3]], -1)
