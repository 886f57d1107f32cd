"""From photographs to hands in the camera: crop, network, refinement, and back to the full image in metres.

Frames, all [ours] where the paper is silent: the crop is the square of edge 1.5 times the box's larger side around its
middle, black outside the image; a left hand's crop is mirrored, predicted as a right hand, and mirrored back. What the
network says of a crop is put before the image's camera as the rigid hand whose own `norm` (Eq. 8) is nearest to it;
one number stays open, its size or its distance: given, from a known hand length, or that of the model's own size.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

import mano_jax
from handpose_jax.data.cameras import projected_points
from handpose_jax.dhpe.configuration import DhpeOptions
from handpose_jax.dhpe.networks import Estimate, HandMeshEstimator
from handpose_jax.dhpe.normalisation import (
    ESTIMATE,
    GIVEN,
    HAND_LENGTH,
    denormalise,
    focal_length,
    hand_length,
    ndc_to_pixels,
    root_depth_from_scale,
)
from handpose_jax.dhpe.parameters import HandVector, decode
from handpose_jax.dhpe.refinement import refine, shown_steps
from handpose_jax.dhpe.weights import Weights
from handpose_jax.projection import ROOT, project_mask, project_mesh
from mano_jax import HandModel
from mano_jax.least_squares import from_residuals, levenberg_marquardt
from mano_jax.mirror import mirror_points, mirror_rotations
from mano_jax.rotations import PRECISION, axis_angle_to_matrix, matrix_to_axis_angle, quaternion_to_matrix
from render_jax import Crop, Pinhole

BOX_MARGIN = 1.5
"""[paper] Edge of the crop, in larger sides of the tight box."""
_PADDED_TO = 128


class CropPredictions(NamedTuple):
    """What the network and the refinement say of crops, on the host; NDC of the crop, of right hands.

    Attributes:
      h: refined, flat.
      joints_2d: j2D: the 2D refiner's last output.
      heat_maps: largest over the 21 maps, of the last stage.
      confidence: largest of each map within [0, 1]: near 1 where a keypoint is found as sharply as training taught.
      masks: of the refined hand.
      steps: iterations of which the next three are kept (`refinement.shown_steps`).
      history: h at those.
      losses, iou: at those; iou is NaN without true masks.
    """

    h: Float[np.ndarray, "hands 63"]
    joints_2d: Float[np.ndarray, "hands 21 2"]
    heat_maps: Float[np.ndarray, "hands rows columns"]
    confidence: Float[np.ndarray, "hands 21"]
    masks: Float[np.ndarray, "hands size size"]
    steps: tuple[int, ...]
    history: Float[np.ndarray, "hands shown 63"]
    losses: Float[np.ndarray, "hands shown"]
    iou: Float[np.ndarray, "hands shown"]


class PlacedHands(NamedTuple):
    """Hands before their images' cameras: metres, radians, camera frame, parameters of the model of their side.

    Attributes:
      vertices: scale * forward(model, pose, shape, rotation, 0).vertices + translation.
      joints: keypoints of that mesh.
      joints_direct: the inverse of Eq. 8 alone, of the joints that the network was trained on: no rigid hand.
      pose, shape, rotation, translation: MANO's.
      scale: 1 where the depth is an estimate from the model's own size.
      root_depth: of the middle MCP.
      residual_px: root mean square distance of the projected joints from j2D, pixels of the full image.
      joints_2d_px: j2D in the full image.
      joint_covariance_m2: of the joints, m²; NaN of hands that were not fitted (`perspective_fit`).
    """

    vertices: Float[np.ndarray, "hands vertices 3"]
    joints: Float[np.ndarray, "hands 21 3"]
    joints_direct: Float[np.ndarray, "hands 21 3"]
    pose: Float[np.ndarray, "hands 45"]
    shape: Float[np.ndarray, "hands 10"]
    rotation: Float[np.ndarray, "hands 3"]
    translation: Float[np.ndarray, "hands 3"]
    scale: Float[np.ndarray, "hands"]
    root_depth: Float[np.ndarray, "hands"]
    residual_px: Float[np.ndarray, "hands"]
    joints_2d_px: Float[np.ndarray, "hands 21 2"]
    joint_covariance_m2: Float[np.ndarray, "hands 21 3 3"]


def crop_around_box(box: Sequence[float], side: str, size: int, image_size: tuple[int, int]) -> Crop:
    """The crop of a tight box (left, top, width, height; pixels), mirrored for a left hand.

    Raises:
      ValueError: the box is empty or nowhere in the image (height, width).
    """
    left, top, width, height = (float(number) for number in box)
    rows, columns = image_size
    stated = f"box {left:g},{top:g},{width:g},{height:g} (left, top, width, height; pixels)"
    if not (np.isfinite([left, top, width, height]).all() and width > 0 and height > 0):
        raise ValueError(f"{stated} must be four finite numbers with width and height above 0")
    if left >= columns or top >= rows or left + width <= 0 or top + height <= 0:
        raise ValueError(f"{stated} lies outside the image of {columns}x{rows} pixels")
    centre = np.array([left + 0.5 * width, top + 0.5 * height], np.float32)
    return Crop(centre, np.float32(max(BOX_MARGIN * max(width, height), 1.0)), np.bool_(side == "left"), size)


def whole_image_crop(side: str, size: int, image_size: tuple[int, int]) -> Crop:
    """The crop of an image without a box, taken as showing one hand: the square of its longer side."""
    rows, columns = image_size
    centre = np.array([0.5 * columns, 0.5 * rows], np.float32)
    return Crop(centre, np.float32(max(rows, columns)), np.bool_(side == "left"), size)


def cropped_image(image: UInt8[np.ndarray, "height width 3"], crop: Crop) -> Float[np.ndarray, "size size 3"]:
    """`Crop.image_to_crop` of the part of a photograph that matters, padded so that sizes need few programs."""
    rows, columns = image.shape[:2]
    centre, side = np.asarray(crop.centre, np.float64), float(crop.side)
    reach = 0.5 * side + max(1.0, side / crop.size) + 1.0
    low = np.clip(np.floor(centre - reach), 0, (columns, rows)).astype(int)
    high = np.clip(np.ceil(centre + reach), 0, (columns, rows)).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    padded_size = [max(_PADDED_TO, -(-edge // _PADDED_TO) * _PADDED_TO) for edge in part.shape[:2]]
    padded = np.zeros((*padded_size, 3), np.uint8)  # Black, as all that lies outside the image.
    padded[: part.shape[0], : part.shape[1]] = part
    return np.asarray(_crop(padded, (centre - low).astype(np.float32), np.float32(side), crop.mirrored, crop.size))


@functools.partial(jax.jit, static_argnames="size")
def _crop(image, centre, side, mirrored, size):
    return Crop(centre, side, mirrored, size).image_to_crop(image.astype(jnp.float32) / 255.0)


def predict_crops(
    weights: Weights,
    model: HandModel,
    images: Callable[[int], Float[np.ndarray, "size size 3"]],
    count: int,
    batch_size: int = 16,
    true_masks: Callable[[int], Float[np.ndarray, "size size"]] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CropPredictions:
    """Network and refinement over crops of right hands (left ones mirrored), batch by batch.

    Args:
      weights: networks and options; `options.refinement.steps` of 0 leaves h as the network says.
      model: right hand.
      images: row -> crop; called once a row, in order.
      count: rows, at least 1.
      batch_size: crops at once; the last batch is filled up, so that one program serves all.
      true_masks: row -> mask, only to state the IoU.
      on_progress: told (done, total).
    """
    size = batch_size
    options, steps, parts = weights.options, shown_steps(weights.options.refinement.steps), []
    for begin in range(0, count, size):
        rows = [min(row, count - 1) for row in range(begin, begin + size)]
        used = min(size, count - begin)
        crops = [images(row) for row in rows[:used]]
        batch = np.stack(crops + crops[-1:] * (size - used))
        truth = None if true_masks is None else np.stack([true_masks(row) for row in rows])
        estimate, heat_maps, confidence = _estimate(weights.variables, batch, model, options)
        refined = refine(weights.variables, model, batch, estimate, options, truth)
        masks = _masks(model, refined.h, options)
        history = refined.history.flatten()[:, np.array(steps)]
        found = refined.h.flatten(), refined.joints_2d, heat_maps, confidence, masks
        shown = history, refined.losses[:, np.array(steps)], refined.iou[:, np.array(steps)]
        parts.append(tuple(np.asarray(array)[:used] for array in (*found, *shown)))
        on_progress(begin + used, count)
    joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    h, joints_2d, heat_maps, confidence, masks, history, losses, iou = joined
    return CropPredictions(h, joints_2d, heat_maps, confidence, masks, steps, history, losses, iou)


@functools.partial(jax.jit, static_argnames="options")
def _estimate(
    variables: dict[str, Any], images: Array, model: HandModel, options: DhpeOptions
) -> tuple[Estimate, Float[Array, "batch rows columns"], Float[Array, "batch 21"]]:
    estimate = HandMeshEstimator(options.networks, options.parametrisation).apply(variables, images, model)
    assert isinstance(estimate, Estimate)
    return estimate, estimate.heat_maps(options.losses).max(axis=-1), estimate.confidence(options.losses)


@functools.partial(jax.jit, static_argnames="options")
def _masks(model: HandModel, h: HandVector, options: DhpeOptions) -> Float[Array, "batch size size"]:
    mesh = project_mesh(model, decode(model, h, options.parametrisation))
    return project_mask(model, mesh.vertices, options.losses.mask)


@functools.partial(jax.jit, static_argnames="options")
def ndc_vertices(model: HandModel, h: Float[Array, "*batch 63"], options: DhpeOptions) -> Float[Array, "*batch 778 3"]:
    """The mesh of h in the crop's [-1, 1] square, for pictures."""
    return project_mesh(model, decode(model, HandVector.unflatten(h), options.parametrisation)).vertices


def place_hands(
    model: HandModel,
    predictions: CropPredictions,
    crops: Sequence[Crop],
    cameras: Float[np.ndarray, "hands 3 3"],
    options: DhpeOptions,
    depth_source: str = ESTIMATE,
    depth_values: Float[np.ndarray, "hands"] | None = None,
) -> PlacedHands:
    """Hands of crops -> metres before the full image's camera, left hands as left hands again.

    Args:
      model: right hand.
      predictions: of the crops.
      crops: of each hand; all of one size.
      cameras: K of the full images.
      options: of the system.
      depth_source: "given" (values: depth of the middle MCP, metres), "hand length" (values: wrist to middle fingertip
        along the bones, metres) or "estimate" (the model's own size at the predicted shape).
      depth_values: of each hand, unless it is an estimate; NaN falls back to the estimate.

    Raises:
      ValueError: no such source, or it needs values that are missing or not above 0.
    """
    if depth_source not in (GIVEN, HAND_LENGTH, ESTIMATE):
        raise ValueError(f"depth_source must be '{GIVEN}', '{HAND_LENGTH}' or '{ESTIMATE}', got {depth_source!r}")
    count = len(crops)
    values = np.full(count, np.nan) if depth_source == ESTIMATE or depth_values is None else np.asarray(depth_values)
    if (depth_source != ESTIMATE and depth_values is None) or (values <= 0).any():
        raise ValueError(f"depth from '{depth_source}' needs a value above 0 metres for each hand")
    stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *crops)
    K = np.asarray(cameras, np.float32)
    pinholes = Pinhole(K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2])
    # One program for all sources: a value that is not a number is an estimate.
    known = np.asarray(values, np.float32), np.bool_(depth_source == HAND_LENGTH)
    placed = _place(model, predictions.h, predictions.joints_2d, stacked, pinholes, *known, options)
    placed = jax.tree.map(np.asarray, placed)
    left = np.asarray(stacked.mirrored)
    # Parameters of the mirrored model give the mirrored mesh, exactly.
    for name in ("pose", "rotation"):
        placed[name] = where_rows(left, np.asarray(mirror_rotations(placed[name])), placed[name])
    for name in ("vertices", "joints", "joints_direct", "translation"):
        placed[name] = where_rows(left, np.asarray(mirror_points(placed[name])), placed[name])
    joints = placed["joints"]
    residual = residuals_px(joints, placed["joints_2d_px"], cameras)
    unknown = np.full((count, 21, 3, 3), np.nan, np.float32)
    return PlacedHands(root_depth=joints[:, ROOT, 2], residual_px=residual, joint_covariance_m2=unknown, **placed)


def residuals_px(
    joints: Float[np.ndarray, "hands 21 3"], pixels: Float[np.ndarray, "hands 21 2"], cameras: np.ndarray
) -> Float[np.ndarray, "hands"]:
    """Root mean square distance of projected joints from 2D ones."""
    off = projected_points(joints, cameras) - pixels
    return np.sqrt(np.mean(np.sum(off**2, axis=-1), axis=-1)).astype(np.float32)


@functools.partial(jax.jit, static_argnames="options")
def _place(model, h, joints_2d, crops, cameras, values, are_lengths, options) -> dict[str, Array]:
    """Parameters of right hands in the crops' own images (mirrored ones among them)."""
    hand = decode(model, HandVector.unflatten(h), options.parametrisation)
    mesh = project_mesh(model, hand)
    zeros = jnp.zeros(3, model.dtype)
    own = mano_jax.forward(model, hand.pose, hand.shape, zeros, zeros)
    joints, root = mano_jax.keypoints_from_mesh(model, own), mano_jax.regress_keypoints(model, own.vertices)[:, ROOT]
    length = hand_length(model, hand.shape)

    def place(mesh, turn, joints_2d, ndc_scale, vertices, joints, own_root, crop, camera, length, value):
        edge = jnp.asarray(float(crop.size), joints_2d.dtype)
        pinhole = crop.camera_to_crop(camera)
        root = mesh.joints_2d[ROOT]
        target = 0.5 * (mesh.vertices + jnp.asarray([1.0, 1.0, 0.0])[None])
        centred, centred_joints, wrist = vertices - own_root[None], joints - own_root[None], joints[0]
        start = root_depth_from_scale(ndc_scale, pinhole, edge)
        rotation, at = rigid_placement(centred, target, turn, root, start, pinhole, edge)
        # A hand that is grown about the camera's centre looks the same: size and distance go together.
        known = value / jnp.where(are_lengths, length, at[2])
        scale = jnp.where(jnp.isfinite(value), known, 1.0)
        moved = jnp.matmul(rotation, centred_joints[0], precision=PRECISION) - wrist

        def put(points: Array) -> Array:
            return scale * (jnp.matmul(points, rotation.T, precision=PRECISION) + at[None])

        return {
            "vertices": put(centred),
            "joints": put(centred_joints),
            "rotation": matrix_to_axis_angle(rotation),
            "translation": scale * (at + moved),
            "scale": scale,
            "joints_direct": denormalise(mesh.joints_3d, (root + 1.0) * (0.5 * edge), scale * at[2], pinhole, edge),
            "joints_2d_px": ndc_to_pixels(joints_2d, crop),
        }

    turns, own_hand = quaternion_to_matrix(hand.quaternion), (own.vertices, joints, root)
    placed = jax.vmap(place)(mesh, turns, joints_2d, hand.scale, *own_hand, crops, cameras, length, values)
    return placed | {"pose": hand.pose, "shape": hand.shape}


def rigid_placement(
    points: Float[Array, "points 3"],
    target: Float[Array, "points 3"],
    turn: Float[Array, "3 3"],
    root: Float[Array, "2"],
    depth: Float[Array, ""],
    camera: Pinhole,
    edge: Float[Array, ""],
) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
    """Rotation and place of a rigid hand whose own `norm` (Eq. 8) is nearest to what the network said [ours].

    Least squares over the points, from the hand turned into the line of sight. The network's hand
    is seen in parallel projection, in the middle of the image; a hand beside the middle, seen in perspective, is turned
    against it by the angle between the two lines of sight.

    Args:
      points: of the posed mesh in its own frame, metres, from the root.
      target: (u / w, v / w, (z - z_m) f / (w z_m)), crop edges.
      turn: rotation that the network gave.
      root: where it put the root, NDC.
      depth: to start from, metres.
      camera: of the crop's own image.
      edge: w, its edge.
    """
    sight = camera.unproject((root + 1.0) * (0.5 * edge), jnp.ones(()))
    sight = sight / jnp.linalg.norm(sight)  # Its z is 1 before the division: never zero.
    axis = jnp.stack([-sight[1], sight[0], jnp.zeros(())])
    sine = jnp.linalg.norm(axis)
    small = sine < 1e-6
    axis_angle = jnp.where(small, axis, axis * jnp.arctan2(sine, sight[2]) / jnp.where(small, 1.0, sine))
    rotation = jnp.matmul(axis_angle_to_matrix(axis_angle), turn, precision=PRECISION)
    at = camera.unproject((root + 1.0) * (0.5 * edge), depth)

    def placement(change: Float[Array, "6"]) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
        # A hand may not get behind the camera: its depth changes by a factor.
        place = jnp.concatenate([at[:2] + change[3:5] * at[2], at[2:] * jnp.exp(change[5:])])
        return jnp.matmul(axis_angle_to_matrix(change[:3]), rotation, precision=PRECISION), place

    def residuals(change: Float[Array, "6"]) -> Float[Array, "residuals"]:
        turned, place = placement(change)
        placed = jnp.matmul(points, turned.T, precision=PRECISION) + place[None]
        flat = camera.project(placed) / edge - target[:, :2]
        deep = (placed[:, 2] - place[2]) * (focal_length(camera) / (edge * place[2])) - target[:, 2]
        # The solver wants every parameter held by something; so weak a prior moves nothing.
        return jnp.concatenate([flat.ravel(), deep, 1e-3 * change])

    start = jnp.zeros(6, points.dtype)
    return placement(levenberg_marquardt(from_residuals(residuals), start, relative_tolerance=1e-6).parameters)


def where_rows(rows: Bool[np.ndarray, "hands"], one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rows of one array where `rows` says so, and else of the other."""
    return np.where(rows.reshape(-1, *(1,) * (one.ndim - 1)), one, other)
