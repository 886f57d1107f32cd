"""Hand parameters from 21 keypoints: one hand a call, a batch under `vmap`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from handpose_jax.refinement import terms
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.starts import space_starts
from handpose_jax.refinement.views import CameraViews, keypoint_weights, one_view, several_views, view_starts
from handpose_jax.refinement.views import box_side as box_side
from handpose_jax.refinement.views import image_points as image_points
from mano_jax import anatomy
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.least_squares import NormalEquations, levenberg_marquardt
from mano_jax.model import HandModel
from mano_jax.pose_prior import PosePrior
from mano_jax.rotations import PRECISION
from mano_jax.triangular import inverse_factor


class FittedHand(NamedTuple):
    """One fitted hand, as `mano_jax.forward` takes it. Camera frame, metres and radians.

    Joint angles and shape are within their limits; `cost` is the solver's, before it cuts off what is left beyond them.
    `keypoint_covariance` is that of the 21 keypoints in the Gauss-Newton approximation: noise and priors as stated in
    the options, propagated through the normal equations.
    """

    pose: Float[Array, "45"]
    shape: Float[Array, "shapes"]
    rotation: Float[Array, "3"]
    translation: Float[Array, "3"]
    keypoints: Float[Array, "21 3"]
    keypoint_covariance: Float[Array, "21 3 3"]
    cost: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def fit_image_keypoints(
    model: HandModel,
    keypoints: Float[Array, "21 3"],
    K: Float[Array, "3 3"],
    options: FitOptions,
    estimate: Float[Array, "21 3"] | None = None,
) -> FittedHand:
    """A hand of the model's side fitted to image keypoints.

    Args:
      model: the hand model.
      keypoints: (u px, v px, confidence); a keypoint of confidence 0, or not finite, is not seen.
      K: camera matrix without skew.
      options: see `FitOptions`; static under `jit`.
      estimate: 3D joints that something else, such as a network, has made of the image; metres, axes of the camera
        frame. Their differences pull weakly (`options.estimate_sigma`), and two more starts are laid over them.

    The absolute depth follows from the hand's size: without `options.hand_length_mm` it is known no better than the
    shape prior knows that.
    """
    seen = one_view(keypoints, K, options)
    problem = FitProblem.of(model, options)
    starts = view_starts(problem.hand, problem.prior, seen, problem.start_shape)
    known = None
    if estimate is not None:
        sigma = jnp.asarray(options.estimate_sigma, keypoints.dtype)
        known = terms.SpacePoints(points=estimate, weights=jnp.ones(21, keypoints.dtype), sigma=sigma)
        placed = space_starts(problem.hand, problem.prior, known, problem.start_shape)
        starts = jax.tree.map(lambda *parts: jnp.concatenate(parts), placed, starts)

    def data_term(points, jacobian):
        seen_term = terms.view_keypoints(points, jacobian, seen, options.robust_threshold)
        if known is None:
            return seen_term
        return terms.total(seen_term, terms.estimated_points(points, jacobian, known, options.robust_threshold))

    return problem.solve(starts, data_term)


def fit_view_keypoints(model: HandModel, views: CameraViews, options: FitOptions) -> FittedHand:
    """A hand of the model's side fitted to what several cameras saw of it, in the world's frame.

    The sum of `fit_image_keypoints`'s cost over the views, priors counted once; starts from every view, the best kept.
    Where two cameras see a keypoint from different sides its depth is measured, and no longer a matter of the priors.
    """
    seen = several_views(views, options)
    problem = FitProblem.of(model, options)
    starts = view_starts(problem.hand, problem.prior, seen, problem.start_shape)

    def data_term(points, jacobian):
        return terms.view_keypoints(points, jacobian, seen, options.robust_threshold)

    return problem.solve(starts, data_term)


def fit_space_keypoints(model: HandModel, keypoints: Float[Array, "21 4"], options: FitOptions) -> FittedHand:
    """A hand of the model's side fitted to 3D keypoints (metres, confidence), camera frame; otherwise as above."""
    weights = keypoint_weights(keypoints, options)
    seen = terms.SpacePoints(
        points=jnp.where((weights > 0.0)[:, None], keypoints[:, :3], 0.0),
        weights=weights,
        sigma=jnp.asarray(options.metre_sigma, keypoints.dtype),
    )
    problem = FitProblem.of(model, options)
    starts = space_starts(problem.hand, problem.prior, seen, problem.start_shape)

    def data_term(points, jacobian):
        return terms.space_keypoints(points, jacobian, seen, options.robust_threshold)

    return problem.solve(starts, data_term)


class FitProblem(NamedTuple):
    """What all fits of one model and one set of options share."""

    hand: KeypointModel
    prior: PosePrior
    flat_length: Float[Array, ""]
    length_by_shape: Float[Array, "shapes"]
    start_shape: Float[Array, "shapes"]
    options: FitOptions

    @classmethod
    def of(cls, model: HandModel, options: FitOptions) -> "FitProblem":
        hand = KeypointModel.of(model, options.tips)
        length, by_shape = _flat_length(hand, model.shape_size)
        start_shape = jnp.zeros(model.shape_size, model.dtype)
        if options.hand_length_mm is not None:
            # The smallest shape that has the known length.
            missing = options.hand_length_mm * 1e-3 - length
            start_shape = jnp.clip(missing * by_shape / jnp.sum(by_shape * by_shape), -2.0, 2.0)
        return cls(hand, PosePrior.of(model), length, by_shape, start_shape, options)

    def pose_terms(self, parameters: HandParameters) -> list[NormalEquations]:
        """What is known of a pose before anything is seen."""
        return [
            terms.pose_prior(parameters, self.prior, self.options.pose_weight),
            terms.angle_limits(parameters, self.options.limit_sigma),
            terms.free_damping(parameters),
        ]

    def shape_terms(self, parameters: HandParameters) -> list[NormalEquations]:
        """What is known of a shape."""
        options = self.options
        parts = [terms.shape_prior(parameters, options.shape_weight, options.shape_limit, options.limit_sigma)]
        if options.hand_length_mm is not None:
            target, sigma = options.hand_length_mm * 1e-3, options.hand_length_sigma_mm * 1e-3
            parts.append(terms.hand_length(parameters, self.flat_length, self.length_by_shape, target, sigma))
        return parts

    def solve(self, starts: HandParameters, data_term) -> FittedHand:
        options = self.options

        def normal_equations(flat: Float[Array, "parameters"]) -> NormalEquations:
            parameters = HandParameters.unflatten(flat)
            data = data_term(*self.hand.points_and_jacobian(parameters))
            return terms.total(data, *self.pose_terms(parameters), *self.shape_terms(parameters))

        first = jax.vmap(
            lambda start: levenberg_marquardt(
                normal_equations,
                start,
                max_iterations=options.start_iterations,
                relative_tolerance=options.relative_tolerance,
            )
        )(starts.flatten())
        best = first.parameters[jnp.argmin(first.cost)]
        solution = levenberg_marquardt(
            normal_equations,
            best,
            max_iterations=options.max_iterations,
            relative_tolerance=options.relative_tolerance,
        )
        return self._fitted(solution, jnp.sum(first.iterations))

    def _fitted(self, solution, earlier_iterations) -> FittedHand:
        parameters = self.within_limits(HandParameters.unflatten(solution.parameters))
        points, jacobian = self.hand.points_and_jacobian(parameters)
        # Rows of W with W' W = curvature^-1, applied to the Jacobian.
        whitened = jnp.einsum("pq,kaq->pka", inverse_factor(solution.curvature), jacobian, precision=PRECISION)
        return FittedHand(
            pose=self.hand.pose(parameters.angles),
            shape=parameters.shape,
            rotation=parameters.rotation,
            translation=parameters.translation,
            keypoints=points,
            keypoint_covariance=jnp.einsum("pka,pkb->kab", whitened, whitened, precision=PRECISION),
            cost=solution.cost,
            iterations=solution.iterations + earlier_iterations,
            converged=solution.converged,
        )

    def within_limits(self, parameters: HandParameters) -> HandParameters:
        """The walls of the cost are soft: what the data pushed into them, a hundredth of a radian, is cut off."""
        limits = anatomy.joint_limits().reshape(45, 2).astype(parameters.angles.dtype)
        return parameters._replace(
            shape=jnp.clip(parameters.shape, -self.options.shape_limit, self.options.shape_limit),
            angles=jnp.clip(parameters.angles, limits[:, 0], limits[:, 1]),
        )


def _flat_length(hand: KeypointModel, shapes: int) -> tuple[Float[Array, ""], Float[Array, "shapes"]]:
    """Wrist to middle MCP to middle fingertip of the flat hand, metres, and its derivative by the shape at zero."""

    def length(shape: Float[Array, "shapes"]) -> Float[Array, ""]:
        zeros = jnp.zeros(3, shape.dtype)
        points = hand.points(HandParameters(zeros, zeros, shape, jnp.zeros(45, shape.dtype)))
        return jnp.sqrt(jnp.sum((points[12] - points[0]) ** 2))

    return jax.value_and_grad(length)(jnp.zeros(shapes, hand.axes.dtype))
