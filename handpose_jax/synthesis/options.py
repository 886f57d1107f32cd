"""What is drawn at random in a synthetic image, and how widely."""

import dataclasses

QUALITIES = ("full", "quick")


@dataclasses.dataclass(frozen=True)
class SynthesisOptions:
    """Ranges of one synthetic image. Every number is this project's choice unless its line names a source.

    Pairs are ranges of a uniform draw. A frozen value: pass it as a static argument of `jit`.

    Attributes:
      image_size: edge of the square image, pixels.
      quality: "full": finer triangles, the texture at every sample, sharp shadows; for pictures. "quick": the model's
        own triangles, shadows and tone at the vertices, creases and nails from small textures; for training.
      supersample: the hand is drawn this many times larger and averaged.
      pose_spread: standard deviations of the pose coefficients, as a multiple of the model's.
      pose_candidates: poses drawn, of which the one is kept whose fingers enter each other least.
      shape_spread: standard deviation of the shape coefficients, cut off at 2.5 of them.
      view_along: component of the direction hand -> camera along the forearm (wrist -> elbow). Uniform, so directions
        are uniform on the band of the sphere: -1 is a camera at which the fingers point, +1 one at the elbow.
      view_within: None, or the largest angle (degrees) between the view and the palm's or the back's normal: directions
        are then uniform on these two caps of the sphere, and `view_along` is not used.
      roll_deviation: standard deviation of the turn in the image plane from "fingers up", radians.
      depth: of the hand's middle, metres.
      fill: larger side of the box around the keypoints, as a share of the image's edge; together with the depth it
        decides the focal length.
      wrist_bend: standard deviations of the forearm's bend against the hand: flexion, deviation; radians.
      forearm_length: as a share of a whole forearm; 0.03 leaves little more than a lid over the wrist.
      object_share: share of the images with an object (ellipsoid, box or cylinder) that may hide parts of the hand.
        Left out where it would hide more than half of the joints.
      object_held: share of the objects that lie in the hand; the others are before it.
      object_size: largest half size of an object, metres; the other two are 0.35 to 1 of it. Those before the hand are
        0.8 times as large, as seen.
      second_hand_share: share of the images with a second hand, at the first one, before or behind it; of the same
        person. Left out where it would hide more than half of the joints.
      second_hand_other: share of the second hands that are of the other side.
      skin_angle: range of the individual typology angle, degrees; > 55 very light, < -30 dark (Chardon et al. 1991).
      sleeve_share: share of the images with a sleeve over the forearm.
      background_detail: amplitude of the 1/f noise laid over the procedural background; display values, the
        distribution leans to the low end.
      background_exponent: the noise's amplitude falls as frequency to the minus this; photographs have 1 to 1.2.
      given_background_share: share of the images whose background is cut out of the given ones, where there are any.
      detail: amplitude of 1/f noise over the whole picture, hand and background alike, as a factor on it: brings the
        fine detail of photographs to smooth surfaces.
      blur: standard deviation of the lens blur, pixels of a 256-pixel image.
      noise: standard deviation of the sensor noise at mid grey.
      texture_per_pixel: of the full quality: paint every sample, or the vertices only: faster, without nails and
        creases to speak of.
      keypoint_noise: mean distance of a detected from the true keypoint, as a share of the box's larger side.
      keypoint_missing: share of keypoints not detected.
    """

    image_size: int = 256
    quality: str = "full"
    supersample: int = 2
    pose_spread: float = 1.0
    pose_candidates: int = 8
    shape_spread: float = 1.0
    view_along: tuple[float, float] = (-0.80, 0.50)
    view_within: float | None = None
    roll_deviation: float = 0.6
    depth: tuple[float, float] = (0.40, 0.90)
    fill: tuple[float, float] = (0.52, 0.74)
    wrist_bend: tuple[float, float] = (0.35, 0.15)
    forearm_length: float = 1.0
    object_share: float = 0.0
    object_held: float = 0.5
    object_size: tuple[float, float] = (0.015, 0.05)
    second_hand_share: float = 0.0
    second_hand_other: float = 0.85
    skin_angle: tuple[float, float] = (-50.0, 60.0)
    sleeve_share: float = 0.5
    background_detail: tuple[float, float] = (0.01, 0.07)
    background_exponent: tuple[float, float] = (1.1, 1.7)
    given_background_share: float = 1.0
    detail: tuple[float, float] = (0.0, 0.0)
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
        if self.quality not in QUALITIES:
            raise ValueError(f"quality must be 'full' or 'quick', got {self.quality!r}")
        for name in ("object_share", "object_held", "second_hand_share", "second_hand_other", "given_background_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be a share within [0, 1], got {getattr(self, name)}")
        if not 0.0 < self.forearm_length <= 1.0:
            raise ValueError(f"forearm_length must be a share within (0, 1], got {self.forearm_length}")
        if not 0.0 < self.object_size[0] <= self.object_size[1] <= 0.08:
            raise ValueError(f"object_size must be a range within (0, 0.08] metres, got {self.object_size}")
        if self.view_within is not None and not 0.0 <= self.view_within <= 60.0:
            raise ValueError(f"view_within must be an angle within [0, 60] degrees or None, got {self.view_within}")
        if not 0.0 < self.fill[0] <= self.fill[1] <= 0.85:
            raise ValueError(f"fill must be a range within (0, 0.85], so that the hand stays inside, got {self.fill}")
        if not 0.3 <= self.depth[0] <= self.depth[1]:
            raise ValueError(f"depth must be a range from 0.3 m, so that the forearm stays in front, got {self.depth}")
        if not -0.95 <= self.view_along[0] <= self.view_along[1] <= 0.8:
            raise ValueError(f"view_along must be a range within [-0.95, 0.8], got {self.view_along}")
