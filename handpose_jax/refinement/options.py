"""What a fit assumes: noise, priors, limits and the solver's budget, as one frozen record."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """Settings of the keypoint fit. Static: another value compiles another program.

    Attributes:
      pixel_sigma_share: standard deviation of an image keypoint, as a share of the larger side of the box around the
        hand's keypoints (detectors: 0.02-0.06 of the box, exact annotations less).
      base_weight: weight of the wrist and the base of the thumb beside the other keypoints; less than 1 where a
        detector is known to place those two badly. They tell the hand's orientation, and its depth.
      metre_sigma: standard deviation of a 3D keypoint, metres.
      estimate_sigma: standard deviation of a network's 3D joint about their common centre, metres, where one is given.
      robust_threshold: residuals beyond this many standard deviations count linearly, not squared.
      pose_weight: weight of the pose prior; 1 is the Gaussian of the model's own statistics.
      shape_weight: weight of the shape prior; 1 is the unit Gaussian.
      limit_sigma: how softly joint limits and the shape limit are held, in radians and in shape units.
      shape_limit: no shape coefficient goes beyond it.
      hand_length_mm: length from wrist to middle fingertip of the flat hand, if known; fixes the absolute scale.
      hand_length_sigma_mm: how well it is known.
      start_iterations: steps of each start before the better one is chosen.
      max_iterations: steps of the better one.
      relative_tolerance: a hand stops when a step lowers its cost by less than this share.
      tips: convention of the fingertip vertices.
    """

    pixel_sigma_share: float = 0.02
    base_weight: float = 1.0
    metre_sigma: float = 0.003
    estimate_sigma: float = 0.025
    robust_threshold: float = 2.0
    pose_weight: float = 1.0
    shape_weight: float = 1.0
    limit_sigma: float = 0.02
    shape_limit: float = 3.0
    hand_length_mm: float | None = None
    hand_length_sigma_mm: float = 1.0
    start_iterations: int = 10
    max_iterations: int = 12
    relative_tolerance: float = 1e-3
    tips: str = "745"
