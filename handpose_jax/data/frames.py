"""Frames of a video from what a detector found in them: one hand a frame, in order, frames without it kept as gaps."""

import dataclasses
from collections import Counter

import numpy as np

from handpose_jax.data.keypoint_set import KEYPOINT_COUNT, HandKeypoints, KeypointSet


def frame_without_hand(image: str | None) -> HandKeypoints:
    """A frame in which nothing was seen."""
    return HandKeypoints(image=image, keypoints=np.full((KEYPOINT_COUNT, 3), np.nan))


def frames_of_one_hand(keypoints: KeypointSet, side: str | None, where: str, *, project: bool = False) -> KeypointSet:
    """The frames of one hand, one row each.

    Where no frame holds two hands, all rows are that hand, whatever side they are labelled. Otherwise those labelled
    `side` are, and frames without one are gaps.

    Args:
      keypoints: as read, a row a hand; hands of one image are of one frame, those without an image each of their own.
      side: "left", "right", or None or "auto" where it is not known.
      where: name of the input, for messages.
      project: 3D keypoints will be projected.

    Raises:
      ValueError: 3D keypoints; frames with two hands and no side to choose by, or with two of that side.
    """
    if keypoints.is_3d and not project:
        raise ValueError(f"{where}: a sequence is fitted to image keypoints, these are 3D; --project makes them 2D")
    frames: dict[object, list[HandKeypoints]] = {}
    for row, hand in enumerate(keypoints.hands):
        frames.setdefault(row if hand.image is None else hand.image, []).append(hand)
    if max(len(hands) for hands in frames.values()) > 1:
        if side not in ("left", "right"):
            raise ValueError(f"{where}: some frames hold two hands, and a sequence is of one: name it by --side")
        frames = {name: [hand for hand in hands if hand.side == side] for name, hands in frames.items()}
        crowded = next((name for name, hands in frames.items() if len(hands) > 1), None)
        if crowded is not None:
            raise ValueError(f"{where}: {crowded} holds {len(frames[crowded])} {side} hands, and a sequence is of one")
    rows = [hands[0] if hands else frame_without_hand(str(name)) for name, hands in frames.items()]
    labels = Counter(hand.side for hand in rows if not _is_gap(hand))
    label = side or (labels.most_common(1)[0][0] if len(labels) == 1 else "auto")
    return dataclasses.replace(keypoints, hands=tuple(dataclasses.replace(hand, side=label) for hand in rows))


def _is_gap(hand: HandKeypoints) -> bool:
    return hand.keypoints is not None and not np.isfinite(hand.keypoints).any()
