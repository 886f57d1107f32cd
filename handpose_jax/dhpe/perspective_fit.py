"""[ours] After the network: the hand model fitted, in perspective, to score maps and estimate together.

Eq. 13 moves the hand of a parallel projection by gradients. Here the solver of `launch.fit` minimises, from four
starts, distances from the score maps' joints in the image, weighted by their confidence, with the network's 3D joints
as a weak second witness and the model's own pose and shape statistics and joint limits as priors. It also says how sure
it is.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

import mano_jax
from handpose_jax.dhpe.normalisation import ESTIMATE, HAND_LENGTH, hand_length
from handpose_jax.dhpe.prediction import CropPredictions, PlacedHands, place_hands, residuals_px, where_rows
from handpose_jax.dhpe.weights import Weights
from handpose_jax.projection import ROOT
from handpose_jax.refinement import FitOptions, KeypointBatch, fit_hands
from mano_jax import HandModel
from render_jax import Crop

FIT_OPTIONS = FitOptions(pixel_sigma_share=0.03, base_weight=1.0, robust_threshold=1.0)
"""Chosen among fourteen settings on 256 held-out synthetic hands, which differed by 0.6 mm: a network's joints are less
exact than a detector's and more often far off, and it knows the wrist as well as the rest."""


def located_hands(
    weights: Weights,
    model: HandModel,
    predictions: CropPredictions,
    crops: Sequence[Crop],
    cameras: Float[np.ndarray, "hands 3 3"],
    depth_source: str = ESTIMATE,
    depth_values: Float[np.ndarray, "hands"] | None = None,
) -> PlacedHands:
    """`place_hands`, then `fit_in_perspective` if hands were refined and `RefinementOptions.fit` asks for it."""
    placed = place_hands(model, predictions, crops, cameras, weights.options, depth_source, depth_values)
    if not weights.options.refinement.fit or predictions.steps == (0,):
        return placed
    sides = ["left" if crop.mirrored else "right" for crop in crops]
    return fit_in_perspective(model, placed, predictions.confidence, cameras, sides, depth_source, depth_values)


def fit_in_perspective(
    model: HandModel,
    placed: PlacedHands,
    confidence: Float[np.ndarray, "hands 21"],
    cameras: Float[np.ndarray, "hands 3 3"],
    sides: Sequence[str],
    depth_source: str = ESTIMATE,
    depth_values: Float[np.ndarray, "hands"] | None = None,
    options: FitOptions = FIT_OPTIONS,
) -> PlacedHands:
    """Hands of `place_hands`, fitted; one whose fit fails stays as it is.

    Args:
      model: right hand.
      placed: where fits start, and 2D joints in the full image.
      confidence: of those.
      cameras: K of the full images.
      sides: "left" or "right" of each.
      depth_source, depth_values: as of `place_hands`; a known depth or length scales the fitted hand about the camera.
      options: of the fit.
    """
    models = {"right": model, "left": mano_jax.mirror_model(model)}
    keypoints = np.concatenate([placed.joints_2d_px, np.maximum(confidence, 1e-3)[..., None]], axis=-1)
    unscaled = placed.joints / placed.scale[:, None, None]
    fits = fit_hands(models, KeypointBatch(keypoints, None, np.asarray(cameras), tuple(sides), unscaled), options)
    scale = np.ones(len(placed.scale), np.float32)
    if depth_source != ESTIMATE and depth_values is not None:
        measure = np.asarray(hand_length(model, fits.shape)) if depth_source == HAND_LENGTH else fits.joints[:, ROOT, 2]
        known = np.asarray(depth_values, np.float32) / measure
        scale = np.where(np.isfinite(known), known, 1.0).astype(np.float32)
    grown = scale[:, None, None]
    joints = grown * fits.joints
    fitted = placed._replace(
        vertices=grown * fits.vertices,
        joints=joints,
        pose=fits.pose,
        shape=fits.shape,
        rotation=fits.rotation,
        translation=scale[:, None] * fits.translation,
        scale=scale,
        root_depth=joints[:, ROOT, 2],
        residual_px=residuals_px(joints, placed.joints_2d_px, cameras),
        joint_covariance_m2=grown[..., None] ** 2 * fits.joint_covariance_m2,
    )
    return PlacedHands(*(where_rows(fits.valid, after, before) for before, after in zip(placed, fitted, strict=True)))
