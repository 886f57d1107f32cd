"""Pictures of fits for people: a sheet of photographs, fitted meshes and truth, and a painted hand on a turntable."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

import render_jax
from handpose_jax.evaluation.drawing import draw_skeleton, to_image
from handpose_jax.synthesis.lighting import studio_light
from handpose_jax.synthesis.rendering import draw_surface
from handpose_jax.synthesis.skin import skin_colour, skin_map, skin_of_angle
from handpose_jax.synthesis.surface import hand_surface, surface_topology
from mano_jax.model import HandModel

if TYPE_CHECKING:
    from PIL.Image import Image

FIT_COLOUR, TRUTH_COLOUR = (0.10, 0.36, 0.78), (0.50, 0.50, 0.48)
"""Linear RGB."""
COLUMNS = ("mesh", "mesh from the side", "truth from the side")
"""Titles of the panels after the first."""
_PAPER, _INK, _FAINT = (250, 250, 248), (28, 30, 33), (110, 113, 118)
_PANEL_GROUND = (0.925, 0.930, 0.935)
_LID = 0.03
_FOREARM = 0.36


class ShownHand(NamedTuple):
    """A fit as the sheet shows it: pixels, metres and radians, camera frame; of the model of its side."""

    image: UInt8[np.ndarray, "size size 3"]
    keypoints: Float[np.ndarray, "21 3"]
    K: Float[np.ndarray, "3 3"]
    side: str
    vertices: Float[np.ndarray, "vertices 3"]
    joints: Float[np.ndarray, "21 3"]
    rotation: Float[np.ndarray, "3"]
    true_vertices: Float[np.ndarray, "vertices 3"]
    true_joints: Float[np.ndarray, "21 3"]
    true_rotation: Float[np.ndarray, "3"]
    label: str


def fit_sheet(
    model: HandModel, hands: Sequence[ShownHand], first_column: str, across: int = 2, panel: int = 224
) -> "Image":
    """Four panels a hand, `across` hands a row, under column titles.

    Args:
      model: of a right hand; left ones are drawn in a mirror.
      hands: what to show; images must have one size.
      first_column: title of the photographs with their keypoints.
      across: hands in a row.
      panel: edge of a panel, pixels.
    """
    from PIL import Image, ImageDraw, ImageFont

    margin, between, caption, gap = panel // 10, panel // 8, panel // 7, 2
    font, small = ImageFont.load_default(size=panel / 14), ImageFont.load_default(size=panel / 16)
    titles = (first_column, *COLUMNS)
    strip = len(titles) * panel + (len(titles) - 1) * gap
    rows = -(-len(hands) // across)
    width = 2 * margin + across * strip + (across - 1) * between
    top = margin + caption
    sheet = Image.new("RGB", (width, top + rows * (panel + caption + gap) + margin // 2), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column in range(min(across, len(hands))):
        for index, title in enumerate(titles):
            left = margin + column * (strip + between) + index * (panel + gap)
            draw.text((left, top - caption / 3), title, fill=_FAINT, font=small, anchor="ls")
    for index, hand in enumerate(hands):
        row, column = divmod(index, across)
        left, upper = margin + column * (strip + between), top + row * (panel + caption + gap)
        for place, picture in enumerate(fit_panels(model, hand, panel)):
            sheet.paste(picture, (left + place * (panel + gap), upper))
        draw.text((left, upper + panel + 0.42 * caption), hand.label, fill=_INK, font=font, anchor="lm")
    return sheet


def fit_panels(model: HandModel, hand: ShownHand, size: int) -> "list[Image]":
    """The photograph with its keypoints, the mesh over it, and mesh and truth from the viewer's right."""
    from PIL import Image

    factor = size / hand.image.shape[0]
    photograph = Image.fromarray(hand.image).resize((size, size), Image.Resampling.LANCZOS)
    seen = np.isfinite(hand.keypoints).all(axis=1) & (hand.keypoints[:, 2] > 0)
    skeleton = draw_skeleton(photograph, hand.keypoints[:, :2] * factor, seen.tolist())
    camera = hand.K.copy()
    camera[:2] *= factor
    # The mesh stands out from a photograph that steps back a little.
    ground = np.asarray(photograph, np.float32) / 255.0
    ground = 0.72 * ground + 0.28 * ground.mean(axis=2, keepdims=True)
    panels = [skeleton, drawn_mesh(model, hand.side, hand.vertices, hand.joints[0], hand.rotation, camera, ground)]
    plain = np.broadcast_to(np.asarray(_PANEL_GROUND, np.float32), ground.shape)
    # One camera for both: looking at the true hand's middle, as near as the photograph's.
    middle = 0.5 * (hand.true_vertices.min(axis=0) + hand.true_vertices.max(axis=0))
    offset = hand.joints[0] - hand.true_joints[0]
    both = np.concatenate([hand.true_vertices, hand.vertices - offset])
    side_camera = _side_camera(both, middle, camera, size)
    for vertices, wrist, rotation, colour in (
        (hand.vertices - offset, hand.true_joints[0], hand.rotation, FIT_COLOUR),
        (hand.true_vertices, hand.true_joints[0], hand.true_rotation, TRUTH_COLOUR),
    ):
        turned, turned_wrist = _quarter_turn(vertices, middle), _quarter_turn(wrist, middle)
        matrix = _QUARTER @ Rotation.from_rotvec(rotation).as_matrix()
        panels.append(drawn_mesh(model, hand.side, turned, turned_wrist, matrix, side_camera, plain, colour))
    return panels


def drawn_mesh(
    model: HandModel,
    side: str,
    vertices: Float[np.ndarray, "vertices 3"],
    wrist: Float[np.ndarray, "3"],
    rotation: Float[np.ndarray, "3"] | Float[np.ndarray, "3 3"],
    camera: Float[np.ndarray, "3 3"],
    ground: Float[np.ndarray, "size size 3"],
    colour: Sequence[float] = FIT_COLOUR,
) -> "Image":
    """A fitted hand of one colour over a picture, its wrist closed by a lid."""
    matrix = Rotation.from_rotvec(rotation).as_matrix() if np.ndim(rotation) == 1 else rotation
    picture = _clay(model, *_as_right(side, vertices, wrist, matrix, camera, ground), np.asarray(colour, np.float32))
    return to_image(_as_seen(side, picture))


def painted_turntable(
    model: HandModel,
    side: str,
    vertices: Float[np.ndarray, "vertices 3"],
    joints: Float[np.ndarray, "21 3"],
    rotation: Float[np.ndarray, "3"],
    views: int = 72,
    size: int = 360,
    skin_angle: float = 30.0,
) -> "list[Image]":
    """A fitted hand with skin and the beginning of a forearm, fingers up, from all sides."""
    flip = -1.0 if side == "left" else 1.0
    points = np.asarray(vertices, np.float32) * (flip, 1.0, 1.0)
    wrist = np.asarray(joints[0], np.float32) * (flip, 1.0, 1.0)
    matrix = Rotation.from_rotvec(np.asarray(rotation) * (1.0, flip, flip)).as_matrix()
    # Into the model's own frame, so that the wrist stands upright whatever the photograph showed.
    points = (points - wrist) @ matrix
    low, high = points.min(axis=0), points.max(axis=0)
    high[0] += 0.5 * _FOREARM * 0.24
    centre, distance = 0.5 * (low + high), 0.85
    rotations, translations = _circle(
        jnp.asarray(centre, jnp.float32),
        distance,
        views,
        jnp.asarray([-1.0, 0.0, 0.0]),
        jnp.asarray([0.0, -1.0, 0.45]),
    )
    reach = max(float(np.linalg.norm(points[:, 1:] - centre[1:], axis=1).max()), 0.5 * float(high[0] - low[0]))
    focal = 0.44 * size * distance / reach
    camera = np.array([[focal, 0.0, 0.5 * size], [0.0, focal, 0.5 * size], [0.0, 0.0, 1.0]], np.float32)
    ground = np.broadcast_to(np.asarray(_PANEL_GROUND, np.float32), (size, size, 3))
    frames = []
    for view, shift in zip(np.asarray(rotations), np.asarray(translations), strict=True):
        placed = (points @ view.T + shift).astype(np.float32)
        picture = _painted(model, placed, shift, view, camera, ground, np.float32(skin_angle))
        frames.append(to_image(_as_seen(side, picture)))
    return frames


_QUARTER = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""What the viewer's right sees: x there is z here."""


def _quarter_turn(points: Float[np.ndarray, "*points 3"], middle: Float[np.ndarray, "3"]) -> np.ndarray:
    return (np.asarray(points, np.float64) - middle) @ _QUARTER.T + (0.0, 0.0, middle[2])


def _side_camera(
    vertices: Float[np.ndarray, "vertices 3"], middle: Float[np.ndarray, "3"], camera: np.ndarray, size: int
) -> Float[np.ndarray, "3 3"]:
    """The photograph's focal length, less where a hand is too long for the panel from the side."""
    turned = _quarter_turn(vertices, middle)
    reach = np.abs(turned[:, :2] / turned[:, 2:]).max()
    focal = min(camera[0, 0], 0.44 * size / reach)
    return np.array([[focal, 0.0, 0.5 * size], [0.0, focal, 0.5 * size], [0.0, 0.0, 1.0]])


def _as_right(side: str, vertices, wrist, matrix, camera, ground) -> list[np.ndarray]:
    """A left hand's scene in a mirror: one program draws both sides."""
    points, point, turn, K, picture = (
        np.array(array, np.float32) for array in (vertices, wrist, matrix, camera, ground)
    )
    if side == "left":
        signs = np.array([-1.0, 1.0, 1.0], np.float32)
        points, point, turn, picture = points * signs, point * signs, np.outer(signs, signs) * turn, picture[:, ::-1]
        K[0, 2] = picture.shape[1] - K[0, 2]
    return [points, point, turn, K, picture]


def _as_seen(side: str, picture: jax.Array) -> np.ndarray:
    return np.asarray(picture)[:, ::-1] if side == "left" else np.asarray(picture)


def _pinhole(K: jax.Array) -> render_jax.Pinhole:
    return render_jax.Pinhole(K[0, 0], K[1, 1], K[0, 2], K[1, 2])


@functools.partial(jax.jit, static_argnames="views")
def _circle(centre, distance, views, up, start):
    return render_jax.turntable(centre, distance, views, up, start, elevation=0.10)


@jax.jit
def _clay(model, vertices, wrist, rotation, K, ground, colour):
    surface = hand_surface(model, vertices, wrist, rotation, jnp.zeros(2), forearm_length=_LID)
    tables = surface_topology(model.topology)
    one_colour = lambda rest, palmar: jnp.broadcast_to(colour, rest.shape)  # noqa: E731
    camera, light = _pinhole(K), studio_light()
    return draw_surface(surface, tables.faces, tables.hand_faces, camera, ground, light, one_colour, 3).image


@jax.jit
def _painted(model, vertices, wrist, rotation, K, ground, skin_angle):
    surface = hand_surface(model, vertices, wrist, rotation, jnp.zeros(2), forearm_length=_FOREARM)
    tables = surface_topology(model.topology)
    texture = functools.partial(skin_colour, skin_of_angle(skin_angle), skin_map(model))
    camera, light = _pinhole(K), studio_light()
    return draw_surface(surface, tables.faces, tables.hand_faces, camera, ground, light, texture, 2).image
