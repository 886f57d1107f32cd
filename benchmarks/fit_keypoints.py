"""Speed of the keypoint fit: `python -m benchmarks.fit_keypoints [--out=FILE] [--rounds=N]`.

Random hands of the open model's own statistics, 0.4 to 0.8 m away, 2 px of noise. `fit_hands` is timed whole: NumPy in,
parameters, joints, covariance and vertices out, compiled before. Rounds are interleaved over all cases and the fastest
of each is kept (the median beside it), so that what else runs on the machine disturbs all alike.

Beside it, on one hand in the same run: SciPy's `least_squares` (trf, float64) minimising the same cost from the same
two starts, its residuals and Jacobian compiled by JAX; and the bare matrix work of the fit's iterations in NumPy, J'J
of 42 rows and a Cholesky factorisation of 61x61 each: what no solver of this kind on one core goes below by much.
"""

import argparse
import pathlib
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import mano_jax
from benchmarks.hardware import hardware_line, write_json
from handpose_jax.refinement import FitOptions, KeypointBatch, batch, fit_hands, keypoint_fit, terms
from handpose_jax.refinement.starts import image_starts
from handpose_jax.refinement.views import image_points
from mano_jax import anatomy
from mano_jax.keypoint_model import HandParameters

CAMERA = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]], np.float32)


def random_keypoints(model: mano_jax.HandModel, count: int, seed: int = 0) -> np.ndarray:
    """[count, 21, 3]: u px, v px, confidence 1."""
    random = np.random.default_rng(seed)
    coefficients = random.normal(size=(count, 45)) * np.asarray(model.pose_standard_deviations)
    pose = anatomy.clip_to_limits(model, mano_jax.pose_from_coefficients(model, coefficients))
    axes = random.normal(size=(count, 3))
    rotation = axes / np.linalg.norm(axes, axis=1, keepdims=True) * random.uniform(0.0, np.pi, (count, 1))
    translation = random.uniform([-0.1, -0.1, 0.4], [0.1, 0.1, 0.8], (count, 3))
    shape = np.clip(random.normal(size=(count, 10)), -2.0, 2.0)
    images = np.asarray(mano_jax.keypoints(model, pose, shape, rotation, translation)) @ CAMERA.T
    pixels = images[..., :2] / images[..., 2:] + 2.0 * random.normal(size=(count, 21, 2))
    return np.concatenate([pixels, np.ones((count, 21, 1))], axis=-1).astype(np.float32)


def batch_of(points: np.ndarray) -> KeypointBatch:
    return KeypointBatch(points, None, np.tile(CAMERA, (len(points), 1, 1)), ("right",) * len(points))


def compile_seconds(model: mano_jax.HandModel, points: np.ndarray, options: FitOptions) -> dict[str, dict[str, float]]:
    """Trace and compile time of the program of each chunk size."""
    seconds = {}
    for size in batch.CHUNK_SIZES:
        cameras = np.tile(CAMERA, (size, 1, 1))
        begin = time.perf_counter()
        lowered = batch._image_program.lower(model, points[:size], cameras, options=options)
        traced = time.perf_counter()
        lowered.compile()
        seconds[str(size)] = {"trace": traced - begin, "compile": time.perf_counter() - traced}
    return seconds


def scipy_fit(model: mano_jax.HandModel, keypoints: np.ndarray, options: FitOptions) -> Callable[[], float]:
    """A function that fits one hand by SciPy from both starts and returns the lower cost."""
    with jax.enable_x64(True):
        model = model.astype(jnp.float64)
        observed, K = jnp.asarray(keypoints, jnp.float64), jnp.asarray(CAMERA, jnp.float64)
        problem = keypoint_fit.FitProblem.of(model, options)
        seen = image_points(observed, K, options)
        weights = seen.weights
        whitening = jnp.linalg.cholesky(problem.prior.precision).T
        starts = np.asarray(image_starts(problem.hand, problem.prior, seen, problem.start_shape).flatten())
        limits = jnp.asarray(anatomy.joint_limits().reshape(45, 2))

        def residuals(flat):
            parameters = HandParameters.unflatten(flat)
            pixels = terms.project(problem.hand.points(parameters), seen.focal, seen.principal)
            offsets = (pixels - seen.pixels) / seen.sigma
            ratio = jnp.sqrt(1.0 + jnp.sum(offsets**2, axis=-1) / options.robust_threshold**2)
            excess = parameters.angles - jnp.clip(parameters.angles, limits[:, 0], limits[:, 1])
            beyond = parameters.shape - jnp.clip(parameters.shape, -options.shape_limit, options.shape_limit)
            # Half the square of the first is the pseudo-Huber cost.
            return jnp.concatenate(
                [
                    (jnp.sqrt(2.0 * weights / (ratio + 1.0))[:, None] * offsets).ravel(),
                    np.sqrt(options.pose_weight) * whitening @ (parameters.angles - problem.prior.mean),
                    excess / options.limit_sigma,
                    np.sqrt(options.shape_weight) * parameters.shape,
                    beyond / options.limit_sigma,
                ]
            )

        compiled, jacobian = jax.jit(residuals), jax.jit(jax.jacfwd(residuals))
        jax.block_until_ready((compiled(starts[0]), jacobian(starts[0])))

    def fit() -> float:
        with jax.enable_x64(True):
            return min(
                scipy.optimize.least_squares(
                    lambda x: np.asarray(compiled(x)),
                    start,
                    jac=lambda x: np.asarray(jacobian(x)),  # type: ignore[arg-type]
                    ftol=options.relative_tolerance,
                    max_nfev=options.start_iterations + options.max_iterations,
                ).cost
                for start in starts
            )

    return fit


def matrix_work(iterations: int) -> Callable[[], None]:
    """J'J and a Cholesky factorisation of one hand, so many times, NumPy float32."""
    jacobian = np.random.default_rng(0).normal(size=(42, 61)).astype(np.float32)
    diagonal = np.eye(61, dtype=np.float32)

    def work() -> None:
        for _ in range(iterations):
            np.linalg.cholesky(jacobian.T @ jacobian + diagonal)

    return work


def interleaved(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each case: fastest and median of the rounds."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()  # compiles
    for _ in range(rounds):
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: {"fastest": min(values), "median": float(np.median(values))} for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--batches", default="1,8,32,128,256,1024")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print(hardware_line())

    model, options = mano_jax.open_hand("right"), FitOptions()
    sizes = [int(size) for size in arguments.batches.split(",")]
    points = random_keypoints(model, max(*sizes, *batch.CHUNK_SIZES))
    compiling = compile_seconds(model, points, options)
    for size, seconds in compiling.items():
        print(f"program of {size:>4} hands: trace {seconds['trace']:.1f} s, compile {seconds['compile']:.1f} s")

    batches = {size: batch_of(points[:size]) for size in sizes}
    fitted = batch._image_program(model, points[:1], CAMERA[None], options=options)
    iterations, cost = int(fitted.iterations[0]), float(fitted.cost[0])
    by_scipy = scipy_fit(model, points[0], options)
    cases: dict[str, Callable[[], object]] = {
        f"fit_hands, {size}": lambda size=size: fit_hands({"right": model}, batches[size], options) for size in sizes
    }
    cases["one hand, the program alone"] = lambda: jax.block_until_ready(
        batch._image_program(model, points[:1], CAMERA[None], options=options)
    )
    cases["one hand, SciPy least_squares, same cost"] = by_scipy
    cases[f"one hand, J'J and Cholesky alone, {iterations} times"] = matrix_work(iterations)
    times = interleaved(cases, arguments.rounds)
    print(f"\nmilliseconds after compilation, fastest (median) of {arguments.rounds} interleaved rounds")
    for name, values in times.items():
        size = int(name.split()[-1]) if name.startswith("fit_hands") else None
        rate = f"{1e3 * size / values['fastest']:9.0f} hands/s" if size else ""
        print(f"  {name:46} {values['fastest']:9.2f} ({values['median']:9.2f}) {rate}")
    costs = {"fit": cost, "SciPy": float(by_scipy())}
    print(f"cost of the one hand: fit {costs['fit']:.4f}, SciPy {costs['SciPy']:.4f}")
    if arguments.out:
        write_json(
            arguments.out,
            {
                "unit": "ms, fastest and median of interleaved rounds",
                "rounds": arguments.rounds,
                "times": times,
                "compile_s": compiling,
                "cost_of_one_hand": costs,
            },
        )


if __name__ == "__main__":
    main()
