"""Levenberg-Marquardt for chains: many small problems in a row, each tied to its neighbours and all to a few unknowns.

The normal equations of a sequence of frames whose temporal prior reaches two frames back, with parameters that all
frames share, form an arrow: block pentadiagonal, and a border. They are factorised frame by frame in one `lax.scan`, so
that a step costs a constant a frame. Knows no hands.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mano_jax.least_squares import LARGEST_DAMPING, next_damping
from mano_jax.rotations import PRECISION
from mano_jax.triangular import inverse_factor


class ChainParameters(NamedTuple):
    """Unknowns of each frame, and those that all frames share."""

    frames: Float[Array, "frames own"]
    shared: Float[Array, "shared"]


class ChainEquations(NamedTuple):
    """A cost and its Gauss-Newton model, in blocks.

    `first[t]` is the block of frames t and t - 1, `second[t]` that of t and t - 2, rows t; blocks that would reach
    before frame 0 must be zero. `coupling[t]` is that of frame t and the shared unknowns.
    """

    cost: Float[Array, ""]
    gradient: ChainParameters
    diagonal: Float[Array, "frames own own"]
    first: Float[Array, "frames own own"]
    second: Float[Array, "frames own own"]
    coupling: Float[Array, "frames own shared"]
    shared: Float[Array, "shared shared"]


class ChainSolution(NamedTuple):
    """Where the solver stopped; `equations` are undamped, at `parameters`. `start_cost` is that of where it began."""

    parameters: ChainParameters
    equations: ChainEquations
    start_cost: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


class ChainCovariance(NamedTuple):
    """Marginal covariances: of each frame, of the shared unknowns, and between the two."""

    frames: Float[Array, "frames own own"]
    shared: Float[Array, "shared shared"]
    between: Float[Array, "frames own shared"]


class _Factor(NamedTuple):
    """Blocks of the Cholesky factor L of the frames' part; the diagonal ones inverted."""

    inverse_diagonal: Float[Array, "frames own own"]
    first: Float[Array, "frames own own"]
    second: Float[Array, "frames own own"]


class _State(NamedTuple):
    parameters: ChainParameters
    equations: ChainEquations
    start_cost: Float[Array, ""]
    damping: Float[Array, ""]
    growth: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def chain_levenberg_marquardt(
    equations_at: Callable[[ChainParameters], ChainEquations],
    start: ChainParameters,
    *,
    max_iterations: int = 20,
    relative_tolerance: float = 1e-4,
    initial_damping: float = 1e-3,
) -> ChainSolution:
    """Minimise a chain's cost; as `mano_jax.least_squares.levenberg_marquardt`, one damping for all frames.

    A step is kept only if it lowers the cost: the result is never worse than `start`.
    """

    def iterate(state: _State) -> _State:
        # The first pass evaluates the start, by a step of zero: the equations are then compiled once, not twice.
        first = state.iterations < 0
        step, predicted = _step(state.equations, state.damping)
        candidate = jax.tree.map(lambda x, dx: x + jnp.where(first, 0.0, dx), state.parameters, step)
        trial = equations_at(candidate)
        cost = state.equations.cost
        decrease = cost - trial.cost
        accepted = jnp.isfinite(trial.cost) & (decrease > 0.0)
        gain = decrease / jnp.where(predicted > 0.0, predicted, 1.0)
        damping, growth = next_damping(state.damping, state.growth, accepted, gain)
        stop = (accepted & (decrease <= relative_tolerance * cost)) | (damping >= LARGEST_DAMPING)
        keep = lambda new, old: jnp.where(accepted | first, new, old)  # noqa: E731
        return _State(
            parameters=jax.tree.map(keep, candidate, state.parameters),
            equations=jax.tree.map(keep, trial, state.equations),
            start_cost=jnp.where(first, trial.cost, state.start_cost),
            damping=jnp.where(first, state.damping, damping),
            growth=jnp.where(first, 2.0, growth),
            iterations=state.iterations + 1,
            converged=jnp.where(first, ~jnp.isfinite(trial.cost), stop),
        )

    frames, own = start.frames.shape
    shared, dtype = start.shared.shape[0], start.frames.dtype
    eye, zeros = jnp.eye(own, dtype=dtype), jnp.zeros((frames, own, own), dtype)
    nothing = ChainEquations(
        cost=jnp.zeros((), dtype),
        gradient=jax.tree.map(jnp.zeros_like, start),
        diagonal=zeros + eye[None],
        first=zeros,
        second=zeros,
        coupling=jnp.zeros((frames, own, shared), dtype),
        shared=jnp.eye(shared, dtype=dtype),
    )
    state = _State(
        parameters=start,
        equations=nothing,
        start_cost=jnp.zeros((), dtype),
        damping=jnp.asarray(initial_damping, dtype),
        growth=jnp.asarray(2.0, dtype),
        iterations=jnp.asarray(-1, jnp.int32),
        converged=jnp.asarray(False),
    )
    state = jax.lax.while_loop(lambda s: (s.iterations < max_iterations) & ~s.converged, iterate, state)
    finite = jnp.isfinite(state.equations.cost)
    return ChainSolution(
        state.parameters, state.equations, state.start_cost, state.iterations, state.converged & finite
    )


def chain_covariance(equations: ChainEquations) -> ChainCovariance:
    """Blocks of the inverse of the whole matrix: those on the diagonal, and the border.

    The frames' own inverse, by its recursion from the last frame to the first (Takahashi 1973), is that of known shared
    unknowns; the Schur complement adds what is not known of those.
    """
    factor = _factorised(equations.diagonal, equations.first, equations.second)
    reached = _solved(factor, equations.coupling)
    shared = _inverse(_complement(equations.shared, equations.coupling, reached))
    between = -jnp.einsum("tas,su->tau", reached, shared, precision=PRECISION)
    own = _diagonal_of_inverse(factor)
    own = own - jnp.einsum("tas,tbs->tab", between, reached, precision=PRECISION)
    return ChainCovariance(own, shared, between)


def _step(equations: ChainEquations, damping: Float[Array, ""]) -> tuple[ChainParameters, Float[Array, ""]]:
    """The damped step, and the decrease of the cost that the model predicts for it."""
    own_scale = damping * jnp.diagonal(equations.diagonal, axis1=-2, axis2=-1)
    shared_scale = damping * jnp.diagonal(equations.shared)
    diagonal = equations.diagonal + own_scale[..., None] * jnp.eye(own_scale.shape[-1], dtype=own_scale.dtype)[None]
    factor = _factorised(diagonal, equations.first, equations.second)
    right = jnp.concatenate([equations.gradient.frames[..., None], equations.coupling], axis=-1)
    solved = _solved(factor, right)
    moved, reached = solved[..., 0], solved[..., 1:]
    complement = _complement(equations.shared + jnp.diag(shared_scale), equations.coupling, reached)
    rest = equations.gradient.shared - jnp.einsum("tas,ta->s", equations.coupling, moved, precision=PRECISION)
    shared = -jnp.einsum("su,u->s", _inverse(complement), rest, precision=PRECISION)
    frames = -moved - jnp.einsum("tas,s->ta", reached, shared, precision=PRECISION)
    # -g's - s'As/2 with (A + D) s = -g.
    predicted = jnp.sum(frames * (own_scale * frames - equations.gradient.frames))
    predicted = 0.5 * (predicted + jnp.sum(shared * (shared_scale * shared - equations.gradient.shared)))
    return ChainParameters(frames, shared), predicted


def _factorised(diagonal, first, second) -> _Factor:
    zero = jnp.zeros_like(diagonal[0])
    one = jnp.eye(diagonal.shape[-1], dtype=diagonal.dtype)

    def advance(carry, blocks):
        inverse_before, inverse_before_that, first_before = carry
        diagonal, first, second = blocks
        second = _times_transposed(second, inverse_before_that)
        first = _times_transposed(first - _times_transposed(second, first_before), inverse_before)
        rest = diagonal - _times_transposed(first, first) - _times_transposed(second, second)
        inverse = inverse_factor(rest)
        return (inverse, inverse_before, first), _Factor(inverse, first, second)

    return jax.lax.scan(advance, (one, one, zero), (diagonal, first, second))[1]


def _solved(factor: _Factor, right: Float[Array, "frames own columns"]) -> Float[Array, "frames own columns"]:
    zero = jnp.zeros_like(right[0])

    def forwards(carry, blocks):
        before, before_that = carry
        (inverse, first, second), right = blocks
        value = _product(inverse, right - _product(first, before) - _product(second, before_that))
        return (value, before), value

    def backwards(carry, blocks):
        # What frames t + 1 and t + 2 have to say to frame t.
        to_this, to_before = carry
        (inverse, first, second), value = blocks
        value = _product(inverse.T, value - to_this)
        return (to_before + _product(first.T, value), _product(second.T, value)), value

    half = jax.lax.scan(forwards, (zero, zero), (factor, right))[1]
    return jax.lax.scan(backwards, (zero, zero), (factor, half), reverse=True)[1]


def _diagonal_of_inverse(factor: _Factor) -> Float[Array, "frames own own"]:
    zero = jnp.zeros_like(factor.first[0])

    def backwards(carry, blocks):
        # Of the next two frames: their covariances and that between them; and their blocks of L in column t.
        next_own, next_between, after_own, first_next, second_next, second_after = carry
        inverse, first, second = blocks
        by_next, by_after = _product(first_next, inverse), _product(second_next, inverse)
        with_next = -_product(by_next.T, next_own) - _product(by_after.T, next_between.T)
        with_after = -_product(by_next.T, next_between) - _product(by_after.T, after_own)
        own = _product(inverse.T, inverse) - _product(with_next, by_next) - _product(with_after, by_after)
        own = 0.5 * (own + own.T)
        return (own, with_next, next_own, first, second_after, second), own

    return jax.lax.scan(backwards, (zero,) * 6, factor, reverse=True)[1]


def _complement(shared, coupling, reached):
    return shared - jnp.einsum("tas,tau->su", coupling, reached, precision=PRECISION)


def _inverse(matrix: Float[Array, "size size"]) -> Float[Array, "size size"]:
    factor = inverse_factor(matrix)
    return _product(factor.T, factor)


def _product(left, right):
    return jnp.matmul(left, right, precision=PRECISION)


def _times_transposed(left, right):
    return jnp.matmul(left, right.T, precision=PRECISION)
