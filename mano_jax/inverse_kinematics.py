"""Inverse kinematics: a hand's parameters from its 21 keypoints or its vertices in space.

A closed-form start (`kinematic_start`), then Levenberg-Marquardt with the model's pose statistics as a weak prior,
which decides what the points leave open: the twist of straight fingers, and shape against pose.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from mano_jax.keypoint_model import GLOBAL, HandParameters, KeypointModel
from mano_jax.keypoints import reorder_keypoints
from mano_jax.kinematic_start import keypoint_start
from mano_jax.least_squares import NormalEquations, levenberg_marquardt
from mano_jax.model import HandModel
from mano_jax.pose_prior import PosePrior
from mano_jax.rotations import PRECISION

CHUNK_SIZE = 32
"""Hands solved at once; larger batches are cut into chunks, each of which stops when its last hand has."""
RELATIVE_TOLERANCE = 1e-3
STAGES = ((1e-3, 12), (0.0, 16))
"""Least sigma, metres, and most iterations of each stage. Exact points leave a narrow curved valley of equally good
hands: one walks along it to the probable ones while it is wide, and then straight down."""
FEWEST_POINTS = 4


class HandSolution(NamedTuple):
    """Hands as `forward` takes them, metres and radians, and how well they meet the points.

    `residual` is the root mean square distance to the points given, metres.
    """

    pose: Float[Array, "*batch 45"]
    shape: Float[Array, "*batch shapes"]
    rotation: Float[Array, "*batch 3"]
    translation: Float[Array, "*batch 3"]
    residual: Float[Array, "*batch"]
    iterations: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def solve_keypoints(
    model: HandModel,
    points: Float[ArrayLike, "*batch 21 3"],
    *,
    order: str = "canonical",
    confidence: Float[ArrayLike, "*batch 21"] | None = None,
    shape: Float[ArrayLike, "*#batch shapes"] | None = None,
    start: HandSolution | None = None,
    tips: str = "745",
    sigma: Float[ArrayLike, ""] = 5e-5,
) -> HandSolution:
    """Parameters whose keypoints are these points: `keypoints(model, *solution[:4])` gives them back.

    Exact points come back to less than 0.1 mm. What they do not determine (the twist of straight fingers, shape against
    pose) is as the pose statistics and an average shape would have it. Not differentiable in reverse mode.

    Args:
      model: of the hand's side; a left hand solved by a right model leaves a hundred times the residual.
      points: metres, in any frame.
      order: name of their order, see `CANONICAL_FROM_ORDER`.
      confidence: 0 to 1 for each point, in the same order; 0 leaves it out. Points that are not finite are left out.
      shape: coefficients, if they are known; otherwise they are solved for.
      start: a solution to begin with, such as that of the frame before, where it is nearer than the start in closed
        form.
      tips: convention of the fingertips.
      sigma: standard deviation of the points, metres, beside which the priors are weighed. The default is for exact
        points; 2e-3 to 5e-3 suits detections.

    Returns:
      One solution for each hand. With fewer than four points it is NaN and not converged.

    Raises:
      ValueError: no order or convention of that name, or wrong shapes.
    """
    points, weights = _observed(model, points, confidence, order)
    batch = points.shape[:-2]
    if shape is not None:
        shape = spread(jnp.asarray(shape, model.dtype), batch)
    problem = _Problem(KeypointModel.of(model, tips), PosePrior.of(model), sigma)
    return over_batch(problem.solve, batch, (points, weights, shape, start), CHUNK_SIZE)


def solve_keypoint_sequence(
    model: HandModel,
    points: Float[ArrayLike, "frames 21 3"],
    *,
    order: str = "canonical",
    confidence: Float[ArrayLike, "frames 21"] | None = None,
    shape: Float[ArrayLike, "shapes"] | None = None,
    tips: str = "745",
    sigma: Float[ArrayLike, ""] = 5e-5,
) -> HandSolution:
    """`solve_keypoints` of one hand in consecutive frames, each frame starting from the last one that was solved."""
    points, weights = _observed(model, points, confidence, order)
    if points.ndim != 3:
        raise ValueError(f"a sequence must have shape [frames, 21, 3], got {list(points.shape)}")
    shape = None if shape is None else jnp.asarray(shape, model.dtype)
    problem = _Problem(KeypointModel.of(model, tips), PosePrior.of(model), sigma)

    def step(last: HandSolution, frame):
        solution = problem.solve(frame[0], frame[1], shape, last)
        solved = jnp.isfinite(solution.residual)
        return jax.tree.map(lambda new, old: jnp.where(solved, new, old), solution, last), solution

    # Not finite: no solution yet.
    nothing = jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else 0, leaf.dtype),
        jax.eval_shape(lambda: problem.solve(points[0], weights[0], shape, None)),
    )
    return jax.lax.scan(step, nothing, (points, weights))[1]


def _observed(
    model: HandModel,
    points: Float[ArrayLike, "*batch 21 3"],
    confidence: Float[ArrayLike, "*batch 21"] | None,
    order: str,
) -> tuple[Float[Array, "*batch 21 3"], Float[Array, "*batch 21"]]:
    """Points in canonical order, zero where there is none, and their weights."""
    points = reorder_keypoints(jnp.asarray(points, model.dtype), order)
    if points.shape[-1] != 3:
        raise ValueError(f"points must have shape [..., 21, 3], got {list(points.shape)}")
    usable = jnp.all(jnp.isfinite(points), axis=-1)
    weights = jnp.where(usable, 1.0, 0.0).astype(model.dtype)
    if confidence is not None:
        given = reorder_keypoints(jnp.asarray(confidence, model.dtype)[..., None], order)[..., 0]
        weights = weights * jnp.where(jnp.isfinite(given), jnp.clip(given, 0.0, 1.0), 0.0) ** 2
    return jnp.where((weights > 0.0)[..., None], points, 0.0), weights


class _Problem(NamedTuple):
    """What all hands of one call share."""

    hand: KeypointModel
    prior: PosePrior
    sigma: Float[ArrayLike, ""]

    def solve(
        self,
        points: Float[Array, "21 3"],
        weights: Float[Array, "21"],
        shape: Float[Array, "shapes"] | None,
        start: HandSolution | None,
    ) -> HandSolution:
        enough = jnp.sum(jnp.where(weights > 0.0, 1, 0)) >= FEWEST_POINTS
        total = jnp.sum(weights)
        total = jnp.where(total > 0.0, total, 1.0)
        # Measured from their mean: a hand far from the origin would lose digits.
        centre = jnp.sum(weights[:, None] * points, axis=0) / total
        points = jnp.where((weights > 0.0)[:, None], points - centre[None], 0.0)

        def normal_equations(flat: Float[Array, "parameters"], sigma: Float[Array, ""]) -> NormalEquations:
            return self._equations(HandParameters.unflatten(flat), points, weights, sigma, shape is not None)

        least_sigmas, most_iterations = zip(*STAGES, strict=True)
        sigmas = jnp.maximum(jnp.asarray(least_sigmas, points.dtype), jnp.asarray(self.sigma, points.dtype))
        first = keypoint_start(self.hand, points, weights, shape).flatten()
        if start is not None:
            starts = jnp.stack([first, self._parameters(start, centre, shape).flatten()])
            costs = jax.vmap(lambda flat: normal_equations(flat, sigmas[0]).cost)(starts)
            # Comparisons with NaN are false: a start that is no solution is not taken.
            first = jnp.where(costs[1] < costs[0], starts[1], starts[0])

        def stage(flat: Float[Array, "parameters"], sigma_and_most: tuple[Float[Array, ""], Int[Array, ""]]):
            solution = levenberg_marquardt(
                lambda flat: normal_equations(flat, sigma_and_most[0]),
                flat,
                max_iterations=sigma_and_most[1],  # pyright: ignore[reportArgumentType]  # Only compared with.
                relative_tolerance=RELATIVE_TOLERANCE,
            )
            return solution.parameters, (solution.iterations, solution.converged)

        flat, (iterations, converged) = jax.lax.scan(stage, first, (sigmas, jnp.asarray(most_iterations)))
        found = HandParameters.unflatten(flat)
        residual = jnp.sqrt(jnp.sum(weights[:, None] * (self.hand.points(found) - points) ** 2) / total)
        fields = (self.hand.pose(found.angles), found.shape, found.rotation, found.translation + centre, residual)
        fields = tuple(jnp.where(enough, field, jnp.nan) for field in fields)
        return HandSolution(*fields, iterations=jnp.sum(iterations), converged=converged[-1] & enough)

    def _parameters(
        self, start: HandSolution, centre: Float[Array, "3"], shape: Float[Array, "shapes"] | None
    ) -> HandParameters:
        angles = jnp.einsum("jab,jb->ja", self.hand.axes, start.pose.reshape(15, 3), precision=PRECISION).reshape(45)
        return HandParameters(
            start.rotation, start.translation - centre, start.shape if shape is None else shape, angles
        )

    def _equations(
        self,
        parameters: HandParameters,
        points: Float[Array, "21 3"],
        weights: Float[Array, "21"],
        sigma: Float[Array, ""],
        known_shape: bool,
    ) -> NormalEquations:
        """Distances to the points in units of sigma, Mahalanobis distance of the pose, squared norm of the shape."""
        dtype, shapes = points.dtype, parameters.shape.shape[0]
        reached, jacobian = self.hand.points_and_jacobian(parameters)
        scale = jnp.sqrt(weights) / sigma
        residuals = (scale[:, None] * (reached - points)).reshape(63)
        rows = (scale[:, None, None] * jacobian).reshape(63, -1)
        offset = parameters.angles - self.prior.mean
        pull = jnp.einsum("ab,b->a", self.prior.precision, offset, precision=PRECISION)
        gradient = jnp.einsum("rp,r->p", rows, residuals, precision=PRECISION)
        gradient = gradient + jnp.concatenate([jnp.zeros(GLOBAL, dtype), parameters.shape, pull])
        # Nothing holds rotation and translation but the points; a trace of curvature keeps the diagonal positive.
        diagonal = jnp.concatenate([jnp.full(GLOBAL, 1e-6, dtype), jnp.ones(shapes, dtype), jnp.zeros(45, dtype)])
        curvature = jnp.einsum("rp,rq->pq", rows, rows, precision=PRECISION) + jnp.diag(diagonal)
        curvature = curvature + jnp.pad(self.prior.precision, (GLOBAL + shapes, 0))
        if known_shape:
            free = np.ones(GLOBAL + shapes + 45)
            free[GLOBAL : GLOBAL + shapes] = 0.0
            free = jnp.asarray(free, dtype)
            gradient, curvature = gradient * free, curvature * free[:, None] * free[None] + jnp.diag(1.0 - free)
        cost = jnp.sum(residuals**2) + jnp.sum(parameters.shape**2) + jnp.sum(offset * pull)
        return NormalEquations(0.5 * cost, gradient, curvature)


def spread(array: Float[Array, "..."], batch: tuple[int, ...]) -> Float[Array, "..."]:
    array = array.reshape((1,) * (len(batch) + 1 - array.ndim) + array.shape)
    return jnp.broadcast_to(array, (*batch, array.shape[-1]))


def over_batch(
    solve: Callable[..., HandSolution], batch: tuple[int, ...], arguments: Any, chunk_size: int
) -> HandSolution:
    """`solve` for each hand of a batch, chunk_size at once."""
    if not batch:
        return solve(*arguments)
    size = math.prod(batch)
    flat = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[len(batch) :]), arguments)
    if size <= chunk_size:
        result = jax.vmap(solve)(*flat)
    else:
        count = -(-size // chunk_size)
        # Padded by the last hand, which converges as any other.
        rows = np.minimum(np.arange(count * chunk_size), size - 1).reshape(count, chunk_size)
        result = jax.lax.map(lambda chunk: jax.vmap(solve)(*chunk), jax.tree.map(lambda leaf: leaf[rows], flat))
        result = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], result)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), result)
