"""The fingers' vertices: rings of eight around the bones, close together where joints bend, and a rounded tip."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mano_jax.open_hand_model import measures as anatomy
from mano_jax.open_hand_model import surface
from mano_jax.open_hand_model.measures import FINGERS

AROUND = 8
# Where the rings lie: (bone, millimetres past its joint). The first is just past the web. A bent knuckle is drawn by
# the three rings nearest to its joint, which must therefore be close.
_PIP = ((1, -3.5), (1, 0.0), (1, 3.5))
_DIP = ((2, -5.0), (2, 0.0), (2, 5.0), (2, 11.0))
_LITTLE_DIP = ((2, -4.0), (2, 0.0), (2, 4.0), (2, 9.0))
RINGS: dict[str, tuple[tuple[int, float], ...]] = {
    "thumb": ((1, 6.0), (1, 15.0), (1, 24.5), (2, -3.5), (2, 0.0), (2, 3.5), (2, 8.0), (2, 14.5)),
    "index": ((0, 24.5), (0, 33.5), *_PIP, (1, 7.5), (1, 14.0), *_DIP),
    "middle": ((0, 25.0), (0, 37.0), *_PIP, (1, 8.0), (1, 16.0), *_DIP),
    "ring": ((0, 24.5), (0, 34.5), *_PIP, (1, 7.5), (1, 15.0), *_DIP),
    "little": ((0, 21.5), (0, 27.0), (1, -3.0), (1, 0.0), (1, 3.0), (1, 6.5), (1, 11.0), *_LITTLE_DIP),
}
CAP_ANGLES = (np.deg2rad(27.0), np.deg2rad(60.0))


class FingerMesh(NamedTuple):
    vertices: np.ndarray  # [N, 3]; the first 8 are the first ring, the last is the tip
    faces: np.ndarray  # [F, 3] counter-clockwise seen from outside
    pad: int  # the vertex next to the tip on the palmar side


def ring_plane(name: str, bone: int, along: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre [3] and rows (normal, lateral, dorsal) [3, 3] of a ring; at a bent joint the plane is the bisector."""
    finger = FINGERS[name]
    frames, points = anatomy.bone_frames(finger), anatomy.finger_points(finger)
    frame = frames[bone]
    if bone and abs(along) < 1e-6:
        frame = surface.frame_along(frames[bone, 0] + frames[bone - 1, 0], frames[bone, 2] + frames[bone - 1, 2])
    if along < 0:  # measured back from the joint, along the bone before it
        return points[bone] + along * frames[bone - 1, 0], frames[bone - 1]
    return points[bone] + along * frames[bone, 0], frame


def finger_mesh(field: Callable, name: str) -> FingerMesh:
    angles = np.arange(AROUND) * 2 * np.pi / AROUND
    vertices = []
    for bone, along in RINGS[name]:
        centre, frame = ring_plane(name, bone, along)
        rays = np.outer(np.sin(angles), frame[1]) + np.outer(np.cos(angles), frame[2])
        lengths = surface.ray_length(field, np.tile(centre, (AROUND, 1)), rays)
        vertices.append(centre + lengths[:, None] * rays)
    # The tip: rays from a point inside the last bone, tilted more and more towards its direction.
    finger = FINGERS[name]
    frame, tip = anatomy.bone_frames(finger)[2], anatomy.finger_points(finger)[3]
    centre = tip - 0.40 * finger.bones[2] * frame[0] - 0.8 * frame[2]
    for angle, every in zip(CAP_ANGLES, (1, 2), strict=True):
        turned = angles[::every]
        rays = np.cos(angle) * (np.outer(np.sin(turned), frame[1]) + np.outer(np.cos(turned), frame[2]))
        rays += np.sin(angle) * frame[0]
        lengths = surface.ray_length(field, np.tile(centre, (len(rays), 1)), rays)
        vertices.append(centre + lengths[:, None] * rays)
    length = surface.ray_length(field, centre[None], frame[:1])
    vertices.append(centre[None] + length[:, None] * frame[:1])

    faces = []
    starts = np.cumsum([0] + [len(ring) for ring in vertices])
    for ring in range(len(RINGS[name])):
        near, far = starts[ring], starts[ring + 1]
        for side in range(AROUND):
            after = (side + 1) % AROUND
            # All diagonals lean the same way: were they to alternate, vertex normals would too, and shading ripple.
            faces += [(near + side, near + after, far + after), (near + side, far + after, far + side)]
    wide, narrow, pole = starts[-4], starts[-3], starts[-2]
    half = AROUND // 2
    for side in range(half):
        left, middle, right = wide + 2 * side, wide + 2 * side + 1, wide + (2 * side + 2) % AROUND
        here, after = narrow + side, narrow + (side + 1) % half
        faces += [(left, middle, here), (middle, after, here), (middle, right, after), (here, after, pole)]
    return FingerMesh(np.concatenate(vertices), np.array(faces)[:, ::-1], int(narrow + half // 2))
