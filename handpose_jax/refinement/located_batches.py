"""From hands as they were read from files to the arrays that a fit takes."""

from collections.abc import Sequence

import numpy as np

from handpose_jax.data.located_hands import LocatedHand
from handpose_jax.refinement.batch import AUTO, KeypointBatch


def batch_of_hands(hands: Sequence[LocatedHand]) -> KeypointBatch:
    """Hands without a problem, all of one kind: image keypoints, those of several views, or 3D ones."""
    sides = tuple(hand.hand.side for hand in hands)
    views = [hand.hand.views for hand in hands if hand.hand.views is not None]
    if views:
        return KeypointBatch(
            keypoints=np.stack([view.keypoints for view in views]),
            keypoints_3d=None,
            K=np.stack([view.K for view in views]),
            side=sides,
            world_to_camera=np.stack([view.world_to_camera for view in views]),
            view_valid=np.stack([view.valid for view in views]),
        )
    is_3d = hands[0].hand.keypoints_3d is not None
    cameras = [hand.camera.matrix for hand in hands if hand.camera is not None]
    return KeypointBatch(
        keypoints=None if is_3d else np.array([hand.hand.keypoints for hand in hands]),
        keypoints_3d=np.array([hand.hand.keypoints_3d for hand in hands]) if is_3d else None,
        # 3D hands may lack a camera; without all of them there is no residual in pixels.
        K=np.stack(cameras) if len(cameras) == len(hands) else None,
        side=sides,
    )


def batch_of_frames(hands: Sequence[LocatedHand]) -> KeypointBatch:
    """The frames of one hand; those that cannot be used are frames in which nothing is seen.

    The side is the one on which all frames agree that name one, and open where they do not.
    """
    good = [row for row, hand in enumerate(hands) if hand.hand.problem is None]
    batch = batch_of_hands([hands[row] for row in good])
    # Every frame takes the arrays of a good one; where it has none of its own, nothing is seen.
    source = np.zeros(len(hands), int)
    source[good] = np.arange(len(good))
    keypoints = batch.observed[source].copy()
    keypoints[np.setdiff1d(np.arange(len(hands)), good)] = np.nan
    of_frames = lambda array: None if array is None else array[source]  # noqa: E731
    sides = {hands[row].hand.side for row in good} - {AUTO}
    return KeypointBatch(
        keypoints=keypoints if batch.keypoints is not None else None,
        keypoints_3d=keypoints if batch.keypoints_3d is not None else None,
        K=of_frames(batch.K),
        side=(sides.pop() if len(sides) == 1 else AUTO,) * len(hands),
        world_to_camera=of_frames(batch.world_to_camera),
        view_valid=of_frames(batch.view_valid),
    )
