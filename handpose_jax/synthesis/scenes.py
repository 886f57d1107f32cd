"""What is in one picture, and the picture in either quality."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from handpose_jax.synthesis.backgrounds import clouds, cut_out, sample_background
from handpose_jax.synthesis.lighting import Illumination, sample_light
from handpose_jax.synthesis.occluders import (
    Occluder,
    Placement,
    absent_at,
    place_second_hand,
    sample_object,
    solids,
)
from handpose_jax.synthesis.options import SynthesisOptions
from handpose_jax.synthesis.quick_rendering import draw_quick, mean_of_squares
from handpose_jax.synthesis.quick_surface import (
    QuickSurface,
    QuickTables,
    joined,
    joined_faces,
    quick_hand,
    quick_object,
)
from handpose_jax.synthesis.rendering import draw_surface
from handpose_jax.synthesis.sampling import HandSample, sample_bend, sample_pose, sample_view
from handpose_jax.synthesis.sensor import photograph, quick_photograph
from handpose_jax.synthesis.skin import SkinTone, sample_skin, skin_colour, skin_map
from handpose_jax.synthesis.surface import Surface, hand_surface, surface_topology
from handpose_jax.synthesis.visibility import visible_joints
from mano_jax.forward import HandMesh, forward, keypoints_from_mesh
from mano_jax.model import HandModel
from mano_jax.rotations import matrix_to_axis_angle
from render_jax import Pinhole

AnySurface = TypeVar("AnySurface", Surface, QuickSurface)
_SLEEVE_THICKNESS = 0.004
_SECOND_ROLL = 1.5
"""Deviation of a second hand's turn in the image plane, radians: it may come from anywhere."""
_SECOND_VIEW = (-0.8, 0.2)
"""Its `view_along`: a forearm that points at the camera would hide everything."""
_FOREARM = 0.25


class DrawnHand(NamedTuple):
    """A right hand as `forward` poses it, the bend of its forearm, and where it goes; None: it stays."""

    mesh: HandMesh
    bend: Float[Array, "2"]
    placement: Placement | None


class Scene(NamedTuple):
    """Everything before the background; the hand whose truth is told comes first."""

    hands: list[DrawnHand]
    solid: Occluder | None
    tone: SkinTone
    light: Illumination
    # Of the first hand. What is absent collapses to the wrist, so that it changes no extent.
    joints: Float[Array, "21 3"]


class ScenePicture(NamedTuple):
    """A photograph; `mask` as in `SyntheticHand`; which joints are seen."""

    image: Float[Array, "size size 3"]
    mask: Float[Array, "size size"]
    visible: Bool[Array, "21"]


def sample_scene(
    keys: tuple[PRNGKeyArray, PRNGKeyArray, PRNGKeyArray, PRNGKeyArray],
    model: HandModel,
    sample: HandSample,
    mesh: HandMesh,
    joints: Float[Array, "21 3"],
    options: SynthesisOptions,
) -> Scene:
    """A person, a light, and what may hide the hand.

    Args:
      keys: of skin, light, object and second hand.
      model: right hand.
      sample: the first hand.
      mesh: its mesh.
      joints: its keypoints.
      options: things with a share of 0 are not even made.
    """
    skin_key, light_key, object_key, second_key = keys
    hands = [DrawnHand(mesh, sample.wrist_bend, None)]
    if options.second_hand_share > 0:
        hands.append(_second_hand(second_key, model, sample, joints, options))
    solid = sample_object(object_key, joints, options) if options.object_share > 0 else None
    return Scene(hands, solid, sample_skin(skin_key, options), sample_light(light_key), joints)


def _second_hand(
    key: PRNGKeyArray, model: HandModel, sample: HandSample, joints: Float[Array, "21 3"], options: SynthesisOptions
) -> DrawnHand:
    pose_key, view_key, place_key, bend_key = jax.random.split(key, 4)
    views = dataclasses.replace(options, view_within=None, view_along=_SECOND_VIEW, roll_deviation=_SECOND_ROLL)
    rotation = matrix_to_axis_angle(sample_view(view_key, views).astype(model.dtype))
    pose = sample_pose(pose_key, model, options)
    mesh = forward(model, pose, sample.shape, rotation, jnp.zeros(3, model.dtype))
    elbow = mesh.joints[0] + (_FOREARM * options.forearm_length) * mesh.joint_rotations[0][:, 0]
    placement = place_second_hand(place_key, joints, keypoints_from_mesh(model, mesh), elbow, options)
    return DrawnHand(mesh, sample_bend(bend_key, options), placement)


def picture_background(
    key: PRNGKeyArray, backgrounds: Array | np.ndarray | None, options: SynthesisOptions
) -> Float[Array, "size size 3"]:
    """Procedural, or cut out of the given ones."""
    size = options.image_size
    if backgrounds is None:
        return sample_background(key, size, options.background_detail, options.background_exponent)
    choice_key, cut_key = jax.random.split(key)
    given = cut_out(cut_key, jnp.asarray(backgrounds), size)
    if options.given_background_share == 1.0:
        return given
    made = sample_background(key, size, options.background_detail, options.background_exponent)
    return jnp.where(jax.random.uniform(choice_key) < options.given_background_share, given, made)


def full_scene(
    key: PRNGKeyArray,
    model: HandModel,
    camera: Pinhole,
    scene: Scene,
    background: Float[Array, "size size 3"],
    options: SynthesisOptions,
) -> ScenePicture:
    """The picture in full quality."""
    tables = surface_topology(model.topology)
    surfaces = _hands_in_place(functools.partial(hand_surface, model), scene, options)
    surface = Surface(*(jnp.concatenate(parts) for parts in zip(*surfaces, strict=True)))
    vertices = len(surface.vertices) // len(surfaces)
    picture = draw_surface(
        surface,
        joined_faces([tables.faces] * len(surfaces), [vertices] * len(surfaces)),
        tables.hand_faces,
        camera,
        background,
        scene.light,
        functools.partial(skin_colour, scene.tone, skin_map(model)),
        options.supersample,
        options.texture_per_pixel,
        scene.solid,
    )
    image = picture.image
    if options.detail[1] > 0:
        image = image * _detail(key, options)[..., None]
    visible = visible_joints(
        scene.joints,
        _samples(camera, scene.joints, options),
        picture.vertices,
        picture.faces,
        picture.face_index,
        len(tables.faces),
    )
    return ScenePicture(photograph(key, image, options), picture.mask, visible)


def quick_scene(
    key: PRNGKeyArray,
    model: HandModel,
    camera: Pinhole,
    scene: Scene,
    background: Float[Array, "size size 3"],
    options: SynthesisOptions,
    tables: QuickTables,
) -> ScenePicture:
    """The picture in quick quality."""
    known, hand_faces = surface_topology(model.topology), len(model.faces)
    surfaces = _hands_in_place(functools.partial(quick_hand, tables, model.topology, scene.tone), scene, options)
    faces = [known.coarse] * len(surfaces)
    indices = [np.minimum(np.arange(len(known.coarse)), hand_faces)] * len(surfaces)
    if scene.solid is not None:
        surfaces.append(quick_object(scene.solid))
        faces.append(solids().faces)
        indices.append(np.full(len(solids().faces), hand_faces))
    surface, all_faces = joined(surfaces), joined_faces(faces, [len(part.vertices) for part in surfaces])
    drawn = draw_quick(
        surface,
        all_faces,
        np.concatenate(indices).astype(np.int32),
        tables.details,
        camera,
        options.image_size,
        scene.light,
        options.supersample,
        # A mirrored hand shows its backs.
        cull="back" if len(scene.hands) == 1 else None,
    )
    planes = [
        plane + (1.0 - drawn.covered) * behind
        for plane, behind in zip(drawn.planes, jnp.unstack(background, axis=-1), strict=True)
    ]
    if options.detail[1] > 0:
        detail = _detail(key, options)
        planes = [plane * detail for plane in planes]
    own = (drawn.face_index >= 0) & (drawn.face_index < hand_faces)
    mask = mean_of_squares(own.astype(drawn.covered.dtype), options.supersample)
    visible = visible_joints(
        scene.joints,
        _samples(camera, scene.joints, options),
        surface.vertices,
        all_faces,
        drawn.face_index,
        len(known.coarse),
    )
    return ScenePicture(quick_photograph(key, planes, options), mask, visible)


def _samples(camera: Pinhole, joints: Float[Array, "21 3"], options: SynthesisOptions) -> Float[Array, "21 2"]:
    return camera.resized(options.supersample).project(joints)


def _hands_in_place(
    make_surface: Callable[..., AnySurface], scene: Scene, options: SynthesisOptions
) -> list[AnySurface]:
    """Surfaces of all hands; `make_surface` gets vertices, wrist, its rotation, bend, sleeve and forearm length."""
    sleeve = _SLEEVE_THICKNESS * scene.tone.sleeved
    surfaces = []
    for hand in scene.hands:
        wrist = hand.mesh.joints[0], hand.mesh.joint_rotations[0]
        surface = make_surface(hand.mesh.vertices, *wrist, hand.bend, sleeve, options.forearm_length)
        surfaces.append(surface if hand.placement is None else _placed(surface, hand.placement, scene.joints[0]))
    return surfaces


def _placed(surface: AnySurface, placement: Placement, anchor: Float[Array, "3"]) -> AnySurface:
    """A second hand's surface where it belongs, or all in one point if there is none."""
    vertices = absent_at(placement.points(surface.vertices), ~placement.present, anchor)
    return surface._replace(vertices=vertices, normals=placement.directions(surface.normals))


def _detail(key: PRNGKeyArray, options: SynthesisOptions) -> Float[Array, "size size"]:
    """Factors around 1 with an image's spectrum."""
    level_key, cloud_key = jax.random.split(jax.random.fold_in(key, 1))
    amplitude = options.detail[0] + (options.detail[1] - options.detail[0]) * jax.random.uniform(level_key)
    return 1.0 + amplitude * clouds(cloud_key, options.image_size, 1.0)[..., 0]
