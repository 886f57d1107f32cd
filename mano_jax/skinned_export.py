"""A skinned, animated hand as one GLB file, for Blender, Unity, Unreal, three.js and whatever else reads glTF 2.0.

Written here, byte by byte, with NumPy alone: trimesh writes no skins, and the format is small. glTF blends bones
linearly, as the hand model does, but knows no pose correctives: they are left out, so that bent joints are a little
thinner than `forward` makes them.
"""

import json
import os
import pathlib
import struct
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float

from mano_jax.keypoints import MODEL_JOINT_NAMES
from mano_jax.model import HandModel
from mano_jax.rotations import axis_angle_to_quaternion
from mano_jax.surface import closed_faces, vertex_normals

_FLOAT, _UNSIGNED_BYTE, _UNSIGNED_SHORT = 5126, 5121, 5123
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
_SKIN_COLOUR = (0.84, 0.67, 0.58, 1.0)


def write_skinned_glb(path: str | os.PathLike, model: HandModel, *arguments, **options) -> None:
    """Write what `skinned_glb` returns; the file appears whole or not at all.

    Raises:
      ValueError: the path does not end in .glb, or as `skinned_glb`.
      OSError: the file cannot be written.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".glb":
        raise ValueError(f"{path}: a skinned hand is written as .glb only")
    content = skinned_glb(model, *arguments, **options)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def skinned_glb(
    model: HandModel,
    pose: Float[ArrayLike, "*frames 45"],
    shape: Float[ArrayLike, "shapes"],
    rotation: Float[ArrayLike, "*#frames 3"],
    translation: Float[ArrayLike, "*#frames 3"],
    *,
    frames_per_second: float = 30.0,
    camera_frame: bool = False,
    closed: bool = True,
    name: str = "hand",
) -> bytes:
    """A GLB file of a hand with a skeleton of 16 named joints, its mesh bound to them, and its motion.

    Args:
      model: the whole hand.
      pose: as for `forward`; with a leading axis of frames there is an animation, without one the hand stands still.
      shape: one shape; it is in the mesh and in the lengths of the bones.
      rotation: of the wrist, one or one a frame.
      translation: metres, one or one a frame.
      frames_per_second: of the animation.
      camera_frame: the parameters are in OpenCV's camera frame (y down, z forward). glTF demands y up: a node above the
        wrist then turns the hand by half a circle about x. False for parameters in a frame whose y is up.
      closed: with the lid on the wrist.
      name: of the mesh and the animation.

    Raises:
      ValueError: arrays of other shapes, numbers that are not finite, or a rate that is not positive.
    """
    pose, shape, rotation, translation = (
        np.asarray(array, np.float64) for array in (pose, shape, rotation, translation)
    )
    if shape.ndim != 1 or shape.shape[0] > model.shape_size:
        raise ValueError(f"shape must be one vector of at most {model.shape_size} numbers, got {list(shape.shape)}")
    if pose.ndim not in (1, 2) or pose.shape[-1] != 45:
        raise ValueError(f"pose must have shape [45] or [frames, 45], got {list(pose.shape)}")
    if not all(np.isfinite(array).all() for array in (pose, shape, rotation, translation)):
        raise ValueError("a hand with parameters that are not finite cannot be written; leave frames out that failed")
    if frames_per_second <= 0.0:
        raise ValueError(f"frames_per_second must be positive, got {frames_per_second}")
    frames = pose.shape[0] if pose.ndim == 2 else 1
    pose, rotation, translation = (
        np.broadcast_to(array, (frames, array.shape[-1])) for array in (pose, rotation, translation)
    )
    shaped = model.shaped(shape)
    rest = np.asarray(shaped.joint_template, np.float64)
    vectors = np.concatenate([rotation, pose], axis=1).reshape(frames, 16, 3)
    quaternions = _continuous(np.asarray(axis_angle_to_quaternion(vectors.astype(np.float32)), np.float64))  # pyright: ignore
    wrist = rest[0] + translation

    file = _Glb()
    faces = closed_faces(model) if closed else np.asarray(model.faces)
    primitive = _primitive(file, shaped, faces)
    joints = range(1, 17)
    nodes: list[dict[str, Any]] = [{"name": name, "mesh": 0, "skin": 0}]
    for joint, (label, parent) in enumerate(zip(MODEL_JOINT_NAMES, model.parents, strict=True)):
        offset = wrist[0] if parent < 0 else rest[joint] - rest[parent]
        children = [1 + child for child, of in enumerate(model.parents) if of == joint]
        node = {"name": label, "translation": offset.tolist(), "rotation": quaternions[0, joint].tolist()}
        nodes.append(node | ({"children": children} if children else {}))
    # Half a turn about x, from OpenCV's camera frame to y up; the identity otherwise.
    nodes.append(
        {"name": f"{name}_frame", "rotation": [float(camera_frame), 0.0, 0.0, float(not camera_frame)], "children": [1]}
    )
    binds = np.tile(np.eye(4), (16, 1, 1))
    binds[:, :3, 3] = -rest
    tree: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": "mano_jax",
            "extras": {"units": "metres", "side": model.side, "pose_correctives": "left out"},
        },
        "scene": 0,
        "scenes": [{"nodes": [0, 17]}],
        "nodes": nodes,
        "meshes": [{"name": name, "primitives": [primitive]}],
        "materials": [
            {
                "name": "skin",
                "pbrMetallicRoughness": {
                    "baseColorFactor": _SKIN_COLOUR,
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.6,
                },
            }
        ],
        # glTF stores matrices column by column.
        "skins": [
            {
                "joints": [*joints],
                "skeleton": 1,
                "inverseBindMatrices": file.add(binds.transpose(0, 2, 1).reshape(16, 16).astype(np.float32), "MAT4"),
            }
        ],
    }
    if frames > 1:
        tree["animations"] = [_animation(file, name, quaternions, wrist, frames_per_second)]
    return file.content(tree)


def _primitive(file: "_Glb", shaped: HandModel, faces: np.ndarray) -> dict[str, Any]:
    vertices = np.asarray(shaped.template, np.float32)
    weights = np.asarray(shaped.skinning_weights, np.float64)
    attributes = {
        "POSITION": file.add(vertices, "VEC3", _VERTEX_BUFFER, with_range=True),
        "NORMAL": file.add(np.asarray(vertex_normals(vertices, faces), np.float32), "VEC3", _VERTEX_BUFFER),
    }
    # Four joints a vertex in each set; as many sets as the vertex with most joints needs.
    order = np.argsort(-weights, axis=1, kind="stable")
    for number in range(-(-int((weights > 0.0).sum(axis=1).max()) // 4)):
        chosen = order[:, 4 * number : 4 * number + 4]
        share = np.take_along_axis(weights, chosen, axis=1)
        chosen = np.where(share > 0.0, chosen, 0)  # The standard asks for joint 0 where the weight is 0.
        attributes[f"JOINTS_{number}"] = file.add(chosen.astype(np.uint8), "VEC4", _VERTEX_BUFFER)
        attributes[f"WEIGHTS_{number}"] = file.add(share.astype(np.float32), "VEC4", _VERTEX_BUFFER)
    indices = file.add(faces.reshape(-1, 1).astype(np.uint16), "SCALAR", _INDEX_BUFFER)
    return {"attributes": attributes, "indices": indices, "material": 0}


def _animation(
    file: "_Glb", name: str, quaternions: np.ndarray, wrist: np.ndarray, frames_per_second: float
) -> dict[str, Any]:
    times = (np.arange(len(wrist)) / frames_per_second).astype(np.float32)[:, None]
    clock = file.add(times, "SCALAR", with_range=True)
    outputs = [(1, "translation", file.add(wrist.astype(np.float32), "VEC3"))]
    for joint in range(16):
        outputs.append((1 + joint, "rotation", file.add(quaternions[:, joint].astype(np.float32), "VEC4")))
    return {
        "name": name,
        "samplers": [{"input": clock, "output": output, "interpolation": "LINEAR"} for _, _, output in outputs],
        "channels": [
            {"sampler": sampler, "target": {"node": node, "path": path}}
            for sampler, (node, path, _) in enumerate(outputs)
        ],
    }


def _continuous(quaternions: Float[np.ndarray, "frames 16 4"]) -> Float[np.ndarray, "frames 16 4"]:
    """(w, x, y, z) to glTF's (x, y, z, w), unit, with signs so that each frame is nearest to the one before."""
    result = np.concatenate([quaternions[..., 1:], quaternions[..., :1]], axis=-1)
    result = result / np.linalg.norm(result, axis=-1, keepdims=True)
    flips = np.sign(np.sum(result[1:] * result[:-1], axis=-1))
    result[1:] *= np.cumprod(np.where(flips < 0.0, -1.0, 1.0), axis=0)[..., None]
    return result


class _Glb:
    """Arrays gathered into one binary chunk, each with its view and accessor."""

    def __init__(self):
        self.binary = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, kind: str, target: int | None = None, with_range: bool = False) -> int:
        """Index of the accessor of an array [count, components]."""
        array = np.ascontiguousarray(array)
        component = {"f4": _FLOAT, "u1": _UNSIGNED_BYTE, "u2": _UNSIGNED_SHORT}[array.dtype.str[1:]]
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        accessor: dict[str, Any] = {"bufferView": len(self.views) - 1, "componentType": component, "type": kind}
        accessor["count"] = len(array)
        if with_range:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.accessors.append(accessor)
        self.binary += array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        self.binary += b"\x00" * (-len(self.binary) % 4)
        return len(self.accessors) - 1

    def content(self, tree: dict[str, Any]) -> bytes:
        tree = tree | {
            "buffers": [{"byteLength": len(self.binary)}],
            "bufferViews": self.views,
            "accessors": self.accessors,
        }
        text = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.binary)
        head = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
        return head + text + struct.pack("<I4s", len(self.binary), b"BIN\x00") + bytes(self.binary)
