"""The colour of skin at any point of the resting open hand: tones, redder and paler places, creases, nails, veins.

A solid texture in NumPy. Tones follow a curve through CIELAB; all sizes are this project's choice, metres or shares of
the model's bones.
"""

import itertools

import numpy as np

from mano_jax.anatomy import joint_axes
from mano_jax.model import HandModel

TONES = {"very_light": 55.0, "light": 42.0, "medium": 28.0, "tan": 12.0, "brown": -12.0, "dark": -45.0}
"""Individual typology angle, degrees: atan((L* - 50) / b*), Chardon et al. 1991."""

# CIELAB along that angle. L and b agree with it; a lies near published measurements of forearms [guess].
TONE_ANGLES = (-60.0, -30.0, 0.0, 20.0, 35.0, 48.0, 60.0)
TONE_LAB = (
    (28.5, 11.0, 12.4),
    (40.4, 13.5, 16.6),
    (50.0, 14.5, 18.5),
    (56.7, 14.0, 18.3),
    (61.9, 13.0, 17.0),
    (66.9, 12.0, 15.2),
    (72.5, 10.5, 13.0),
)
_PALEST_PALM = np.array([66.0, 14.0, 15.0])  # palms hold little melanin, whatever the tone
_RGB_FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_WHITE = np.array([0.9505, 1.0, 1.089])  # D65
_DISTAL = np.array([14, 2, 5, 11, 8])  # last joint of each finger among the 15, thumb to little
_NAIL_HALF_WIDTH = np.array([0.25, 0.225, 0.225, 0.22, 0.22])  # of the distal bone's length
# Over PIP, DIP and the thumb's IP the skin of the back lies in folds.
_FOLDED = np.array([0.0, 1.0, 0.5] * 4 + [0.0, 0.3, 0.9])

# Courses on the palm and the back: (share of wrist -> middle knuckle, share across from little to index knuckle).
PALM_LINES = (
    ((0.93, 0.98), (0.87, 0.80), (0.79, 0.60), (0.72, 0.40), (0.66, 0.22), (0.60, 0.08)),  # head
    ((1.06, 0.74), (0.99, 0.66), (0.93, 0.52), (0.90, 0.36), (0.90, 0.18), (0.93, 0.00)),  # heart
    (
        (0.92, 0.99),
        (0.80, 0.88),
        (0.64, 0.74),
        (0.46, 0.63),
        (0.28, 0.58),
        (0.12, 0.60),
    ),  # around the ball of the thumb
)
VEINS = (
    ((-0.10, 0.75), (0.20, 0.72), (0.45, 0.66), (0.62, 0.72), (0.85, 0.80)),
    ((0.45, 0.66), (0.60, 0.55), (0.75, 0.50), (0.92, 0.45)),
    ((-0.05, 0.25), (0.25, 0.30), (0.45, 0.36), (0.60, 0.28), (0.90, 0.16)),
    ((0.45, 0.36), (0.62, 0.42), (0.75, 0.50)),
    ((0.30, 0.74), (0.45, 0.66)),
)


def skin_colour(model: HandModel, rest: np.ndarray, palmar: np.ndarray, angle: float, seed: int = 0) -> np.ndarray:
    """sRGB display values [N, 3] in [0, 1] of bare skin.

    Args:
      model: the open right hand, or another in its pose at rest.
      rest: [N, 3] points of the template's surface, metres.
      palmar: [N] from -1 (facing the back of its bone) to 1 (the palm's side).
      angle: individual typology angle, degrees.
      seed: of what differs between people: mottling.
    """
    joints, frames = np.asarray(model.joint_template, np.float64), np.asarray(joint_axes(model), np.float64)
    tips = np.asarray(model.template, np.float64)[np.asarray(model.fingertips())]
    ends = np.concatenate([joints[2:], joints[:1]])
    ends[_DISTAL] = tips
    lengths = np.linalg.norm(ends - joints[1:], axis=1)
    inner, outer = _smoothstep(-0.25, 0.55, palmar), _smoothstep(0.1, 0.7, -palmar)
    # [N, joints, (across, dorsal, along)]
    local = np.einsum("jab,pjb->pja", frames, rest[:, None] - joints[None, 1:])
    across, dorsal, along = np.moveaxis(local, -1, 0)

    back = np.array([np.interp(angle, TONE_ANGLES, column) for column in zip(*TONE_LAB, strict=True)])
    palm = back + np.array([0.62, 0.75, 0.60]) * np.maximum(_PALEST_PALM - back, (0.0, 0.0, -3.0))
    skin = _linear(back) + inner[:, None] * (_linear(palm) - _linear(back))
    skin = skin * (1.0 + _mottling(rest, seed)[:, None] * (0.7, 1.0, 1.0))

    # Blood shows through: knuckles, fingertips, the balls of the palm; it is paler in the palm's hollow.
    knuckles = np.exp(-0.5 * np.sum(local**2, -1) / 0.009**2).sum(1) * outer
    pads = np.exp(-0.5 * np.sum((rest[:, None] - tips[None]) ** 2, -1) / 0.009**2).sum(1)
    balls = np.stack([_in_palm(joints, *place) for place in ((0.42, 0.98), (0.40, 0.05), (0.98, 0.5))])
    rims = np.exp(-0.5 * np.sum((rest[:, None] - balls[None]) ** 2, -1) / 0.014**2).sum(1) * inner
    red = 0.55 * knuckles + 0.55 * pads + 0.45 * rims + 0.42 * inner
    skin = skin * np.exp(-red[:, None] * (0.06, 0.34, 0.32))
    # Old folds over the knuckles of dark hands are darker, not redder.
    skin = skin * (1.0 - 0.25 * np.clip(-angle / 50.0, 0.0, 1.0) * np.minimum(knuckles, 1.0))[:, None]

    veins = _near_courses(joints, VEINS, rest, 0.0013) * outer
    faint = 0.10 * np.clip((angle + 30.0) / 60.0, 0.2, 1.0)
    skin = skin * (1.0 - faint * veins[:, None] * (1.5, 0.9, 0.5))

    beside = np.exp(-0.5 * (across / 0.009) ** 2) * np.exp(-0.5 * (dorsal / 0.02) ** 2)
    crease = (np.exp(-np.abs(along) / 0.0007) * beside).sum(1) * inner
    ripples = 0.5 + 0.5 * np.cos(2 * np.pi * along / 0.0024 + 40.0 * across)
    folds = (ripples * np.exp(-0.5 * (along / 0.0035) ** 2) * beside * _FOLDED).sum(1) * outer
    lines = _near_courses(joints, PALM_LINES, rest, 0.0008) * _smoothstep(0.3, 0.8, palmar)
    dark = np.clip(0.42 * crease + 0.22 * folds + 0.36 * lines, 0.0, 0.7)
    skin = skin * (1.0 - dark[:, None] * (0.75, 1.0, 1.0))
    return _encoded(_with_nails(skin, local, lengths))


def _with_nails(skin: np.ndarray, local: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Nails laid over linear skin colours: pink bed, pale half moon and free edge, darker fold around."""
    across, dorsal, along = np.moveaxis(local[:, _DISTAL], -1, 0)
    length = lengths[_DISTAL]
    u, v = across / (length * _NAIL_HALF_WIDTH), (along - 0.70 * length) / (0.25 * length)
    radius = np.cbrt(np.abs(u) ** 3 + np.abs(v) ** 3)  # 1 on a rounded rectangle
    on_back = dorsal > 0.05 * length
    nail = on_back * _smoothstep(1.06, 0.94, radius)
    rim = (on_back * np.exp(-0.5 * ((radius - 1.03) / 0.07) ** 2)).max(1)
    moon = 0.5 * _smoothstep(0.40, 0.34, np.sqrt(0.5 * u**2 + (v + 0.95) ** 2))
    edge = 0.9 * _smoothstep(0.72, 0.80, v + 0.08 * u**2)
    pale = (nail * np.maximum(moon, edge)).max(1)[:, None]
    nail = nail.max(1)[:, None]
    bed = 0.45 * skin + 0.55 * np.array([0.66, 0.40, 0.34])
    bed = bed + pale * (np.array([0.78, 0.66, 0.58]) - bed)
    skin = skin * (1.0 - 0.35 * rim[:, None])
    return skin + nail * (bed - skin)


def _in_palm(joints: np.ndarray, along: float, over: float) -> np.ndarray:
    """A point of the palm's plane, see PALM_LINES."""
    wrist, index, middle, little = joints[[0, 1, 4, 7]]
    return wrist + along * (middle - wrist) + (over - 0.6) * (index - little)


def _near_courses(joints: np.ndarray, courses: tuple, rest: np.ndarray, width: float) -> np.ndarray:
    """exp(-distance / width) to polylines, seen straight onto the palm's plane."""
    plane = [0, 2]
    distance = np.full(len(rest), np.inf)
    for course in courses:
        points = np.stack([_in_palm(joints, *place) for place in course])[:, plane]
        for begin, end in itertools.pairwise(points):
            bone, offset = end - begin, rest[:, plane] - begin
            share = np.clip(offset @ bone / (bone @ bone), 0.0, 1.0)
            distance = np.minimum(distance, np.linalg.norm(offset - share[:, None] * bone, axis=1))
    return np.exp(-distance / width)


def _mottling(rest: np.ndarray, seed: int) -> np.ndarray:
    """Patches of about a centimetre and grain of a millimetre, a few per cent."""
    generator = np.random.default_rng(seed)
    total = np.zeros(len(rest))
    for scale, amount, count in ((110.0, 0.10, 14), (420.0, 0.05, 18), (1600.0, 0.04, 24)):
        waves, phases = generator.normal(size=(count, 3)), generator.uniform(0, 2 * np.pi, count)
        total += amount * np.cos(rest @ (scale * waves.T) + phases).sum(1) / np.sqrt(count / 2)
    return 0.45 * total


def _smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _linear(lab: np.ndarray) -> np.ndarray:
    """Linear RGB of CIELAB, D65 (IEC 61966-2-1)."""
    lightness = (lab[0] + 16.0) / 116.0
    f = np.array([lightness + lab[1] / 500.0, lightness, lightness - lab[2] / 200.0])
    xyz = np.where(f <= 6 / 29, (f - 4 / 29) * 3 * (6 / 29) ** 2, f**3) * _WHITE
    return np.clip(_RGB_FROM_XYZ @ xyz, 0.0, 1.0)


def _encoded(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
