"""What is drawn at random in a synthetic image, and how widely."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SynthesisOptions:
    """Ranges of one synthetic image. Every number is this project's choice unless its line names a source.

    Pairs are ranges of a uniform draw. A frozen value: pass it as a static argument of `jit`.

    Attributes:
      image_size: edge of the square image, pixels.
      supersample: the hand is drawn this many times larger and averaged.
      pose_spread: standard deviations of the pose coefficients, as a multiple of the model's.
      pose_candidates: poses drawn, of which the one is kept whose fingers enter each other least.
      shape_spread: standard deviation of the shape coefficients, cut off at 2.5 of them.
      view_along: component of the direction hand -> camera along the forearm (wrist -> elbow). Uniform, so directions
        are uniform on the band of the sphere: -1 is a camera at which the fingers point, +1 one at the elbow.
      roll_deviation: standard deviation of the turn in the image plane from "fingers up", radians.
      depth: of the hand's middle, metres.
      fill: larger side of the box around the keypoints, as a share of the image's edge; together with the depth it
        decides the focal length.
      wrist_bend: standard deviations of the forearm's bend against the hand: flexion, deviation; radians.
      skin_angle: range of the individual typology angle, degrees; > 55 very light, < -30 dark (Chardon et al. 1991).
      sleeve_share: share of the images with a sleeve over the forearm.
      blur: standard deviation of the lens blur, pixels of a 256-pixel image.
      noise: standard deviation of the sensor noise at mid grey.
      texture_per_pixel: paint every sample, or the vertices only: faster, without nails and creases to speak of.
      keypoint_noise: mean distance of a detected from the true keypoint, as a share of the box's larger side.
      keypoint_missing: share of keypoints not detected.
    """

    image_size: int = 256
    supersample: int = 2
    pose_spread: float = 1.0
    pose_candidates: int = 8
    shape_spread: float = 1.0
    view_along: tuple[float, float] = (-0.80, 0.50)
    roll_deviation: float = 0.6
    depth: tuple[float, float] = (0.40, 0.90)
    fill: tuple[float, float] = (0.52, 0.74)
    wrist_bend: tuple[float, float] = (0.35, 0.15)
    skin_angle: tuple[float, float] = (-50.0, 60.0)
    sleeve_share: float = 0.5
    blur: tuple[float, float] = (0.3, 0.9)
    noise: tuple[float, float] = (0.003, 0.015)
    texture_per_pixel: bool = True
    keypoint_noise: float = 0.03
    keypoint_missing: float = 0.08

    def __post_init__(self):
        if self.image_size < 16 or self.supersample < 1 or self.pose_candidates < 1:
            raise ValueError(
                "expected image_size >= 16, supersample >= 1 and pose_candidates >= 1, got "
                f"{self.image_size}, {self.supersample}, {self.pose_candidates}"
            )
        if not 0.0 < self.fill[0] <= self.fill[1] <= 0.85:
            raise ValueError(f"fill must be a range within (0, 0.85], so that the hand stays inside, got {self.fill}")
        if not 0.3 <= self.depth[0] <= self.depth[1]:
            raise ValueError(f"depth must be a range from 0.3 m, so that the forearm stays in front, got {self.depth}")
        if not -0.95 <= self.view_along[0] <= self.view_along[1] <= 0.8:
            raise ValueError(f"view_along must be a range within [-0.95, 0.8], got {self.view_along}")
