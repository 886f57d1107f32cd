"""Parameters of a hand as sliders: shape, anatomical joint angles, wrist angles and pose coefficients, and back.

The pose is kept as axis-angle vectors; joint angles and pose coefficients are two linear views of it. Moving a slider
of one changes the pose by exactly that number, and the sliders of the other are read from the new pose. Neither is ever
written from what a slider shows, which is rounded and cut to its range.
"""

import dataclasses
import functools
import math
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float

from mano_jax.anatomy import ANGLE_NAMES, joint_angles, joint_axes, joint_limits
from mano_jax.keypoints import MODEL_JOINT_NAMES
from mano_jax.mirror import AXIAL_REFLECTION
from mano_jax.model import HandModel
from mano_jax.open_hand_model import open_hand
from mano_jax.open_hand_model.poses import ANGLES, named_pose
from mano_jax.open_hand_model.shape_components import COMPONENTS

FINGERS = ("thumb", "index", "middle", "ring", "little")
SHAPE_FOLDER, WRIST_FOLDER, COEFFICIENT_FOLDER = "shape", "wrist", "pose coefficients"
SHAPE_RANGE = 3.0
COEFFICIENT_SIGMAS = 3.0
_WRIST_AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))


class Slider(NamedTuple):
    """One slider. `index` says which number it is of the parameters: its place in the shape, the pose coefficients, or
    joint * 3 + axis of the 16 joints and (flexion, abduction, twist).

    Attributes:
      folder: the group it is in: a finger, "wrist", "shape" or "pose coefficients".
      name: whole, such as "index MCP flexion".
      kind: "shape", "angle" or "coefficient".
      low, high, step: of its scale; degrees for angles.
      main: whether it belongs to the few that are shown first.
    """

    folder: str
    name: str
    kind: str
    index: int
    low: float
    high: float
    step: float
    main: bool

    def shown(self, value: float) -> float:
        """What the slider shows of a value: cut to its range, on its step."""
        steps = round(value / self.step)
        return min(max(round(steps * self.step, 6), self.low), self.high)


@dataclasses.dataclass(frozen=True)
class HandParameters:
    """Parameters of one hand in its model's own frame, float64: what `mano_jax.forward` takes, without translation."""

    pose: Float[np.ndarray, "45"]
    shape: Float[np.ndarray, " shapes"]
    rotation: Float[np.ndarray, "3"]

    def mirrored(self) -> Self:
        """The parameters that give the mirror image with the model of the other side."""
        signs = np.array(AXIAL_REFLECTION)
        return dataclasses.replace(self, pose=self.pose * np.tile(signs, 15), rotation=self.rotation * signs)


class Sliders:
    """The sliders of a model, and what moving them does.

    Attributes:
      model: the hand model, of one side.
      table: every slider, folder by folder.
      axes: [16, 3, 3] unit axes of the wrist and the 15 finger joints (rows: flexion, abduction, twist).
      start: what the sliders show first: mean shape, relaxed fingers.
    """

    def __init__(self, model: HandModel):
        """Raises: ValueError: the model has no side (`two_hands`), or a pose basis that has no inverse."""
        wrist = np.array(_WRIST_AXES) * (np.array(AXIAL_REFLECTION) if model.side == "left" else 1.0)
        self.model = model
        # Perpendicular to the last digit of float64 too: one angle's slider then leaves the others alone.
        left, _, right = np.linalg.svd(np.asarray(joint_axes(model), np.float64))
        self.axes = np.concatenate([wrist[None], left @ right])
        self.mean = np.asarray(model.pose_mean, np.float64)
        self.basis = np.asarray(model.pose_basis, np.float64)
        try:
            self.inverse_basis = np.linalg.inv(self.basis)
        except np.linalg.LinAlgError:
            raise ValueError("expected a pose basis of 45 independent rows, got dependent ones") from None
        self.table = _table(model)
        relaxed = self.pose_of(named_angles()["relaxed"])
        self.start = HandParameters(relaxed, np.zeros(model.shape_size), np.zeros(3))

    def values(self, parameters: HandParameters) -> Float[np.ndarray, " sliders"]:
        """Exact value of every slider, degrees for angles; may lie outside its range."""
        numbers = {
            "shape": parameters.shape,
            "angle": np.degrees(self.angles(parameters)).ravel(),
            "coefficient": (parameters.pose - self.mean) @ self.inverse_basis,
        }
        return np.array([numbers[slider.kind][slider.index] for slider in self.table])

    def angles(self, parameters: HandParameters) -> Float[np.ndarray, "16 3"]:
        """Signed angles (flexion, abduction, twist) of the wrist and the 15 finger joints, radians."""
        vectors = np.concatenate([parameters.rotation, parameters.pose]).reshape(16, 3)
        return np.einsum("jab,jb->ja", self.axes, vectors)

    def pose_of(self, angles: Float[np.ndarray, "15 3"]) -> Float[np.ndarray, "45"]:
        """The pose of given angles of the finger joints, radians."""
        return np.einsum("jab,ja->jb", self.axes[1:], angles).reshape(45)

    def moved(self, parameters: HandParameters, number: int, value: float) -> HandParameters:
        """The parameters after slider `number` of the table was moved to `value`; its kind's other sliders stay."""
        slider = self.table[number]
        change = value - self.values(parameters)[number]
        if slider.kind == "shape":
            shape = parameters.shape.copy()
            shape[slider.index] = value
            return dataclasses.replace(parameters, shape=shape)
        if slider.kind == "coefficient":
            return dataclasses.replace(parameters, pose=parameters.pose + change * self.basis[slider.index])
        joint, axis = divmod(slider.index, 3)
        turn = np.radians(change) * self.axes[joint, axis]
        if joint == 0:
            return dataclasses.replace(parameters, rotation=parameters.rotation + turn)
        pose = parameters.pose.copy()
        pose[3 * joint - 3 : 3 * joint] += turn
        return dataclasses.replace(parameters, pose=pose)


@functools.cache
def named_angles() -> dict[str, Float[np.ndarray, "15 3"]]:
    """Joint angles, radians, of the open hand's named poses; they are anatomical, so they suit other models too."""
    poses = np.stack([named_pose(name) for name in ANGLES])
    angles = np.asarray(joint_angles(open_hand("right"), poses.astype(np.float32)), np.float64)
    return {name.replace("_", " "): one for name, one in zip(ANGLES, angles, strict=True)}


def shape_names(model: HandModel) -> tuple[str, ...]:
    """Names of the shape components: the documented ones if they are the open hand's, else their numbers."""
    documented = open_hand(model.side).shape_basis
    ours = model.shape_size <= documented.shape[2] and np.allclose(
        np.asarray(model.shape_basis, np.float32), np.asarray(documented)[..., : model.shape_size], atol=1e-5
    )
    return tuple(COMPONENTS[k].name if ours else f"component {k}" for k in range(model.shape_size))


def _table(model: HandModel) -> tuple[Slider, ...]:
    sliders = [
        Slider(SHAPE_FOLDER, name, "shape", k, -SHAPE_RANGE, SHAPE_RANGE, 0.05, k < 4)
        for k, name in enumerate(shape_names(model))
    ]
    limits = np.degrees(joint_limits())
    for finger in FINGERS:
        for joint, joint_name in enumerate(MODEL_JOINT_NAMES):
            if not joint_name.startswith(finger):
                continue
            first = joint % 3 == 1  # the only joint of a finger with more than one axis worth a slider of its own
            for axis, angle in enumerate(ANGLE_NAMES):
                low, high = limits[joint - 1, axis]
                name = f"{finger} {joint_name.split('_')[1].upper()} {angle}"
                # Inwards, so that what a slider allows is within the limits.
                low, high = math.ceil(low * 10) / 10, math.floor(high * 10) / 10
                main = axis == 0 or (first and axis == 1)
                sliders.append(Slider(finger, name, "angle", 3 * joint + axis, low, high, 0.1, main))
    sliders += [
        Slider(WRIST_FOLDER, f"wrist {angle}", "angle", axis, -180.0, 180.0, 0.5, True)
        for axis, angle in enumerate(ANGLE_NAMES)
    ]
    for k, deviation in enumerate(np.asarray(model.pose_standard_deviations, np.float64)):
        reach = math.ceil(100.0 * COEFFICIENT_SIGMAS * deviation) / 100 if deviation > 0 else 1.0
        sliders.append(Slider(COEFFICIENT_FOLDER, f"pose component {k}", "coefficient", k, -reach, reach, 0.01, k < 10))
    return tuple(sliders)
