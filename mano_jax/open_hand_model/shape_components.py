"""Ten shape components: how hands differ, each in units of one standard deviation.

A component changes the measures; the vertices are carried along with their bones and put back on the new surface at the
height they had above the old one. `sigma` is the change of the named measure for one unit, as a part of its mean.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mano_jax.open_hand_model import flesh, surface
from mano_jax.open_hand_model import measures as anatomy
from mano_jax.open_hand_model.flesh import Measures
from mano_jax.open_hand_model.measures import FINGER_NAMES, FINGERS, FIRST_JOINT
from mano_jax.open_hand_model.weights import smoothstep


class Component(NamedTuple):
    name: str
    sigma: float
    source: str
    change: Callable[[Measures, float], Measures]  # measures of a hand that differs by this part
    uniform: bool = False  # the whole hand grows alike: an exact scaling about the wrist


def _with_bones(measures: Measures, factors: dict[str, tuple[float, float, float]]) -> Measures:
    fingers = dict(measures.fingers)
    for name, factor in factors.items():
        bones = tuple(float(bone * part) for bone, part in zip(fingers[name].bones, factor, strict=True))
        fingers[name] = fingers[name]._replace(bones=bones)
    return measures._replace(fingers=fingers)


def _with_palm(measures: Measures, length=1.0, breadth=1.0, thickness=1.0) -> Measures:
    factor = np.array([length, breadth, thickness])
    fingers = {
        name: finger._replace(base=tuple((np.asarray(finger.base) * factor).tolist()))
        for name, finger in measures.fingers.items()
    }
    return measures._replace(fingers=fingers, palm=tuple((np.asarray(measures.palm) * factor).tolist()))


def _with_girth(measures: Measures, factors: dict[str, float]) -> Measures:
    return measures._replace(girth={name: girth * factors.get(name, 1.0) for name, girth in measures.girth.items()})


_LONG = ("index", "middle", "ring", "little")


def _size(measures, part):
    grown = 1 + part
    measures = _with_palm(measures, grown, grown, grown)
    measures = _with_bones(measures, dict.fromkeys(FINGER_NAMES, (grown,) * 3))
    return _with_girth(measures, dict.fromkeys(FINGER_NAMES, grown))._replace(wrist=measures.wrist)


def _breadth(measures, part):
    measures = _with_palm(measures, 1.0, 1 + part, 1 + 0.3 * part)
    return _with_girth(measures, dict.fromkeys(FINGER_NAMES, 1 + 0.4 * part))


def _finger_length(measures, part):
    measures = _with_palm(measures, 1 - 0.5 * part, 1 - 0.2 * part, 1.0)
    return _with_bones(measures, dict.fromkeys(_LONG, (1 + part,) * 3) | {"thumb": (1 + 0.3 * part,) * 3})


def _flesh(measures, part):
    measures = _with_palm(measures, 1.0, 1 + 0.3 * part, 1 + 0.8 * part)
    measures = measures._replace(wrist=measures.wrist * (1 + 0.3 * part))
    return _with_girth(measures, dict.fromkeys(FINGER_NAMES, 1 + part))


def _thumb_length(measures, part):
    return _with_bones(measures, {"thumb": (1 + 0.8 * part, 1 + part, 1 + part)})


def _index_ring(measures, part):
    return _with_bones(measures, {"index": (1 + part,) * 3, "ring": (1 - part,) * 3})


def _little_length(measures, part):
    return _with_bones(measures, {"little": (1 + part,) * 3})


def _proximal_bones(measures, part):
    return _with_bones(measures, dict.fromkeys(_LONG, (1 + part, 1 - 0.8 * part, 1 - 0.8 * part)))


def _middle_bones(measures, part):
    return _with_bones(measures, dict.fromkeys(_LONG, (1.0, 1 + part, 1 - 0.8 * part)))


def _thumb_base(measures, part):
    thumb = measures.fingers["thumb"]
    x, y, z = thumb.base
    fingers = dict(measures.fingers) | {"thumb": thumb._replace(base=(x * (1 - part), y * (1 + part), z - 22.0 * part))}
    return measures._replace(fingers=fingers)


# Sources: Gordon et al., "1988 Anthropometric Survey of U.S. Army Personnel", 1989; Manning et al., "The ratio of 2nd
# to 4th digit length", Human Reproduction 1998. Both give spreads of single measures; how these divide among
# components that are taken as independent is a guess everywhere.
_LENGTH_SOURCE = "hand length of adults of one sex spreads by about 5 %, Gordon et al. 1989"
_BREADTH_SOURCE = "hand breadth by about 4 mm of 80-90, Gordon et al. 1989; at equal length, guess"
_RATIO_SOURCE = "the ratio of index to ring by about 0.03-0.04, Manning et al. 1998"

COMPONENTS: tuple[Component, ...] = (
    Component("hand length", 0.049, _LENGTH_SOURCE, _size, True),
    Component("palm breadth", 0.040, _BREADTH_SOURCE, _breadth),
    Component("finger length against palm", 0.040, "guess", _finger_length),
    Component("flesh", 0.060, "guess", _flesh),
    Component("thumb length", 0.050, "guess", _thumb_length),
    Component("index against ring", 0.020, _RATIO_SOURCE, _index_ring),
    Component("little finger length", 0.050, "guess", _little_length),
    Component("proximal against other bones", 0.045, "guess", _proximal_bones),
    Component("middle against distal bones", 0.045, "guess", _middle_bones),
    Component("thumb base", 0.120, "guess", _thumb_base),
)


BASE_REACH = (18.0, 42.0)  # millimetres from a finger's base: the palm's skin follows it wholly, and not at all


def rest_points(measures: Measures) -> np.ndarray:
    """[16, 3] joints, anatomical frame."""
    joints = np.zeros((16, 3))
    for name, first in FIRST_JOINT.items():
        joints[first : first + 3] = anatomy.finger_points(measures.fingers[name])[:3]
    return joints


def _carry(vertices: np.ndarray, weights: np.ndarray, measures: Measures) -> np.ndarray:
    """Vertices of the mean hand taken along by the bones of another: stretched along them, thickened across."""
    palm = np.asarray(measures.palm)
    on_palm = vertices * palm
    for name, finger in measures.fingers.items():  # a base that moves against the palm's growth takes the skin along
        base = np.asarray(FINGERS[name].base)
        away = np.linalg.norm(vertices - base, axis=-1, keepdims=True)
        near = 1.0 - smoothstep((away - BASE_REACH[0]) / (BASE_REACH[1] - BASE_REACH[0]))
        on_palm = on_palm + near * (np.asarray(finger.base) - base * palm)
    placed = weights[:, :1] * on_palm
    for name, first in FIRST_JOINT.items():
        old, new = FINGERS[name], measures.fingers[name]
        old_frames, new_frames = anatomy.bone_frames(old), anatomy.bone_frames(new)
        old_points, new_points = anatomy.finger_points(old), anatomy.finger_points(new)
        for bone in range(3):
            local = (vertices - old_points[bone]) @ old_frames[bone].T
            local = local * (new.bones[bone] / old.bones[bone], measures.girth[name], measures.girth[name])
            placed += weights[:, first + bone, None] * (new_points[bone] + local @ new_frames[bone])
    return placed


def shaped_vertices(vertices, weights, opening, corrections, measures: Measures) -> np.ndarray:
    """The mean hand's vertices [778, 3] on the surface of a hand with these measures."""
    mean_field = flesh.rest_field(flesh.hand_bodies(Measures(), corrections))
    field = flesh.rest_field(flesh.hand_bodies(measures, corrections))
    height = mean_field(vertices)
    carried = _carry(vertices, weights, measures)
    moved = carried
    for _ in range(8):
        slope = surface.gradient(field, moved)
        size = np.maximum(np.sum(slope**2, -1), 0.05)
        moved = moved - np.clip((field(moved) - height) / size, -3, 3)[:, None] * slope
    moved[opening, 0] = carried[opening, 0]
    return moved


def shape_basis(vertices, weights, opening, corrections) -> tuple[np.ndarray, np.ndarray]:
    """Millimetres per unit: vertices [778, 3, 10] and joints [16, 3, 10], by central differences over one sigma."""
    columns, joints = [], []
    for component in COMPONENTS:
        both = [component.change(Measures(), sign * component.sigma) for sign in (1, -1)]
        if component.uniform:
            columns.append(component.sigma * vertices)
        else:
            plus, minus = (shaped_vertices(vertices, weights, opening, corrections, measures) for measures in both)
            columns.append((plus - minus) / 2)
        joints.append((rest_points(both[0]) - rest_points(both[1])) / 2)
    return np.stack(columns, -1), np.stack(joints, -1)
