"""Chains of normal equations against dense matrices in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handpose_jax.refinement.chains import (
    ChainEquations,
    ChainParameters,
    chain_covariance,
    chain_levenberg_marquardt,
)

FRAMES, OWN, SHARED = 6, 3, 2


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def dense_problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A positive definite matrix that ties frames up to two apart, and all to shared unknowns; and a gradient."""
    random = np.random.default_rng(seed)
    size = FRAMES * OWN + SHARED
    matrix = np.eye(size)
    for frame in range(FRAMES):
        rows = np.zeros((4, size))
        rows[:, frame * OWN : min(frame + 3, FRAMES) * OWN] = 1.0
        rows[:, -SHARED:] = 1.0
        rows *= random.normal(size=rows.shape)
        matrix += rows.T @ rows
    return matrix, random.normal(size=size)


def in_blocks(matrix: np.ndarray, gradient: np.ndarray, cost: float = 0.0) -> ChainEquations:
    def block(row: int, column: int) -> np.ndarray:
        if column < 0:
            return np.zeros((OWN, OWN))
        return matrix[row * OWN : (row + 1) * OWN, column * OWN : (column + 1) * OWN]

    frames = range(FRAMES)
    return ChainEquations(
        cost=jnp.asarray(cost),
        gradient=ChainParameters(jnp.asarray(gradient[:-SHARED]).reshape(FRAMES, OWN), jnp.asarray(gradient[-SHARED:])),
        diagonal=jnp.asarray([block(t, t) for t in frames]),
        first=jnp.asarray([block(t, t - 1) for t in frames]),
        second=jnp.asarray([block(t, t - 2) for t in frames]),
        coupling=jnp.asarray(matrix[:-SHARED, -SHARED:]).reshape(FRAMES, OWN, SHARED),
        shared=jnp.asarray(matrix[-SHARED:, -SHARED:]),
    )


def flat(parameters: ChainParameters) -> jax.Array:
    return jnp.concatenate([parameters.frames.ravel(), parameters.shared])


def quadratic(matrix: np.ndarray, offset: np.ndarray):
    """x'Ax/2 + b'x + a constant that keeps it positive, as a chain."""
    constant = float(offset @ np.linalg.solve(matrix, offset))

    def equations_at(parameters: ChainParameters) -> ChainEquations:
        x = flat(parameters)
        gradient = jnp.asarray(matrix) @ x + offset
        blocks = in_blocks(matrix, np.zeros(len(matrix)))
        own, shared = gradient[:-SHARED].reshape(FRAMES, OWN), gradient[-SHARED:]
        cost = 0.5 * x @ (gradient + offset) + constant
        return blocks._replace(cost=cost, gradient=ChainParameters(own, shared))

    return equations_at


def zeros() -> ChainParameters:
    return ChainParameters(jnp.zeros((FRAMES, OWN)), jnp.zeros(SHARED))


def test_the_minimum_of_a_quadratic_cost():
    matrix, offset = dense_problem(0)
    solution = chain_levenberg_marquardt(
        quadratic(matrix, offset), zeros(), max_iterations=30, relative_tolerance=1e-14
    )
    np.testing.assert_allclose(flat(solution.parameters), -np.linalg.solve(matrix, offset), rtol=0.0, atol=1e-6)
    assert bool(solution.converged)
    assert float(solution.equations.cost) < float(solution.start_cost)


def test_covariance_is_the_blocks_of_the_inverse():
    matrix, offset = dense_problem(1)
    covariance = chain_covariance(in_blocks(matrix, offset))
    inverse = np.linalg.inv(matrix)
    for frame in range(FRAMES):
        rows = slice(frame * OWN, (frame + 1) * OWN)
        np.testing.assert_allclose(covariance.frames[frame], inverse[rows, rows], rtol=0.0, atol=1e-10)
        np.testing.assert_allclose(covariance.between[frame], inverse[rows, -SHARED:], rtol=0.0, atol=1e-10)
    np.testing.assert_allclose(covariance.shared, inverse[-SHARED:, -SHARED:], rtol=0.0, atol=1e-10)


def test_never_worse_than_the_start():
    """A cost that the model does not know, and a step that leads out of its domain."""
    matrix, offset = dense_problem(2)
    model = quadratic(matrix, offset)

    def equations_at(parameters: ChainParameters) -> ChainEquations:
        equations = model(parameters)
        worse = jnp.where(jnp.max(jnp.abs(flat(parameters))) > 0.05, jnp.nan, equations.cost)
        return equations._replace(cost=worse)

    solution = chain_levenberg_marquardt(equations_at, zeros(), max_iterations=40)
    assert float(solution.equations.cost) < float(solution.start_cost)
    assert float(jnp.max(jnp.abs(flat(solution.parameters)))) <= 0.05
