"""Square crops of many hands at once: where they lie, and what they do to pixels, points and cameras.

NumPy, 64 bits: this runs on the host, in data pipelines. Of one hand on a device `render_jax.Crop` does the same, with
the same algebra; here a crop may be turned, too. Pixels: the centre of (row i, column j) is (j + 0.5, i + 0.5).

Mirrored and turned crops keep an exact camera: 3D points are mirrored (x negated) and turned about the camera's axis,
and a pinhole with shifted principal point sees them as the crop shows them. Turning needs square pixels, so the image
is stretched by fx / fy where it is turned.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

NARROWEST = 1.0
"""Pixels: the least edge of a crop."""


@dataclasses.dataclass(frozen=True)
class CropBatch:
    """One crop a row.

    Attributes:
      centre: (u, v) in the full image.
      side: edge in the full image, pixels.
      size: edge of the crops, their own pixels.
      mirrored: whether left and right are swapped. Before turning, so that what is drawn at random for a left hand
        does to it what it would do to its mirror image.
      angle: by which the mirrored picture turns, radians, from u to v: clockwise as seen.
      aspect: by how much v is stretched; fx / fy where the angle is not zero, or the camera would have a skew.
    """

    centre: Float[np.ndarray, "hands 2"]
    side: Float[np.ndarray, "hands"]
    size: int
    mirrored: Bool[np.ndarray, "hands"]
    angle: Float[np.ndarray, "hands"]
    aspect: Float[np.ndarray, "hands"]

    @classmethod
    def make(
        cls,
        centre: Float[np.ndarray, "hands 2"],
        side: Float[np.ndarray, "hands"],
        size: int,
        mirrored: Bool[np.ndarray, "hands"],
        angle: Float[np.ndarray, "hands"] | None = None,
        K: Float[np.ndarray, "hands 3 3"] | None = None,
    ) -> "CropBatch":
        """Crops, upright without an angle; with one K is needed."""
        angle = np.zeros(len(side)) if angle is None else np.asarray(angle, np.float64)
        aspect = np.ones(len(side))
        if K is not None:
            aspect = np.where(angle == 0.0, 1.0, np.asarray(K)[:, 0, 0] / np.asarray(K)[:, 1, 1])
        side = np.maximum(np.asarray(side, np.float64), NARROWEST)
        return cls(np.asarray(centre, np.float64), side, size, np.asarray(mirrored, bool), angle, aspect)

    @property
    def pixels_per_pixel(self) -> Float[np.ndarray, "hands"]:
        """Crop pixels a full image's pixel."""
        return self.size / self.side

    def to_image(self) -> Float[np.ndarray, "hands 2 2"]:
        """A place in the crop, counted from its middle -> in the (mirrored) image, counted from the centre."""
        turned = np.swapaxes(_turn(self.angle), -1, -2) / self.pixels_per_pixel[:, None, None]
        return turned * np.stack([np.ones_like(self.aspect), 1.0 / self.aspect], axis=-1)[..., None]

    def points(self, pixels: Float[np.ndarray, "hands points 2"]) -> Float[np.ndarray, "hands points 2"]:
        """Full image -> crop, pixels."""
        away = (pixels - self.centre[:, None]) * np.stack([self._sign, self.aspect], axis=-1)[:, None]
        return np.einsum("nij,npj->npi", self._scaled_turn, away) + 0.5 * self.size

    def points_to_full(self, pixels: Float[np.ndarray, "hands points 2"]) -> Float[np.ndarray, "hands points 2"]:
        """Crop -> full image, pixels."""
        away = np.einsum("nij,npj->npi", self.to_image(), pixels - 0.5 * self.size)
        away = away * np.stack([self._sign, np.ones_like(self.aspect)], axis=-1)[:, None]
        return away + self.centre[:, None]

    def rotation(self) -> Float[np.ndarray, "hands 3 3"]:
        """What 3D points of the camera frame are multiplied with: the mirror, then the turn about z."""
        result = np.tile(np.eye(3), (len(self.side), 1, 1))
        result[:, :2, :2] = _turn(self.angle)
        result[:, :, 0] *= self._sign[:, None]
        return result

    def points_3d(self, points: Float[np.ndarray, "hands points 3"]) -> Float[np.ndarray, "hands points 3"]:
        """Points in the frame of the full image's camera -> in that of the crop's."""
        return np.einsum("nij,npj->npi", self.rotation(), points)

    def camera(self, K: Float[np.ndarray, "hands 3 3"]) -> Float[np.ndarray, "hands 3 3"]:
        """The crop's camera, which projects `points_3d` to `points`."""
        principal = self.points(np.asarray(K, np.float64)[:, None, :2, 2])[:, 0]
        result = np.zeros((len(self.side), 3, 3))
        result[:, 0, 0] = K[:, 0, 0] * self.pixels_per_pixel
        result[:, 1, 1] = K[:, 1, 1] * self.aspect * self.pixels_per_pixel
        result[:, :2, 2], result[:, 2, 2] = principal, 1.0
        return result

    @property
    def _sign(self) -> Float[np.ndarray, "hands"]:
        return np.where(self.mirrored, -1.0, 1.0)

    @property
    def _scaled_turn(self) -> Float[np.ndarray, "hands 2 2"]:
        return _turn(self.angle) * self.pixels_per_pixel[:, None, None]


def tight_boxes(
    keypoints: Float[np.ndarray, "hands points 2"], known: Bool[np.ndarray, "hands points"], margin: float = 1.5
) -> tuple[Float[np.ndarray, "hands 2"], Float[np.ndarray, "hands"]]:
    """Centre and `margin` times the longer edge of the boxes around the known keypoints: DHPE's crop.

    A hand without any known keypoint has NaN.
    """
    low = np.where(known[..., None], keypoints, np.inf).min(axis=1)
    high = np.where(known[..., None], keypoints, -np.inf).max(axis=1)
    found = np.asarray(known.any(axis=1))
    low, high = (np.where(found[:, None], edge, np.nan) for edge in (low, high))
    return (low + high) / 2, margin * (high - low).max(axis=1)


def around_joint(
    keypoints: Float[np.ndarray, "hands points 2"],
    known: Bool[np.ndarray, "hands points"],
    joint: int = 9,
    factor: float = 2.0,
    limits: tuple[float, float] = (50.0, 500.0),
) -> tuple[Float[np.ndarray, "hands 2"], Float[np.ndarray, "hands"]]:
    """Centre at a joint, edge `factor` times the farthest known keypoint's distance from it, within limits (pixels).

    The middle MCP by default: hand3d's and the cross-modal VAE's crop. Where the joint is not known, the middle of the
    box of those that are.
    """
    boxes, _ = tight_boxes(keypoints, known)
    centre = np.where(known[:, joint : joint + 1], np.nan_to_num(keypoints[:, joint]), boxes)
    distances = np.linalg.norm(keypoints - centre[:, None], axis=-1)
    reach = np.where(known, distances, 0.0).max(axis=1)
    return centre, np.clip(factor * reach, *limits)


def around_cubes(
    centres: Float[np.ndarray, "hands 3"], K: Float[np.ndarray, "hands 3 3"], edge: float = 0.25
) -> tuple[Float[np.ndarray, "hands 2"], Float[np.ndarray, "hands"]]:
    """The square that a cube of that edge (metres) around a point of the camera frame fills at the point's depth."""
    homogeneous = np.einsum("nij,nj->ni", K, centres)
    return homogeneous[:, :2] / homogeneous[:, 2:], edge * K[:, 0, 0] / centres[:, 2]


def _turn(angle: Float[np.ndarray, "hands"]) -> Float[np.ndarray, "hands 2 2"]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=-2)
