"""A hand fitted to keypoints and a mask of one image: one hand a call, batches under `vmap`."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import render_jax
from handpose_jax.refinement import terms
from handpose_jax.refinement.keypoint_fit import box_side, image_points
from handpose_jax.refinement.laplacian import laplacian_loss, laplacian_matrix
from handpose_jax.refinement.mask_term import MaskView, mask_term, outline_weight, posed
from handpose_jax.refinement.options import FitOptions
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.least_squares import NormalEquations, Solution, levenberg_marquardt
from mano_jax.model import HandModel
from mano_jax.pose_prior import PosePrior

Equations = Callable[[Float[Array, "parameters"]], NormalEquations]


@dataclasses.dataclass(frozen=True)
class ImageFitOptions:
    """What a fit to an image assumes. Static.

    Attributes:
      fit: noise of the keypoints, priors, limits.
      mask_sigma: softness of masks, px² of the mask.
      mask_deviation: how far a given mask's outline is off, as a share of the larger side of the keypoints' box.
      mask_run: length of outline over which that is alike, in the same unit.
      laplacian: weight of L_Lap of the mesh in its own frame, in centimetres; 0: none.
      relative_tolerance: a hand stops when a step lowers its cost by less than this share.
    """

    fit: FitOptions = dataclasses.field(default_factory=FitOptions)
    mask_sigma: float = 1.25
    mask_deviation: float = 0.015
    mask_run: float = 0.05
    laplacian: float = 0.0
    relative_tolerance: float = 1e-4


class ImageEvidence(NamedTuple):
    """What one image says of one hand."""

    keypoints: terms.ImagePoints
    mask: MaskView


def image_evidence(
    keypoints: Float[Array, "21 3"],
    K: Float[Array, "3 3"],
    mask: Float[Array, "rows columns"] | None,
    options: ImageFitOptions,
) -> ImageEvidence:
    """Evidence of an image whose mask is as large as the image itself.

    Args:
      keypoints: u px, v px, confidence; 0 or not finite: not seen.
      K: camera matrix without skew.
      mask: 0 or 1; None: there is none.
      options: static.
    """
    seen = image_points(keypoints, K, options.fit)
    side = box_side(seen.pixels, seen.weights)
    weight = outline_weight(options.mask_sigma, options.mask_deviation * side, options.mask_run * side)
    if mask is None:
        mask, weight = jnp.zeros((1, 1), keypoints.dtype), jnp.zeros_like(weight)
    return ImageEvidence(
        seen, MaskView(render_jax.soften_mask(mask, options.mask_sigma), seen.focal, seen.principal, weight)
    )


def fit_image(
    model: HandModel,
    start: HandParameters,
    seen: ImageEvidence,
    options: ImageFitOptions,
    max_iterations: int | Array = 30,
) -> Solution:
    """Levenberg-Marquardt from a start, such as a fit to the keypoints alone; never worse than it by the cost."""
    return levenberg_marquardt(
        image_equations(model, seen, options),
        start.flatten(),
        max_iterations=max_iterations,
        relative_tolerance=options.relative_tolerance,
    )


def image_equations(model: HandModel, seen: ImageEvidence, options: ImageFitOptions) -> Equations:
    """Cost, gradient and Gauss-Newton curvature at flat `HandParameters`, of all terms together.

    Args:
      model: right hand (left ones are mirrored on the way in).
      seen: keypoints and mask of the hand.
      options: static.
    """
    chosen = options.fit
    hand, prior = KeypointModel.of(model, chosen.tips), PosePrior.of(model)
    smoothness = laplacian_matrix(model.faces, model.template.shape[0]) if options.laplacian else None

    def equations(flat: Float[Array, "parameters"]) -> NormalEquations:
        parameters = HandParameters.unflatten(flat)
        points, jacobian = hand.points_and_jacobian(parameters)
        parts = [
            terms.image_keypoints(points, jacobian, seen.keypoints, chosen.robust_threshold),
            terms.pose_prior(parameters, prior, chosen.pose_weight),
            terms.angle_limits(parameters, chosen.limit_sigma),
            terms.shape_prior(parameters, chosen.shape_weight, chosen.shape_limit, chosen.limit_sigma),
            terms.free_damping(parameters),
            mask_term(hand, model, parameters, seen.mask, options.mask_sigma),
        ]
        if smoothness is not None:
            parts.append(_laplacian_term(hand, model, flat, smoothness, options.laplacian))
        return terms.total(*parts)

    return equations


def _laplacian_term(hand: KeypointModel, model: HandModel, flat: Array, matrix, weight: float) -> NormalEquations:
    """L_Lap of the mesh, centimetres; its curvature, of a mean of lengths, is left out."""

    def cost(flat: Float[Array, "parameters"]) -> Float[Array, ""]:
        parameters = HandParameters.unflatten(flat)
        still = parameters._replace(
            rotation=jnp.zeros_like(parameters.rotation), translation=jnp.zeros_like(parameters.translation)
        )
        return weight * laplacian_loss(100.0 * posed(hand, model, still).vertices, matrix)

    value, gradient = jax.value_and_grad(cost)(flat)
    return NormalEquations(value, gradient, jnp.zeros((flat.shape[0], flat.shape[0]), flat.dtype))
