"""Sequences of one hand, NumPy in and NumPy out: sides, gaps, how much it moves, padding."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation, Slerp

from handpose_jax.refinement.batch import (
    AUTO,
    FEWEST_KEYPOINTS,
    HandFits,
    KeypointBatch,
    batch_problems,
    empty_fits,
    fit_side,
    mirrored_fit,
    pixel_residuals,
    store_fits,
)
from handpose_jax.refinement.keypoint_fit import FittedHand
from handpose_jax.refinement.options import FitOptions
from handpose_jax.refinement.sequence_fit import VELOCITY, FittedFrames, SequenceOptions, fit_frames
from handpose_jax.refinement.views import CameraViews
from mano_jax import anatomy
from mano_jax.keypoint_model import HandParameters
from mano_jax.mirror import mirror_model
from mano_jax.model import SIDES, HandModel

MOST_FRAMES = 4096
"""Frames of one sequence. A longer one takes memory in proportion (some 0.1 MB a frame): cut it."""
SMALLEST_MOTION = 1e-3
"""No motion is estimated smaller than this, share of the depth a frame (squared): no hand is so smooth."""


@dataclasses.dataclass(frozen=True)
class SequenceFits:
    """A fitted sequence.

    Attributes:
      fits: every frame, in order; frames before the first and after the last in which a hand is seen are not valid.
      bridged: frames with fewer than four keypoints, which their neighbours fill.
      frame_by_frame: keypoints of the same frames fitted alone, metres; NaN where a frame cannot be.
      motion_sigma: the one that was used, see `SequenceOptions`.
      cost, start_cost: of the sequence, and of the frames fitted alone with one mean shape.
      jitter_before_m, jitter_after_m: `mean_acceleration` frame by frame and of the sequence, over the same frames.
    """

    fits: HandFits
    bridged: Bool[np.ndarray, "frames"]
    frame_by_frame: Float[np.ndarray, "frames 21 3"]
    motion_sigma: float
    cost: float
    start_cost: float
    jitter_before_m: float
    jitter_after_m: float


def fit_sequence(
    models: Mapping[str, HandModel],
    batch: KeypointBatch,
    options: FitOptions | None = None,
    sequence: SequenceOptions | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SequenceFits:
    """Fit the frames of a sequence, in order, as one hand: one shape, one side, and a temporal prior.

    Every frame is fitted alone first, which is where the sequence starts from. Frames in which fewer than four
    keypoints are seen are bridged.

    Args:
      models: hand model of each side that occurs; both for "auto".
      batch: image keypoints of one hand, a row a frame, of one or several views. `side` must be the same in all rows.
      options: see `FitOptions`; None for its defaults.
      sequence: see `SequenceOptions`; None for its defaults.
      on_progress: called with (fits done, fits in all) after each chunk of frames.

    Raises:
      ValueError: 3D keypoints, several sides, too many frames, no frame that can be fitted, or no model of the side.
    """
    options, sequence = options or FitOptions(), sequence or SequenceOptions()
    if batch.keypoints is None or batch.estimate is not None:
        raise ValueError("a sequence is fitted to image keypoints alone; fit 3D keypoints or estimates frame by frame")
    if len(set(batch.side)) != 1:
        raise ValueError(f"a sequence is of one hand: expected one side, got {sorted(set(batch.side))}; name the side")
    problems = batch_problems(batch)
    seen = (batch.seen.any(1) if batch.has_views else batch.seen).sum(1)
    alone = np.array([row not in problems for row in range(len(seen))], bool)
    if not alone.any():
        raise ValueError(f"no frame of {len(seen)} can be fitted: {problems[0]}")
    first, last = np.flatnonzero(alone)[[0, -1]]
    span = np.arange(first, last + 1)
    if len(span) > MOST_FRAMES:
        raise ValueError(f"a sequence may have {MOST_FRAMES} frames, got {len(span)}; cut it")
    # Few keypoints still count in a sequence, a camera that cannot be one does not.
    left_out = np.array([row in problems for row in span], bool) & (seen[span] >= FEWEST_KEYPOINTS)
    left_out |= _unusable_camera(batch)[span]
    sides = SIDES if batch.side[0] == AUTO else (batch.side[0],)
    for side in sides:
        if side not in models:
            raise ValueError(f"the sequence asks for a {side} hand: give models['{side}']")

    rows, total = np.flatnonzero(alone), len(sides) * int(alone.sum())
    tried = {}
    for side in sides:
        done = 0 if side == sides[0] else len(rows)
        report = (lambda count, before=done: on_progress(before + count, total)) if on_progress else None
        single = fit_side(models[side], batch, rows, options, report)
        usable = np.isfinite(single.cost)
        if not usable.any():
            continue
        used_rows, single = rows[usable], jax.tree.map(lambda leaf, usable=usable: leaf[usable], single)
        sigma = sequence.motion_sigma
        if sigma is None:
            sigma = estimated_motion(batch, used_rows, single.keypoints, options, sequence.prior)
        chain = _fit_chain(models[side], batch, span, used_rows, left_out, single, sigma, options, sequence)
        if np.isfinite(chain.cost):
            tried[side] = chain, sigma, _scattered(single.keypoints, used_rows, len(seen))
    if not tried:
        raise ValueError(f"none of {len(seen)} frames reached finite values")
    side = min(tried, key=lambda side: float(tried[side][0].cost))
    chain, sigma, frame_by_frame = tried[side]
    hands = jax.tree.map(lambda leaf: leaf[: len(span)], chain.hands)

    result = empty_fits(len(seen), models[side], np.full(len(seen), side))
    store_fits(result, models[side], span, hands)
    result["residual_px"][:] = pixel_residuals(batch, result["joints"])
    outside = np.setdiff1d(np.arange(len(seen)), span)
    reasons = {int(row): problems.get(int(row), "the fit did not reach finite values") for row in outside}
    before, after = mean_accelerations(frame_by_frame, result["joints"])
    bridged = result["valid"] & (seen < FEWEST_KEYPOINTS)
    return SequenceFits(
        fits=HandFits(**result, problems=reasons),
        bridged=bridged,
        frame_by_frame=frame_by_frame,
        motion_sigma=sigma,
        cost=float(chain.cost),
        start_cost=float(chain.start_cost),
        jitter_before_m=before,
        jitter_after_m=after,
    )


def mean_accelerations(*tracks: Float[np.ndarray, "frames 21 3"]) -> tuple[float, ...]:
    """Jitter of tracks: mean length of the second differences of their joints, metres a frame squared.

    Over the triples of frames that are finite in all tracks, so that they can be compared; NaN where there is none.
    """
    moved = [track[2:] - 2.0 * track[1:-1] + track[:-2] for track in (np.asarray(t, np.float64) for t in tracks)]
    common = np.logical_and.reduce([np.isfinite(part).all((1, 2)) for part in moved])
    if not common.any():
        return (float("nan"),) * len(tracks)
    return tuple(float(np.linalg.norm(part[common], axis=-1).mean()) for part in moved)


def estimated_motion(
    batch: KeypointBatch,
    rows: np.ndarray,
    joints: Float[np.ndarray, "frames 21 3"],
    options: FitOptions,
    prior: str = VELOCITY,
) -> float:
    """How much keypoints move between frames, by what the cameras saw, in the units of `motion_coordinates`.

    The median square of the image points' second differences (first ones for the "position" prior) over the focal
    length, less what the keypoints' own noise puts there. Where neighbouring frames are far apart in time this is
    large, and the temporal prior says little.

    Args:
      batch: the sequence.
      rows: frames that were fitted alone.
      joints: their keypoints; their depth turns angles into metres where there are several views.
      options: state the noise.
      prior: see `SequenceOptions`.
    """
    views = batch.views(rows, mirrored=False)
    seen = (batch.seen if batch.has_views else batch.seen[:, None])[rows]
    K, transforms = np.asarray(views.K), np.asarray(views.world_to_camera)
    focal = np.sqrt(K[..., 0, 0] * K[..., 1, 1])[..., None, None]
    rays = np.where(seen[..., None], np.asarray(views.keypoints)[..., :2], np.nan) / focal
    depth = 1.0
    if rays.shape[1] > 1:
        depth = np.einsum("nvb,nkb->nvk", transforms[..., 2, :3], joints) + transforms[..., 2, 3, None]
        depth = float(np.median(depth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # medians of nothing are NaN, which is meant
        box = np.nanmax(np.nanmax(rays, axis=2) - np.nanmin(rays, axis=2), axis=-1)
        noise = float(np.nanmedian(options.pixel_sigma_share * box))
        if prior == VELOCITY:
            moved, parts = rays[2:] - 2.0 * rays[1:-1] + rays[:-2], 6.0
            in_a_row = rows[2:] - rows[:-2] == 2
        else:
            moved, parts = np.diff(rays, axis=0), 2.0
            in_a_row = np.diff(rows) == 1
        median = float(np.nanmedian(moved[in_a_row] ** 2)) if in_a_row.any() else np.nan
    if not np.isfinite(median):
        return depth  # nothing to estimate it from: nothing is said of motion
    median_of_squared_normal = 0.4549
    variance = median / median_of_squared_normal - parts * noise**2
    return depth * float(np.sqrt(max(variance, SMALLEST_MOTION**2)))


def _fit_chain(
    model: HandModel,
    batch: KeypointBatch,
    span: np.ndarray,
    rows: np.ndarray,
    left_out: Bool[np.ndarray, "span"],
    single: FittedHand,
    sigma: float,
    options: FitOptions,
    sequence: SequenceOptions,
) -> FittedFrames:
    """The frames of `span` as one sequence of the model's side, started from those of `rows`, fitted alone.

    Nothing that was seen in frames of `left_out` counts.
    """
    left = model.side == "left"
    canonical = mirror_model(model) if left else model
    single = mirrored_fit(single) if left else single
    size = max(16, 1 << (len(span) - 1).bit_length())
    views = batch.views(span, mirrored=left)
    start = _starts(canonical, single, rows - span[0], len(span))
    filled = np.concatenate([np.arange(len(span)), np.zeros(size - len(span), int)])
    pad = lambda leaf: np.asarray(leaf)[filled]  # noqa: E731
    views = views._replace(valid=np.asarray(views.valid) & ~left_out[:, None])
    used = np.arange(size) < len(span)
    fitted = jax.device_get(
        _chain_program(
            canonical,
            jax.tree.map(pad, views),
            used,
            jax.tree.map(pad, start),
            jnp.asarray(sigma, jnp.float32),
            options=options,
            sequence=sequence,
        )
    )
    return fitted._replace(hands=mirrored_fit(fitted.hands)) if left else fitted


@functools.partial(jax.jit, static_argnames=("options", "sequence"))
def _chain_program(
    model: HandModel,
    views: CameraViews,
    used: Bool[np.ndarray, "frames"],
    start: HandParameters,
    sigma: Float[np.ndarray, ""],
    *,
    options: FitOptions,
    sequence: SequenceOptions,
) -> FittedFrames:
    return fit_frames(model, views, used, start, sigma, options, sequence)  # type: ignore[arg-type]


def _starts(model: HandModel, single: FittedHand, rows: np.ndarray, count: int) -> HandParameters:
    """Parameters of all frames from those of `rows`, the rest between their neighbours, with the mean shape."""
    frames = np.arange(count)
    angles = np.asarray(anatomy.joint_angles(model, single.pose)).reshape(-1, 45)
    between = lambda values: np.stack([np.interp(frames, rows, column) for column in np.asarray(values).T], axis=1)  # noqa: E731
    turns = Rotation.from_rotvec(np.asarray(single.rotation, np.float64))
    rotation = Slerp(rows, turns)(frames).as_rotvec() if len(rows) > 1 else turns.as_rotvec()
    shape = np.tile(np.asarray(single.shape).mean(axis=0), (count, 1))
    parts = (rotation, between(single.translation), shape, between(angles))
    return HandParameters(*(part.astype(np.float32) for part in parts))  # type: ignore[arg-type]


def _unusable_camera(batch: KeypointBatch) -> Bool[np.ndarray, "frames"]:
    """Frames with a view whose numbers cannot be computed with."""
    views = batch.views(np.arange(len(batch.side)), mirrored=False)
    K, transforms = np.asarray(views.K), np.asarray(views.world_to_camera)
    usable = np.isfinite(K).all((2, 3)) & np.isfinite(transforms).all((2, 3))
    with np.errstate(invalid="ignore"):
        usable &= (K[..., 0, 0] > 0) & (K[..., 1, 1] > 0)
    return np.asarray((np.asarray(views.valid) & ~usable).any(1))


def _scattered(keypoints: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    full = np.full((count, 21, 3), np.nan, np.float32)
    full[rows] = keypoints
    return full
