"""Batches of hands, NumPy in and NumPy out: sides, bad rows, chunks. The edge between files and the fit."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from handpose_jax.data.cameras import projected_points
from handpose_jax.refinement.keypoint_fit import FittedHand, fit_image_keypoints, fit_space_keypoints
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.sides import choose_sides
from mano_jax.forward import forward
from mano_jax.mirror import mirror_model, mirror_points, mirror_rotations
from mano_jax.model import SIDES, HandModel

AUTO = "auto"
FEWEST_KEYPOINTS = 4
"""A hand with fewer keypoints seen is refused: the prior alone would decide what it looks like."""
CHUNK_SIZES = (1, 32, 256)
"""Hands fitted by one call of a compiled program; a batch is padded up to a multiple of the size that costs least."""


@dataclasses.dataclass(frozen=True)
class KeypointBatch:
    """Keypoints of N hands, canonical order. Exactly one of `keypoints` and `keypoints_3d` is given.

    Attributes:
      keypoints: u px, v px, confidence in [0, 1]; not finite, or confidence 0: not seen.
      keypoints_3d: x, y, z in metres, camera frame, confidence.
      K: camera matrices; needed with `keypoints`, used only to report pixel residuals with `keypoints_3d`.
      side: "left", "right" or "auto" for each hand; "auto" fits both and keeps the cheaper (see `sides`).
      estimate: with `keypoints`: 3D joints by something else, metres, camera frame (`fit_image_keypoints`).
    """

    keypoints: Float[np.ndarray, "hands 21 3"] | None
    keypoints_3d: Float[np.ndarray, "hands 21 4"] | None
    K: Float[np.ndarray, "hands 3 3"] | None
    side: tuple[str, ...]
    estimate: Float[np.ndarray, "hands 21 3"] | None = None

    def __post_init__(self):
        if (self.keypoints is None) == (self.keypoints_3d is None):
            raise ValueError("a KeypointBatch takes either keypoints or keypoints_3d, got both or neither")
        name, expected = ("keypoints", (21, 3)) if self.keypoints is not None else ("keypoints_3d", (21, 4))
        if self.observed.ndim != 3 or self.observed.shape[1:] != expected:
            raise ValueError(f"{name} must have shape [hands, {expected[0]}, {expected[1]}], got {self.observed.shape}")
        if self.keypoints is not None and self.K is None:
            raise ValueError("image keypoints need camera matrices: give K")
        if self.K is not None and self.K.shape != (len(self.observed), 3, 3):
            raise ValueError(f"K must have shape [{len(self.observed)}, 3, 3], got {self.K.shape}")
        if self.estimate is not None and (self.keypoints is None or self.estimate.shape != (len(self.observed), 21, 3)):
            raise ValueError(
                f"estimate goes with keypoints and must have shape [{len(self.observed)}, 21, 3], got "
                f"{self.estimate.shape}" + (" with keypoints_3d" if self.keypoints is None else "")
            )
        if len(self.side) != len(self.observed):
            raise ValueError(f"side must name one side for each of {len(self.observed)} hands, got {len(self.side)}")
        unknown = sorted(set(self.side) - {*SIDES, AUTO})
        if unknown:
            raise ValueError(f"side must be 'left', 'right' or 'auto', got {unknown[0]!r}")

    @property
    def observed(self) -> Float[np.ndarray, "hands 21 channels"]:
        return self.keypoints if self.keypoints is not None else self.keypoints_3d  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class HandFits:
    """Fitted hands, in the order of the batch: the fields of `fits.npz`. Camera frame, metres, radians.

    A hand that could not be fitted has NaN rows, `valid` False, and its reason in `problems`.
    """

    vertices: Float[np.ndarray, "hands vertices 3"]
    joints: Float[np.ndarray, "hands 21 3"]
    pose: Float[np.ndarray, "hands 45"]
    shape: Float[np.ndarray, "hands shapes"]
    rotation: Float[np.ndarray, "hands 3"]
    translation: Float[np.ndarray, "hands 3"]
    side: np.ndarray
    valid: Bool[np.ndarray, "hands"]
    residual_px: Float[np.ndarray, "hands"]
    joint_covariance_m2: Float[np.ndarray, "hands 21 3 3"]
    joint_std_m: Float[np.ndarray, "hands 21"]
    problems: dict[int, str]


def fit_hands(
    models: Mapping[str, HandModel],
    batch: KeypointBatch,
    options: FitOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> HandFits:
    """Fit every hand of a batch, each with the model of its side.

    Left hands are fitted as mirror images (keypoints, camera and model mirrored, so that one compiled program serves
    both sides) and come back in the left model's own parameters.

    Args:
      models: hand model of each side that occurs; both for "auto".
      batch: keypoints and cameras.
      options: see `FitOptions`; None for its defaults.
      on_progress: called with (fits done, fits in all) after each chunk.

    Raises:
      ValueError: a side occurs for which no model is given.
    """
    options = options or FitOptions()
    problems = _problems(batch)
    good = np.array([row not in problems for row in range(len(batch.side))], bool)
    wanted = {side: np.flatnonzero(good & np.isin(batch.side, [side, AUTO])) for side in SIDES}
    for side, rows in wanted.items():
        if len(rows) and side not in models:
            raise ValueError(f"row {rows[0]} asks for a {side} hand: give models['{side}']")

    total = sum(len(rows) for rows in wanted.values())
    fits, costs, done = {}, {}, 0
    for side, rows in wanted.items():
        costs[side] = np.full(len(good), np.inf)
        if len(rows):
            report = (lambda count, before=done: on_progress(before + count, total)) if on_progress else None
            fits[side] = _fit_side(models[side], batch, rows, options, report)
            costs[side][rows] = np.where(np.isfinite(fits[side].cost), fits[side].cost, np.inf)
            done += len(rows)

    chosen = np.where(np.isin(batch.side, SIDES), batch.side, choose_sides(costs["left"], costs["right"]))
    result = _empty(len(good), next(iter(models.values())), chosen)
    for side, fit in fits.items():
        rows = wanted[side]
        taken = (chosen[rows] == side) & np.isfinite(costs[side][rows])
        _store(result, models[side], rows[taken], jax.tree.map(lambda leaf, taken=taken: leaf[taken], fit))
    for row in np.flatnonzero(good & ~result["valid"]):
        problems[int(row)] = "the fit did not reach finite values"
    result["residual_px"][:] = _pixel_residuals(batch, result["joints"])
    return HandFits(**result, problems=dict(sorted(problems.items())))


def _problems(batch: KeypointBatch) -> dict[int, str]:
    """Rows that cannot be fitted, and why."""
    points, confidence = batch.observed[..., :-1], batch.observed[..., -1]
    seen = (np.isfinite(points).all(-1) & np.isfinite(confidence) & (confidence > 0)).sum(1)
    problems = {
        int(row): f"{seen[row]} keypoints are seen (finite, confidence > 0), at least {FEWEST_KEYPOINTS} are needed"
        for row in np.flatnonzero(seen < FEWEST_KEYPOINTS)
    }
    if batch.keypoints is not None and batch.K is not None:
        usable = np.isfinite(batch.K).all((1, 2)) & (batch.K[:, 0, 0] > 0) & (batch.K[:, 1, 1] > 0)
        for row in np.flatnonzero(~usable):
            problems.setdefault(int(row), "K is not a finite camera matrix with positive focal lengths")
    if batch.estimate is not None:
        for row in np.flatnonzero(~np.isfinite(batch.estimate).all((1, 2))):
            problems.setdefault(int(row), "its estimate is not finite")
    return problems


def _fit_side(
    model: HandModel,
    batch: KeypointBatch,
    rows: np.ndarray,
    options: FitOptions,
    on_progress: Callable[[int], None] | None,
) -> FittedHand:
    """Fits of some rows as hands of the model's side, in the frame of the batch."""
    left = model.side == "left"
    flip = -1.0 if left else 1.0
    observed = batch.observed[rows].astype(np.float32)
    observed[..., 0] *= flip
    inputs = [observed]
    if batch.keypoints is not None and batch.K is not None:
        cameras = batch.K[rows].astype(np.float32)
        cameras[:, 0, 2] *= flip
        inputs.append(cameras)
    if batch.estimate is not None:
        inputs.append(batch.estimate[rows].astype(np.float32) * np.array([flip, 1.0, 1.0], np.float32))

    program = _image_program if batch.keypoints is not None else _space_program
    canonical = mirror_model(model) if left else model
    parts, size = [], _chunk_size(len(rows))
    for begin in range(0, len(rows), size):
        chunk = [array[begin : begin + size] for array in inputs]
        # Padding repeats the first hand: it converges like any other and is dropped.
        padded = [np.concatenate([array, np.repeat(array[:1], size - len(array), 0)]) for array in chunk]
        fitted = jax.device_get(program(canonical, *padded, options=options))
        count = min(size, len(rows) - begin)
        parts.append(jax.tree.map(lambda leaf, count=count: leaf[:count], fitted))
        if on_progress:
            on_progress(min(begin + size, len(rows)))
    fit = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return _mirrored(fit) if left else fit


@functools.partial(jax.jit, static_argnames="options")
def _image_program(model: HandModel, keypoints, K, estimate=None, *, options: FitOptions) -> FittedHand:
    return jax.vmap(lambda points, camera, known: fit_image_keypoints(model, points, camera, options, known))(
        keypoints, K, estimate
    )


@functools.partial(jax.jit, static_argnames="options")
def _space_program(model: HandModel, keypoints, options: FitOptions) -> FittedHand:
    return jax.vmap(lambda points: fit_space_keypoints(model, points, options))(keypoints)


_vertices_program = jax.jit(lambda model, *parameters: forward(model, *parameters).vertices)


def _mirrored(fit: FittedHand) -> FittedHand:
    """A fit of the mirrored problem as a hand of the other side, in the original camera frame."""
    signs = np.outer([-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]).astype(np.float32)
    return fit._replace(
        pose=mirror_rotations(fit.pose),
        rotation=mirror_rotations(fit.rotation),
        # x -> -x of the camera frame and of the model's frame at once.
        translation=mirror_points(fit.translation),
        keypoints=mirror_points(fit.keypoints),
        keypoint_covariance=fit.keypoint_covariance * signs[None, None],
    )


def _empty(hands: int, model: HandModel, side: np.ndarray) -> dict[str, np.ndarray]:
    nan = lambda *shape: np.full((hands, *shape), np.nan, np.float32)  # noqa: E731
    return {
        "vertices": nan(len(model.template), 3),
        "joints": nan(21, 3),
        "pose": nan(45),
        "shape": nan(model.shape_size),
        "rotation": nan(3),
        "translation": nan(3),
        "side": np.asarray(side, "U5"),
        "valid": np.zeros(hands, bool),
        "residual_px": nan(),
        "joint_covariance_m2": nan(21, 3, 3),
        "joint_std_m": nan(21),
    }


def _store(result: dict[str, np.ndarray], model: HandModel, rows: np.ndarray, fit: FittedHand) -> None:
    if not len(rows):
        return
    for name in ("pose", "shape", "rotation", "translation"):
        result[name][rows] = getattr(fit, name)
    result["joints"][rows] = fit.keypoints
    result["joint_covariance_m2"][rows] = fit.keypoint_covariance
    result["joint_std_m"][rows] = np.sqrt(np.trace(fit.keypoint_covariance, axis1=-2, axis2=-1) / 3.0)
    result["valid"][rows] = True
    size = _chunk_size(len(rows))
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        padded = np.concatenate([part, np.repeat(part[:1], size - len(part))])
        parameters = [jnp.asarray(result[name][padded]) for name in ("pose", "shape", "rotation", "translation")]
        result["vertices"][part] = np.asarray(_vertices_program(model, *parameters))[: len(part)]


def _chunk_size(count: int) -> int:
    """The size that costs least: hands fitted, padding counted in, and for each call about half a hand more."""
    calls = {size: -(-count // size) for size in CHUNK_SIZES}
    return min(reversed(CHUNK_SIZES), key=lambda size: calls[size] * (size + 0.5))


def _pixel_residuals(batch: KeypointBatch, joints: Float[np.ndarray, "hands 21 3"]) -> Float[np.ndarray, "hands"]:
    """RMS distance, in pixels, between projected joints and keypoints, over keypoints with confidence > 0."""
    if batch.K is None:
        return np.full(len(joints), np.nan, np.float32)
    observed = batch.observed[..., :-1]
    if batch.keypoints_3d is not None:
        observed = projected_points(observed, batch.K)
    squares = np.sum((projected_points(joints, batch.K) - observed) ** 2, axis=-1)
    seen = np.isfinite(observed).all(-1) & (batch.observed[..., -1] > 0)
    count = seen.sum(1)
    mean = np.where(seen, squares, 0.0).sum(1) / np.maximum(count, 1)
    return np.where(count > 0, np.sqrt(mean), np.nan).astype(np.float32)
