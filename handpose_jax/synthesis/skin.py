"""Skin as a solid texture: its colour at any point of the template, at any resolution.

Tones come from a curve through CIELAB; on it lie a lighter palm, redder knuckles and fingertips, nails, creases where
fingers bend, lines of the palm and mottling. All sizes are this project's choice, as fractions of the model's bones.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from handpose_jax.synthesis.colour import linear_from_lab
from handpose_jax.synthesis.forearm import SLEEVE_FROM
from handpose_jax.synthesis.options import SynthesisOptions
from mano_jax.anatomy import joint_axes
from mano_jax.model import HandModel
from mano_jax.open_hand_model.skin import TONE_ANGLES, TONE_LAB
from mano_jax.rotations import PRECISION

_DISTAL = np.array([14, 2, 5, 11, 8])
"""Last joint of each finger among the 15 finger joints, thumb to little."""
_WAVES = 14
DARK_SHARES = (0.75, 1.0, 1.0)
"""How much of a crease's darkness each channel takes."""
NAIL_BED = (0.68, 0.40, 0.35)
NAIL_END = (0.74, 0.62, 0.55)
RIM_SHADE = 0.35


class SkinTone(NamedTuple):
    """One person's skin, linear RGB, and what varies over it; and the sleeve."""

    back: Float[Array, "3"]
    palm: Float[Array, "3"]
    redness: Float[Array, ""]
    mottling: Float[Array, "waves 4"]
    sleeved: Float[Array, ""]
    cloth: Float[Array, "3"]


class SkinMap(NamedTuple):
    """Where on the template things are, metres. Frames have rows flexion axis, dorsal, distal."""

    joints: Float[Array, "15 3"]
    frames: Float[Array, "15 3 3"]
    tips: Float[Array, "5 3"]
    lengths: Float[Array, "15"]
    palm_lines: Float[Array, "lines points 3"]
    cuff: Float[Array, ""]


def sample_skin(key: PRNGKeyArray, options: SynthesisOptions) -> SkinTone:
    """A person, and whether they wear a sleeve."""
    draw_key, wave_key = jax.random.split(key)
    draws = jax.random.uniform(draw_key, (9,))
    low, high = options.skin_angle
    # Three draws each way off the curve: lightness, redness, yellowness.
    shift = jnp.asarray([2.0, 2.0, 2.2]) * (2.0 * draws[1:4] - 1.0)
    return skin_of_angle(low + (high - low) * draws[0], shift)._replace(
        redness=0.5 + 0.8 * draws[4],
        mottling=jax.random.normal(wave_key, (_WAVES, 4)),
        sleeved=jnp.where(draws[5] < options.sleeve_share, 1.0, 0.0),
        cloth=linear_from_lab(draws[6:] * jnp.asarray([60.0, 44.0, 50.0]) + jnp.asarray([18.0, -22.0, -28.0])),
    )


def skin_of_angle(angle: Float[Array, ""] | float, shift: Float[Array, "3"] | None = None) -> SkinTone:
    """The bare skin of an individual typology angle (degrees), `shift` away from the curve in CIELAB."""
    shift = jnp.zeros(3) if shift is None else shift
    angles, table = jnp.asarray(TONE_ANGLES), jnp.asarray(TONE_LAB)
    lab = jnp.stack([jnp.interp(angle, angles, table[:, column]) for column in range(3)]) + shift
    # Palms hold little melanin: on dark hands they are much lighter than the backs, on light ones only redder.
    lightest = jnp.asarray([66.0, 13.0, 15.0])
    share = jnp.asarray([0.62, 0.75, 0.60])
    palm = lab + share * jnp.maximum(lightest - lab, jnp.asarray([0.0, 0.0, -3.0]))
    return SkinTone(
        back=linear_from_lab(lab),
        palm=linear_from_lab(palm),
        redness=jnp.ones(()),
        mottling=jnp.zeros((_WAVES, 4)),
        sleeved=jnp.zeros(()),
        cloth=jnp.ones(3),
    )


def skin_map(model: HandModel) -> SkinMap:
    """Places on the template of a right hand."""
    joints, tips = model.joint_template, model.template[np.asarray(model.fingertips())]
    fingers = joints[1:]
    ends = fingers.at[:-1].set(fingers[1:]).at[_DISTAL].set(tips)
    bones = ends - fingers
    wrist, index, middle, little = joints[0], joints[1], joints[4], joints[7]
    forward, across = middle - wrist, index - little
    across = across - jnp.sum(across * forward) / jnp.sum(forward * forward) * forward

    def at(along: float, over: float) -> Float[Array, "3"]:
        """A point of the palm: along wrist -> middle knuckle, and over from the little finger's side (0) to 1."""
        return wrist + along * forward + (over - 0.6) * across

    rows = (
        # Head and heart line, and that round the ball of the thumb.
        ((0.88, 1.16), (0.85, 1.00), (0.80, 0.80), (0.74, 0.58), (0.67, 0.36), (0.60, 0.16)),
        ((1.08, 0.80), (1.00, 0.74), (0.94, 0.60), (0.90, 0.42), (0.87, 0.22), (0.86, -0.04)),
        ((0.88, 1.16), (0.78, 0.98), (0.62, 0.82), (0.44, 0.71), (0.28, 0.66), (0.14, 0.68)),
    )
    lines = jnp.stack([jnp.stack([at(*point) for point in row]) for row in rows])
    return SkinMap(
        joints=fingers,
        frames=joint_axes(model),
        tips=tips,
        lengths=jnp.sqrt(jnp.sum(bones * bones, axis=1)),
        palm_lines=lines,
        cuff=model.template[:, 0].max() + SLEEVE_FROM,
    )


class SkinPattern(NamedTuple):
    """What of the skin's colour depends on the place alone, the same for all people; shares in [0, 1] but `red`.

    Attributes:
      inner: of the palm's colour against the back's.
      red: of reddening: knuckles, fingertips, palm.
      dark: of darkening by creases, folds and lines.
      nail, pale, rim: of nails, of their pale ends, of the dark rim around them.
    """

    inner: Float[Array, "points"]
    red: Float[Array, "points"]
    dark: Float[Array, "points"]
    nail: Float[Array, "points"]
    pale: Float[Array, "points"]
    rim: Float[Array, "points"]


def skin_colour(
    tone: SkinTone, places: SkinMap, rest: Float[Array, "points 3"], palmar: Float[Array, "points"]
) -> Float[Array, "points 3"]:
    """Linear RGB reflectance of points of the template's surface."""
    pattern = skin_pattern(places, rest, palmar)
    skin = with_details(plain_skin(tone, pattern, rest), pattern)
    sleeve = tone.sleeved * _smoothstep(-0.0006, 0.0006, rest[:, 0] - places.cuff)
    weave = 1.0 + 0.10 * jnp.cos(rest[:, 0] * 2 * np.pi / 0.0035) - 0.25 * jnp.exp(-(rest[:, 0] - places.cuff) / 0.002)
    weave = jnp.where(rest[:, 0] > places.cuff, weave, 1.0)
    skin = skin + sleeve[:, None] * (tone.cloth[None] * weave[:, None] - skin)
    return jnp.clip(skin, 0.0, 1.0)


def skin_pattern(places: SkinMap, rest: Float[Array, "points 3"], palmar: Float[Array, "points"]) -> SkinPattern:
    """The pattern at points of the template's surface."""
    inner = _smoothstep(-0.25, 0.55, palmar)
    outer = _smoothstep(0.1, 0.7, -palmar)
    # Sums over joints with the points along the last axis: on a CPU several times as fast as the other way round.
    columns = rest.T
    turned = _product(places.frames.reshape(-1, 3), columns).reshape(15, 3, -1)
    local = turned - _rowwise(places.frames, places.joints)[..., None]
    across, dorsal, along = local[:, 0], local[:, 1], local[:, 2]
    near = jnp.exp(-0.5 * (across * across + dorsal * dorsal + along * along) / 0.009**2)
    pads = [columns[axis][None] - places.tips[:, axis, None] for axis in range(3)]
    tips = jnp.exp(-0.5 * (pads[0] * pads[0] + pads[1] * pads[1] + pads[2] * pads[2]) / 0.009**2)
    red = 0.55 * outer * _total(near) + 0.50 * _total(tips) + 0.10 * inner

    # Creases: thin dark lines across the palmar side at each joint, faint folds over it on the back.
    beside = jnp.exp(-0.5 * jnp.square(across / 0.009)) * jnp.exp(-0.5 * jnp.square(dorsal / 0.02))
    crease = _total(jnp.exp(-jnp.abs(along) / 0.0007) * beside) * inner
    folds = (0.5 + 0.5 * jnp.cos(2 * np.pi * along / 0.0026)) * jnp.exp(-0.5 * jnp.square(along / 0.0035)) * beside
    folds = _product(jnp.asarray(_is_hinge(), rest.dtype)[None], folds)[0] * outer
    lines = _palm_lines(places, columns) * _smoothstep(0.3, 0.8, palmar)
    dark = jnp.clip(0.42 * crease + 0.22 * folds + 0.34 * lines, 0.0, 0.7)
    return SkinPattern(inner, red, dark, *_nails(places, local))


def plain_skin(tone: SkinTone, pattern: SkinPattern, rest: Float[Array, "points 3"]) -> Float[Array, "points 3"]:
    """Linear RGB without creases and nails: smooth over several millimetres."""
    dtype = rest.dtype
    mottle = jnp.einsum("pa,wa->pw", rest, tone.mottling[:, :3] * 110.0, precision=PRECISION)
    mottle = jnp.cos(mottle + 3.0 * tone.mottling[None, :, 3]).mean(1)
    skin = tone.back[None] + pattern.inner[:, None] * (tone.palm - tone.back)[None]
    skin = skin * (1.0 + 0.16 * mottle[:, None] * jnp.asarray([0.7, 1.0, 1.0], dtype)[None])
    return skin * jnp.exp(-tone.redness * pattern.red[:, None] * jnp.asarray([0.06, 0.34, 0.32], dtype)[None])


def with_details(skin: Float[Array, "points 3"], pattern: SkinPattern) -> Float[Array, "points 3"]:
    """Skin with creases and nails."""
    skin = skin * (1.0 - pattern.dark[:, None] * jnp.asarray(DARK_SHARES, skin.dtype)[None])
    nail_colour = 0.62 * skin + 0.38 * jnp.asarray(NAIL_BED, skin.dtype)[None]
    nail_colour = nail_colour + 0.5 * pattern.pale[:, None] * (jnp.asarray(NAIL_END, skin.dtype)[None] - nail_colour)
    skin = skin * (1.0 - RIM_SHADE * pattern.rim[:, None])
    return skin + pattern.nail[:, None] * (nail_colour - skin)


def _product(left: Float[Array, "rows n"], right: Float[Array, "n columns"]) -> Float[Array, "rows columns"]:
    return jnp.matmul(left, right, precision=PRECISION)


def _total(values: Float[Array, "rows points"]) -> Float[Array, "points"]:
    """The sum of the rows, as a product: what is added up is then computed in vectors first, not number by number."""
    return _product(jnp.ones((1, len(values)), values.dtype), values)[0]


def _rowwise(frames: Float[Array, "15 3 3"], joints: Float[Array, "15 3"]) -> Float[Array, "15 3"]:
    return jnp.sum(frames * joints[:, None], axis=-1)


def _nails(places: SkinMap, local: Float[Array, "15 3 points"]) -> tuple[Array, Array, Array]:
    """Share of nail, of its pale ends, and of the dark rim around it."""
    across, dorsal, along = jnp.unstack(local[_DISTAL], axis=1)
    length = places.lengths[_DISTAL][:, None]
    # Half sizes as shares of the distal bone; the thumb's nail is broader.
    half_width = length * jnp.asarray(np.array([0.25, 0.225, 0.225, 0.22, 0.22], np.float32))[:, None]
    u, v = across / half_width, (along - 0.70 * length) / (0.25 * length)
    # A rounded rectangle: |u|^3 + |v|^3 = 1.
    radius = jnp.cbrt(jnp.abs(u) ** 3 + jnp.abs(v) ** 3 + 1e-9)
    on_back = jnp.where(dorsal > 0.05 * length, 1.0, 0.0)
    nail = on_back * _smoothstep(1.06, 0.94, radius)
    rim = on_back * jnp.exp(-0.5 * jnp.square((radius - 1.02) / 0.07))
    half_moon = 0.5 * _smoothstep(0.40, 0.34, jnp.sqrt(u * u * 0.5 + jnp.square(v + 0.95)))
    edge = 0.9 * _smoothstep(0.72, 0.80, v + 0.08 * u * u)
    pale = nail * jnp.maximum(half_moon, edge)
    return _largest(nail), _largest(pale), _largest(rim)


def _palm_lines(places: SkinMap, columns: Float[Array, "3 points"]) -> Float[Array, "points"]:
    """Closeness to the three lines of the palm, seen from the palm (x and z only)."""
    plane = np.array([0, 2])
    begins, ends = places.palm_lines[:, :-1, plane].reshape(-1, 2), places.palm_lines[:, 1:, plane].reshape(-1, 2)
    bones = ends - begins
    x, z = columns[0][None] - begins[:, :1], columns[2][None] - begins[:, 1:]
    length = jnp.sum(bones * bones, axis=1, keepdims=True)
    share = jnp.clip((x * bones[:, :1] + z * bones[:, 1:]) / length, 0.0, 1.0)
    x, z = x - share * bones[:, :1], z - share * bones[:, 1:]
    distance = jnp.sqrt(functools.reduce(jnp.minimum, jnp.unstack(x * x + z * z)) + 1e-12)
    return jnp.exp(-distance / 0.0009)


def _largest(values: Float[Array, "rows points"]) -> Float[Array, "points"]:
    return functools.reduce(jnp.maximum, jnp.unstack(values))


def _is_hinge() -> np.ndarray:
    """1 for the joints over which the skin of the back lies in folds: PIP, DIP, and the thumb's IP."""
    return np.array([0.0, 1.0, 0.6] * 4 + [0.0, 0.0, 1.0], np.float32)


def _smoothstep(low: float, high: float, value: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    share = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
