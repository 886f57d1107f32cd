"""Batches of hands, NumPy in and NumPy out: sides, bad rows, chunks. The edge between files and the fit."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from handpose_jax.data.cameras import projected_points
from handpose_jax.refinement.keypoint_fit import (
    FittedHand,
    fit_image_keypoints,
    fit_space_keypoints,
    fit_view_keypoints,
)
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.sides import choose_sides
from handpose_jax.refinement.view_batches import camera_views, check_view_shapes, squared_distances_px, view_problems
from handpose_jax.refinement.views import CameraViews
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

    With a second axis, of views, `keypoints` are what several cameras saw of each hand; results are then in the frame
    from which `world_to_camera` leads, and otherwise in the camera's.

    Attributes:
      keypoints: u px, v px, confidence in [0, 1]; not finite, or confidence 0: not seen.
      keypoints_3d: x, y, z in metres, camera frame, confidence.
      K: camera matrices; needed with `keypoints`, used only to report pixel residuals with `keypoints_3d`.
      side: "left", "right" or "auto" for each hand; "auto" fits both and keeps the cheaper (see `sides`).
      estimate: with `keypoints` of one view: 3D joints by something else, metres, camera frame (`fit_image_keypoints`).
      world_to_camera: with several views: rigid transforms into each camera's frame, metres.
      view_valid: with several views: which of them there are; None for all. Arrays of the others are not looked at.
    """

    keypoints: Float[np.ndarray, "hands *views 21 3"] | None
    keypoints_3d: Float[np.ndarray, "hands 21 4"] | None
    K: Float[np.ndarray, "hands *views 3 3"] | None
    side: tuple[str, ...]
    estimate: Float[np.ndarray, "hands 21 3"] | None = None
    world_to_camera: Float[np.ndarray, "hands views 4 4"] | None = None
    view_valid: Bool[np.ndarray, "hands views"] | None = None

    def __post_init__(self):
        if (self.keypoints is None) == (self.keypoints_3d is None):
            raise ValueError("a KeypointBatch takes either keypoints or keypoints_3d, got both or neither")
        if self.has_views:
            check_view_shapes(self.observed, self.K, self.world_to_camera, self.view_valid)
        elif self.world_to_camera is not None or self.view_valid is not None:
            raise ValueError(
                "world_to_camera and view_valid go with keypoints [hands, views, 21, 3], got keypoints of shape "
                f"{list(self.observed.shape)}"
            )
        else:
            name, expected = ("keypoints", (21, 3)) if self.keypoints is not None else ("keypoints_3d", (21, 4))
            if self.observed.ndim != 3 or self.observed.shape[1:] != expected:
                raise ValueError(
                    f"{name} must have shape [hands, {expected[0]}, {expected[1]}], got {self.observed.shape}"
                )
            if self.K is not None and self.K.shape != (len(self.observed), 3, 3):
                raise ValueError(f"K must have shape [{len(self.observed)}, 3, 3], got {self.K.shape}")
        if self.keypoints is not None and self.K is None:
            raise ValueError("image keypoints need camera matrices: give K")
        if self.estimate is not None and self.has_views:
            raise ValueError("estimate goes with the keypoints of one view, in that camera's frame; got several views")
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

    @property
    def has_views(self) -> bool:
        """Whether the keypoints have an axis of views."""
        return self.keypoints is not None and self.keypoints.ndim == 4

    @property
    def seen(self) -> Bool[np.ndarray, "hands *views 21"]:
        """Which keypoints were seen, in views that there are."""
        finite = np.isfinite(self.observed).all(-1)
        seen = finite & (np.where(finite, self.observed[..., -1], 0.0) > 0)
        return seen if self.view_valid is None else seen & self.view_valid[..., None]

    def views(self, rows: np.ndarray, *, mirrored: bool) -> CameraViews:
        """What the cameras saw of some hands; mirrored for the fit of left hands."""
        if self.keypoints is None or self.K is None:
            raise ValueError("views are of image keypoints, got 3D ones")
        transforms = None if self.world_to_camera is None else self.world_to_camera[rows]
        valid = None if self.view_valid is None else self.view_valid[rows]
        return camera_views(self.keypoints[rows], self.K[rows], transforms, valid, mirrored=mirrored)


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
    problems = batch_problems(batch)
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
            fits[side] = fit_side(models[side], batch, rows, options, report)
            costs[side][rows] = np.where(np.isfinite(fits[side].cost), fits[side].cost, np.inf)
            done += len(rows)

    chosen = np.where(np.isin(batch.side, SIDES), batch.side, choose_sides(costs["left"], costs["right"]))
    result = empty_fits(len(good), next(iter(models.values())), chosen)
    for side, fit in fits.items():
        rows = wanted[side]
        taken = (chosen[rows] == side) & np.isfinite(costs[side][rows])
        store_fits(result, models[side], rows[taken], jax.tree.map(lambda leaf, taken=taken: leaf[taken], fit))
    for row in np.flatnonzero(good & ~result["valid"]):
        problems[int(row)] = "the fit did not reach finite values"
    result["residual_px"][:] = pixel_residuals(batch, result["joints"])
    return HandFits(**result, problems=dict(sorted(problems.items())))


def batch_problems(batch: KeypointBatch) -> dict[int, str]:
    """Rows that cannot be fitted, and why."""
    seen = (batch.seen.any(1) if batch.has_views else batch.seen).sum(1)
    problems = {
        int(row): f"{seen[row]} keypoints are seen (finite, confidence > 0), at least {FEWEST_KEYPOINTS} are needed"
        for row in np.flatnonzero(seen < FEWEST_KEYPOINTS)
    }
    if batch.has_views and batch.K is not None and batch.world_to_camera is not None:
        valid = np.ones(batch.K.shape[:2], bool) if batch.view_valid is None else batch.view_valid
        problems = view_problems(batch.K, batch.world_to_camera, valid) | problems
    elif batch.keypoints is not None and batch.K is not None:
        usable = np.isfinite(batch.K).all((1, 2)) & (batch.K[:, 0, 0] > 0) & (batch.K[:, 1, 1] > 0)
        for row in np.flatnonzero(~usable):
            problems.setdefault(int(row), "K is not a finite camera matrix with positive focal lengths")
    if batch.estimate is not None:
        for row in np.flatnonzero(~np.isfinite(batch.estimate).all((1, 2))):
            problems.setdefault(int(row), "its estimate is not finite")
    return problems


def fit_side(
    model: HandModel,
    batch: KeypointBatch,
    rows: np.ndarray,
    options: FitOptions,
    on_progress: Callable[[int], None] | None,
) -> FittedHand:
    """Fits of some rows as hands of the model's side, in the frame of the batch."""
    left = model.side == "left"
    flip = -1.0 if left else 1.0
    if batch.has_views:
        program, inputs = _view_program, (batch.views(rows, mirrored=left),)
    else:
        observed = batch.observed[rows].astype(np.float32)
        observed[..., 0] *= flip
        program, inputs = _space_program, (observed,)
        if batch.keypoints is not None and batch.K is not None:
            cameras = batch.K[rows].astype(np.float32)
            cameras[:, 0, 2] *= flip
            program, inputs = _image_program, (observed, cameras)
        if batch.estimate is not None:
            inputs += (batch.estimate[rows].astype(np.float32) * np.array([flip, 1.0, 1.0], np.float32),)

    canonical = mirror_model(model) if left else model
    parts, size = [], _chunk_size(len(rows))
    for begin in range(0, len(rows), size):
        count = min(size, len(rows) - begin)
        # Padding repeats the first hand: it converges like any other and is dropped.
        taken = np.concatenate([np.arange(begin, begin + count), np.full(size - count, begin)])
        chunk = jax.tree.map(lambda array, taken=taken: array[taken], inputs)
        fitted = jax.device_get(program(canonical, *chunk, options=options))
        parts.append(jax.tree.map(lambda leaf, count=count: leaf[:count], fitted))
        if on_progress:
            on_progress(min(begin + size, len(rows)))
    fit = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return mirrored_fit(fit) if left else fit


@functools.partial(jax.jit, static_argnames="options")
def _image_program(model: HandModel, keypoints, K, estimate=None, *, options: FitOptions) -> FittedHand:
    return jax.vmap(lambda points, camera, known: fit_image_keypoints(model, points, camera, options, known))(
        keypoints, K, estimate
    )


@functools.partial(jax.jit, static_argnames="options")
def _view_program(model: HandModel, views: CameraViews, *, options: FitOptions) -> FittedHand:
    return jax.vmap(lambda view: fit_view_keypoints(model, view, options))(views)


@functools.partial(jax.jit, static_argnames="options")
def _space_program(model: HandModel, keypoints, options: FitOptions) -> FittedHand:
    return jax.vmap(lambda points: fit_space_keypoints(model, points, options))(keypoints)


_vertices_program = jax.jit(lambda model, *parameters: forward(model, *parameters).vertices)


def mirrored_fit(fit: FittedHand) -> FittedHand:
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


def empty_fits(hands: int, model: HandModel, side: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of `HandFits` in which no hand is fitted yet."""
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


def store_fits(result: dict[str, np.ndarray], model: HandModel, rows: np.ndarray, fit: FittedHand) -> None:
    """Put fits into their rows, with the vertices that `forward` gives them."""
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


def pixel_residuals(batch: KeypointBatch, joints: Float[np.ndarray, "hands 21 3"]) -> Float[np.ndarray, "hands"]:
    """RMS distance, in pixels, between projected joints and keypoints, over keypoints with confidence > 0."""
    if batch.K is None:
        return np.full(len(joints), np.nan, np.float32)
    if batch.has_views and batch.world_to_camera is not None:
        squares = squared_distances_px(joints, batch.observed, batch.K, batch.world_to_camera)
    else:
        observed = batch.observed[..., :-1]
        if batch.keypoints_3d is not None:
            observed = projected_points(observed, batch.K)
        squares = np.sum((projected_points(joints, batch.K) - observed) ** 2, axis=-1)
    axes = tuple(range(1, squares.ndim))
    # A 3D keypoint behind the camera has no place in the image.
    seen = batch.seen & np.isfinite(squares) if batch.keypoints_3d is not None else batch.seen
    count = seen.sum(axes)
    mean = np.where(seen, squares, 0.0).sum(axes) / np.maximum(count, 1)
    return np.where(count > 0, np.sqrt(mean), np.nan).astype(np.float32)
