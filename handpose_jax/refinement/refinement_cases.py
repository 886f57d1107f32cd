"""The cases of `launch.refine_benchmark`: what is timed, on which problems, and what became of the hands."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

import render_jax
from handpose_jax.refinement import solvers
from handpose_jax.refinement.image_batches import HANDS_AT_ONCE, fit_images, in_groups, keypoint_starts
from handpose_jax.refinement.image_fit import ImageFitOptions, image_equations, image_evidence
from handpose_jax.refinement.mask_term import posed
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.problems import Problem, ProblemOptions, random_problem
from mano_jax.keypoint_model import HandParameters, KeypointModel
from mano_jax.model import HandModel

STEP_SIZES = {"gradient_descent": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3), "adam": (0.003, 0.01, 0.03, 0.1, 0.3)}
"""Of first-order solvers, in natural sizes of the parameters; the best of each is told."""
_BOX_SHARE = 0.63
"""Larger side of the box around a hand's keypoints, in edges of the image: the middle of `SynthesisOptions.fill`."""
SOLVERS = ("gauss_newton", "gradient_descent", "adam", "lbfgs")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Of one compiled program.

    Attributes:
      compile_s: to trace and compile it.
      run_s: fastest of several runs.
      temporaries_mib: what the program needs beside arguments and results, as the compiler says; NaN where it does not.
      result: of the last run.
    """

    compile_s: float
    run_s: float
    temporaries_mib: float
    result: Any


def options_of(problem: ProblemOptions) -> ImageFitOptions:
    """A fit that is told how noisy the keypoints are; with L_Lap, as the paper has it, weighted as in training."""
    share = max(problem.noise / 224.0 / _BOX_SHARE, 0.005)
    return ImageFitOptions(fit=FitOptions(pixel_sigma_share=share), laplacian=0.1)


def timed(program: Any, arguments: tuple, static: dict[str, Any], repeats: int) -> Timing:
    """Compiles a jitted function for these arguments and runs it.

    Args:
      program: made by `jax.jit`.
      arguments: of it.
      static: its static keyword arguments.
      repeats: runs, after one that is not counted.
    """
    begin = time.perf_counter()
    compiled = program.lower(*arguments, **static).compile()
    compile_s = time.perf_counter() - begin
    result = jax.block_until_ready(compiled(*arguments))
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        result = jax.block_until_ready(compiled(*arguments))
        best = min(best, time.perf_counter() - begin)
    memory = compiled.memory_analysis()
    return Timing(compile_s, best, memory.temp_size_in_bytes / 2**20 if memory else float("nan"), result)


@functools.partial(jax.jit, static_argnames=("count", "options"))
def random_problems(seed: int | Array, model: HandModel, count: int, options: ProblemOptions) -> Problem:
    """Problems by seed; the first of many are those of a few."""
    base = jax.random.key(seed)
    return jax.lax.map(
        lambda row: random_problem(jax.random.fold_in(base, row), model, options), jnp.arange(count), batch_size=1
    )


def mask_timing(
    model: HandModel,
    problems: Problem,
    starts: Float[Array, "hands parameters"],
    options: ImageFitOptions,
    iterations: int,
    repeats: int,
    at_once: int = HANDS_AT_ONCE,
    devices: Mesh | None = None,
) -> Timing:
    """All `iterations` of Gauss-Newton on every hand (none stops early), keypoints and mask."""
    tireless = dataclasses.replace(options, relative_tolerance=-1.0)
    arguments = (model, problems.keypoints, problems.K, problems.mask, starts)
    static = {"options": tireless, "max_iterations": iterations, "at_once": at_once, "devices": devices}
    return timed(_mask_program, arguments, static, repeats)


_mask_program = jax.jit(
    lambda *arguments, **static: fit_images(*arguments, **static),
    static_argnames=("options", "max_iterations", "at_once", "devices"),
)


@functools.partial(jax.jit, static_argnames=("solver", "options", "steps", "at_once"))
def solver_paths(
    model: HandModel,
    problems: Problem,
    starts: Float[Array, "hands parameters"],
    step_size: float | Array,
    solver: str,
    options: ImageFitOptions,
    steps: int,
    at_once: int = HANDS_AT_ONCE,
) -> solvers.Path:
    """Where one of `SOLVERS` goes from each start on the cost of keypoints and mask.

    Args:
      step_size: of first-order solvers; others take no notice of it.
      others: see `mask_timing`.
    """

    def walk(hand: tuple[Array, Array, Array, Array]) -> solvers.Path:
        keypoints, K, mask, start = hand
        equations = image_equations(model, image_evidence(keypoints, K, mask, options), options)
        if solver == "gauss_newton":
            return solvers.gauss_newton(equations, start, steps)
        if solver == "lbfgs":
            return solvers.lbfgs(equations, start, steps)
        return getattr(solvers, solver)(equations, start, steps, step_size)

    return in_groups(walk, (problems.keypoints, problems.K, problems.mask, starts), at_once)


def convergence(
    model: HandModel,
    problems: Problem,
    starts: Float[Array, "hands parameters"],
    options: ImageFitOptions,
    steps: int,
    names: tuple[str, ...],
    repeats: int,
    on_solver: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[str, Any]]:
    """For each solver its mean cost before and after each step, and the milliseconds a hand that a step takes.

    Of first-order solvers with the step size whose cost is least in the end. Gauss-Newton's steps are timed by
    `mask_timing`, since its path is run anew for each length.
    """
    found: dict[str, dict[str, Any]] = {}
    hands = len(starts)
    for name in names:
        on_solver(name)
        best: dict[str, Any] | None = None
        for size in STEP_SIZES.get(name, (0.0,)):
            static = {"solver": name, "options": options, "steps": steps}
            if name == "gauss_newton":
                paths = solver_paths(model, problems, starts, size, **static)
                run_s = mask_timing(model, problems, starts, options, steps, repeats).run_s
            else:
                timing = timed(solver_paths, (model, problems, starts, size), static, repeats)
                paths, run_s = timing.result, timing.run_s * steps / (steps + 1)
            costs = np.asarray(paths.cost, np.float64)
            row = {
                "step_size": size,
                "mean_cost": costs.mean(axis=0).tolist(),
                "ms_a_step": 1e3 * run_s / steps / hands,
            }
            if np.isfinite(row["mean_cost"][-1]) and (best is None or row["mean_cost"][-1] < best["mean_cost"][-1]):
                best = row
        if best is not None:
            found[name] = best
    return found


def time_to_reach(found: dict[str, Any], cost: float) -> tuple[int | None, float | None]:
    """Steps, and milliseconds a hand, until the mean cost is at most this; None if it never is."""
    below = np.flatnonzero(np.asarray(found["mean_cost"]) <= cost)
    return (int(below[0]), float(below[0]) * found["ms_a_step"]) if len(below) else (None, None)


@functools.partial(jax.jit, static_argnames="size")
def errors(
    model: HandModel, parameters: Float[Array, "hands parameters"], problems: Problem, size: int
) -> dict[str, Float[Array, "hands"]]:
    """Of hands given by flat `HandParameters`: root-aligned errors (mm), and the mask's IoU with the true one."""
    hand = KeypointModel.of(model, "745")

    def compare(row: tuple[Array, Problem]) -> dict[str, Array]:
        flat, truth = row
        mesh = posed(hand, model, HandParameters.unflatten(flat))
        joints = hand.points(HandParameters.unflatten(flat))
        off = (mesh.vertices - joints[:1]) - (truth.vertices - truth.joints[:1])
        joints_off = (joints - joints[:1]) - (truth.joints - truth.joints[:1])
        camera = render_jax.Pinhole(truth.K[0, 0], truth.K[1, 1], truth.K[0, 2], truth.K[1, 2])
        drawn = render_jax.rasterize(camera.to_screen(mesh.vertices), np.asarray(model.faces), (size, size)).mask
        true = truth.true_mask > 0.5
        return {
            "root_vertex_mm": 1e3 * jnp.mean(jnp.linalg.norm(off, axis=-1)),
            "root_joint_mm": 1e3 * jnp.mean(jnp.linalg.norm(joints_off, axis=-1)),
            "iou": jnp.sum(drawn & true) / jnp.maximum(jnp.sum(drawn | true), 1),
        }

    return jax.lax.map(compare, (parameters, problems))


def before_and_after(
    model: HandModel, problems: Problem, options: ImageFitOptions, max_iterations: int = 30
) -> dict[str, dict[str, float]]:
    """Mean errors of the fit to the keypoints alone, and of that to keypoints and masks."""
    size = problems.mask.shape[-1]
    starts = keypoint_starts(model, problems.keypoints, problems.K, options)
    arguments = (model, problems.keypoints, problems.K, problems.mask, starts)
    fits = fit_images(*arguments, options=options, max_iterations=max_iterations)
    result = {}
    for name, parameters in (("keypoints", starts), ("keypoints and masks", fits.parameters)):
        found = errors(model, parameters, problems, size)
        result[name] = {field: float(np.mean(np.asarray(values))) for field, values in found.items()}
    given, true = np.asarray(problems.mask) > 0.5, np.asarray(problems.true_mask) > 0.5
    overlap = (given & true).sum(axis=(1, 2)) / np.maximum((given | true).sum(axis=(1, 2)), 1)
    result["masks"] = {"iou_given_true": float(overlap.mean())}
    return result
