"""Each data set's own way of scoring: alignment, joints, aggregation, cameras of text files. docs/protocols.md."""

import dataclasses

import numpy as np
from jaxtyping import Float

from mano_jax.keypoints import CANONICAL_FROM_ORDER, KEYPOINT_NAMES

FINGERTIPS = (4, 8, 12, 16, 20)
PCK_THRESHOLDS_MM = tuple(range(51))
FRAME_THRESHOLDS_MM = tuple(range(81))
"""Of the curves of frames; `frames_max_error_within_mm` holds every tenth from 10 on."""
GRIDS_MM: dict[str, Float[np.ndarray, "thresholds"]] = {
    "auc_20_50_grid20": np.linspace(0.0, 50.0, 20)[8:],
    "auc_0_50_grid20": np.linspace(0.0, 50.0, 20),
    "auc_20_50_grid15": np.linspace(20.0, 50.0, 15),
    "auc_0_50_grid100": np.linspace(0.0, 50.0, 100),
}
"""Thresholds over which programs in use take the trapezoid rule; the first really covers 21.05-50 mm.

In order: hand3d `eval_full.py` ("20-50" and 0-50), Minimal-Hand-pytorch, FreiHAND `eval.py`.
"""

ALIGNMENTS = {
    "none": "coordinates in the camera frame, as they are",
    "absolute": "coordinates in the camera frame, as they are",
    "unaligned": "coordinates in the camera frame, as they are",
    "root_bone_scale": "keypoint 0 subtracted from both, then the prediction multiplied by the true / predicted length "
    "of the bone between keypoints 9 and 10",
    "root": "keypoint 0 subtracted from both",
    "tip_centroid_scale": "prediction moved to the centroid of the frame's known tips and multiplied by the true / "
    "predicted mean distance of the tips from it; frames with fewer than 2 known tips are left out",
    "procrustes": "rotation, translation and scale of the prediction that fit the known joints best (no reflection)",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How the predictions of one data set are scored.

    Attributes:
      name: of the protocol.
      alignment: of the top-level figures, one of `ALIGNMENTS`.
      beside: alignments whose figures stand beside them, under their own names.
      joint_names: of the joints that are scored, in the files' order.
      joints: which of a file's joints are scored.
      file_joints: how many joints a row of a file has.
      mean_over: "joints": means, medians and curves of each joint, averaged over joints; "all": over all joints of all
        frames at once.
      camera: fx, fy, cx, cy that turn u, v (pixels), d (mm) of text files into millimetres; None: the set has no text
        files.
      root: keypoint that is subtracted.
      bone: keypoints whose distance sets the scale.
      run: frames a block of the bootstrap where no sequences are named.
      vertices: whether meshes are scored too, where files have them.
    """

    name: str
    alignment: str
    beside: tuple[str, ...] = ()
    joint_names: tuple[str, ...] = KEYPOINT_NAMES
    joints: tuple[int, ...] = tuple(range(21))
    file_joints: int = 21
    mean_over: str = "joints"
    camera: tuple[float, float, float, float] | None = None
    root: int = 0
    bone: tuple[int, int] = (9, 10)
    run: int = 50
    vertices: bool = False


def _depth_protocol(name: str, names: tuple[str, ...], camera: tuple[float, float, float, float]) -> Protocol:
    count = len(names)
    return Protocol(
        name, "none", joint_names=names, joints=tuple(range(count)), file_joints=count, mean_over="all", camera=camera
    )


_MSRA_NAMES = tuple(
    name for _, name in sorted(zip(CANONICAL_FROM_ORDER["msra"], KEYPOINT_NAMES, strict=True), key=lambda pair: pair[0])
)
_ICVL_NAMES = (
    "palm",
    *(
        f"{finger}_{part}"
        for finger in ("thumb", "index", "middle", "ring", "little")
        for part in ("root", "mid", "tip")
    ),
)
_NYU_NAMES = (
    *(f"{finger}_{part}" for finger in ("little", "ring", "middle", "index") for part in ("tip", "root")),
    *("thumb_tip", "thumb_root_2", "thumb_root_1", "wrist_2", "wrist_1", "palm"),
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # The images of RHD are no sequence: each is a block of its own.
        Protocol("rhd", "root_bone_scale", run=1),
        Protocol("stb", "root_bone_scale"),
        Protocol(
            "dexter_object",
            "absolute",
            beside=("tip_centroid_scale",),
            joint_names=tuple(KEYPOINT_NAMES[tip] for tip in FINGERTIPS),
            joints=FINGERTIPS,
        ),
        Protocol("freihand", "procrustes", beside=("unaligned",), vertices=True),
        _depth_protocol("icvl", _ICVL_NAMES, (240.99, 240.96, 160.0, 120.0)),
        # v runs down and NYU's y up.
        _depth_protocol("nyu", _NYU_NAMES, (588.03, -587.07, 320.0, 240.0)),
        _depth_protocol("msra", _MSRA_NAMES, (241.42, 241.42, 160.0, 120.0)),
    )
}


def protocol_named(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
      ValueError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def camera_points(
    pixels: Float[np.ndarray, "frames joints 3"], camera: tuple[float, float, float, float]
) -> Float[np.ndarray, "frames joints 3"]:
    """Metres in the camera's frame of u, v in pixels and d in millimetres; the camera is fx, fy, cx, cy."""
    fx, fy, cx, cy = camera
    u, v, d = np.moveaxis(np.asarray(pixels, np.float64), -1, 0)
    return np.stack([(u - cx) * d / fx, (v - cy) * d / fy, d], axis=-1) / 1000.0
