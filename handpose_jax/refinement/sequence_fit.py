"""One hand through the frames of a video: a pose a frame, one shape, and a temporal prior; in one program."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from handpose_jax.refinement import terms
from handpose_jax.refinement.chains import (
    ChainEquations,
    ChainParameters,
    chain_covariance,
    chain_levenberg_marquardt,
)
from handpose_jax.refinement.keypoint_fit import FitProblem, FittedHand
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.views import CameraViews, several_views
from mano_jax.keypoint_model import GLOBAL, HandParameters
from mano_jax.model import HandModel
from mano_jax.rotations import PRECISION

VELOCITY, POSITION = "velocity", "position"


@dataclasses.dataclass(frozen=True)
class SequenceOptions:
    """How a sequence is fitted, beside `FitOptions`.

    Attributes:
      prior: "velocity": keypoints go on at the speed they have, their accelerations are small; "position": they stay
        where they are, their displacements are small.
      motion_sigma: standard deviation of those, for each keypoint and axis, a frame (squared, for accelerations), in
        the units of `motion_coordinates`: metres with several views, shares of the depth with one; None: estimated from
        the image points themselves (`sequences.estimated_motion`).
      motion_threshold: a frame that moves more than so many standard deviations counts linearly, not squared: hands
        start and stop.
      max_iterations: steps of the whole sequence.
      relative_tolerance: it stops when a step lowers its cost by less than this share.
    """

    prior: str = VELOCITY
    motion_sigma: float | None = None
    motion_threshold: float = 2.0
    max_iterations: int = 25
    relative_tolerance: float = 1e-4

    def __post_init__(self):
        if self.prior not in (VELOCITY, POSITION):
            raise ValueError(f"the temporal prior must be '{VELOCITY}' or '{POSITION}', got {self.prior!r}")


class FittedFrames(NamedTuple):
    """A fitted sequence.

    `hands` has a leading axis of frames, the shape and the cost the same in all.
    `cost` is that of the whole, `start_cost` that of where it began.
    """

    hands: FittedHand
    cost: Float[Array, ""]
    start_cost: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def fit_frames(
    model: HandModel,
    views: CameraViews,
    used: Bool[Array, "frames"],
    start: HandParameters,
    motion_sigma: Float[Array, ""],
    options: FitOptions,
    sequence: SequenceOptions,
) -> FittedFrames:
    """A hand of the model's side fitted to all frames of a sequence at once.

    The sum of the frames' costs (data, pose prior, limits), the shape's prior once, and the temporal prior on the 21
    keypoints in space: on those, and not on parameters, so that one number is the whole of it and no angle wraps
    around. A frame in which little or nothing is seen is bridged by its neighbours.

    Args:
      model: the hand model.
      views: what the cameras saw; every field has a leading axis of frames. Transforms lead into one world.
      used: False for frames that only fill up the length, at the end.
      start: parameters of every frame, [frames, ...]; one shape, the same in all of them.
      motion_sigma: see `SequenceOptions`.
      options: of the fit; static.
      sequence: static.
    """
    seen = jax.vmap(lambda view: several_views(view, options))(views)
    problem = FitProblem.of(model, options)
    shapes = start.shape.shape[-1]
    before, after = GLOBAL, GLOBAL + shapes
    count = used.astype(start.angles.dtype)

    def split(flat):
        own = jnp.concatenate([flat[..., :before], flat[..., after:]], axis=-1)
        return own, flat[..., before:after]

    def parameters_of(unknowns: ChainParameters) -> HandParameters:
        own = unknowns.frames
        shape = jnp.broadcast_to(unknowns.shared[None], (own.shape[0], shapes))
        return HandParameters(own[:, :3], own[:, 3:GLOBAL], shape, own[:, GLOBAL:])

    def equations_of_frame(parameters: HandParameters, points: terms.ViewPoints):
        joints, jacobian = problem.hand.points_and_jacobian(parameters)
        data = terms.view_keypoints(joints, jacobian, points, options.robust_threshold)
        equations = terms.total(data, *problem.pose_terms(parameters))
        return (equations, *motion_coordinates(joints, jacobian, points.world_to_camera))

    def equations_at(unknowns: ChainParameters) -> ChainEquations:
        parameters = parameters_of(unknowns)
        frames, place, slope = jax.vmap(equations_of_frame)(parameters, seen)
        known = terms.total(*problem.shape_terms(jax.tree.map(lambda leaf: leaf[0], parameters)))
        by_own, by_shape = split(slope.reshape(count.shape[0], 63, -1))
        motion = motion_equations(place.reshape(-1, 63), by_shape, by_own, count, motion_sigma, sequence)
        own, shared = split(frames.gradient * count[:, None])
        rows, _ = split(frames.curvature.swapaxes(-1, -2))
        curvature, coupling = split(rows.swapaxes(-1, -2))
        _, columns = split(frames.curvature * count[:, None, None])
        shared_curvature = jnp.sum(columns[:, before:after], axis=0) + known.curvature[before:after, before:after]
        return ChainEquations(
            cost=jnp.sum(frames.cost * count) + known.cost + motion.cost,
            gradient=ChainParameters(
                own + motion.gradient.frames,
                jnp.sum(shared, axis=0) + known.gradient[before:after] + motion.gradient.shared,
            ),
            diagonal=curvature + motion.diagonal,
            first=motion.first,
            second=motion.second,
            coupling=coupling * count[:, None, None] + motion.coupling,
            shared=shared_curvature + motion.shared,
        )

    flat_own, flat_shape = split(start.flatten())
    begin = ChainParameters(flat_own, flat_shape[0])
    solution = chain_levenberg_marquardt(
        equations_at,
        begin,
        max_iterations=sequence.max_iterations,
        relative_tolerance=sequence.relative_tolerance,
    )
    covariance = chain_covariance(solution.equations)
    parameters = jax.vmap(problem.within_limits)(parameters_of(solution.parameters))
    joints, jacobian = jax.vmap(problem.hand.points_and_jacobian)(parameters)
    own, shared = split(jacobian)
    by_shape = jnp.einsum("tkap,tps->tkas", own, covariance.between, precision=PRECISION)
    cross = jnp.einsum("tkas,tkbs->tkab", by_shape, shared, precision=PRECISION)
    spread = jnp.einsum("tkap,tpq,tkbq->tkab", own, covariance.frames, own, precision=PRECISION)
    spread = spread + jnp.einsum("tkas,su,tkbu->tkab", shared, covariance.shared, shared, precision=PRECISION)
    frames = count.shape[0]
    hands = FittedHand(
        pose=jax.vmap(problem.hand.pose)(parameters.angles),
        shape=parameters.shape,
        rotation=parameters.rotation,
        translation=parameters.translation,
        keypoints=joints,
        keypoint_covariance=spread + cross + cross.swapaxes(-1, -2),
        cost=jnp.broadcast_to(solution.equations.cost, (frames,)),
        iterations=jnp.broadcast_to(solution.iterations, (frames,)),
        converged=jnp.broadcast_to(solution.converged, (frames,)),
    )
    return FittedFrames(hands, solution.equations.cost, solution.start_cost, solution.iterations, solution.converged)


def motion_coordinates(
    points: Float[Array, "21 3"],
    jacobian: Float[Array, "21 3 parameters"],
    world_to_camera: Float[Array, "views 4 4"] | None,
) -> tuple[Float[Array, "21 3"], Float[Array, "21 3 parameters"]]:
    """What the temporal prior holds smooth, and its derivatives.

    Of several views, the points, metres. One camera does not know the scale, and small motions would be had most
    cheaply by a small hand near the camera: there it is (x / z, y / z, log z), which scaling moves but does not shrink.
    """
    if world_to_camera is None:
        turn, origin = jnp.eye(3, dtype=points.dtype), jnp.zeros(3, points.dtype)
    elif world_to_camera.shape[0] == 1:
        turn, origin = world_to_camera[0, :3, :3], world_to_camera[0, :3, 3]
    else:
        return points, jacobian
    points = jnp.einsum("ab,kb->ka", turn, points, precision=PRECISION) + origin[None]
    jacobian = jnp.einsum("ab,kbp->kap", turn, jacobian, precision=PRECISION)
    depth = jnp.maximum(points[:, 2:], terms.NEAREST_DEPTH)
    along = jacobian[:, 2:] * jnp.where(points[:, 2:] > terms.NEAREST_DEPTH, 1.0, 0.0)[..., None] / depth[..., None]
    ray = points[:, :2] / depth
    across = jacobian[:, :2] / depth[..., None] - ray[..., None] * along
    return jnp.concatenate([ray, jnp.log(depth)], axis=1), jnp.concatenate([across, along], axis=1)


def motion_equations(
    points: Float[Array, "frames 63"],
    by_shape: Float[Array, "frames 63 shared"],
    by_own: Float[Array, "frames 63 own"],
    count: Float[Array, "frames"],
    sigma: Float[Array, ""],
    sequence: SequenceOptions,
) -> ChainEquations:
    """Accelerations (or displacements) of the keypoints in units of sigma, robust per frame.

    With D the difference operator over frames and W its weights, the curvature's blocks are M[i, j] J_i' J_j with
    M = D' W D, a matrix of one number a pair of frames that reaches two of them back.
    """
    offsets, coefficients = ((-1, 0, 1), (1.0, -2.0, 1.0)) if sequence.prior == VELOCITY else ((0, 1), (-1.0, 1.0))

    def shifted(values, offset):
        """Row t holds row t + offset; zeros beyond the ends."""
        if offset == 0:
            return values
        zeros = jnp.zeros_like(values[: abs(offset)])
        return jnp.concatenate([values[offset:], zeros] if offset > 0 else [zeros, values[:offset]])

    def differences(values):
        return sum(c * shifted(values, o) for o, c in zip(offsets, coefficients, strict=True))

    def gathered(values):
        """D' values."""
        return sum(c * shifted(values, -o) for o, c in zip(offsets, coefficients, strict=True))

    complete = jnp.stack([shifted(count, offset) for offset in offsets]).min(axis=0)
    moved = differences(points)
    share = jnp.sum(moved * moved, axis=-1) / (63.0 * sigma * sigma)
    ratio = jnp.sqrt(1.0 + share / sequence.motion_threshold**2)
    weights = complete / (sigma * sigma * ratio)

    def band(back):
        """M[i, i - back]."""
        total = jnp.zeros_like(weights)
        for offset, c in zip(offsets, coefficients, strict=True):
            for other, d in zip(offsets, coefficients, strict=True):
                if offset - other == back:
                    total = total + c * d * shifted(weights, -offset)
        return total

    def block(back):
        other = shifted(by_own, -back)
        return band(back)[:, None, None] * jnp.einsum("tap,taq->tpq", by_own, other, precision=PRECISION)

    pull = gathered(weights[:, None] * moved)
    shape_moves = differences(by_shape)
    weighted_moves = weights[:, None, None] * shape_moves
    return ChainEquations(
        cost=jnp.sum(complete * 63.0 * share / (ratio + 1.0)),
        gradient=ChainParameters(
            jnp.einsum("tap,ta->tp", by_own, pull, precision=PRECISION),
            jnp.einsum("tas,ta->s", shape_moves, weights[:, None] * moved, precision=PRECISION),
        ),
        diagonal=block(0),
        first=block(1),
        second=block(2),
        coupling=jnp.einsum("tap,tas->tps", by_own, gathered(weighted_moves), precision=PRECISION),
        shared=jnp.einsum("tas,tau->su", weighted_moves, shape_moves, precision=PRECISION),
    )
