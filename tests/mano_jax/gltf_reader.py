"""A small glTF 2.0 reader, written from the specification: enough to pose a skinned, animated mesh in float64."""

import json
import struct

import numpy as np

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Gltf:
    def __init__(self, content: bytes):
        magic, version, length = struct.unpack_from("<4sII", content)
        assert (magic, version, length) == (b"glTF", 2, len(content))
        chunks, at = {}, 12
        while at < length:
            size, kind = struct.unpack_from("<I4s", content, at)
            assert size % 4 == 0
            chunks[kind] = content[at + 8 : at + 8 + size]
            at += 8 + size
        self.tree = json.loads(chunks[b"JSON"])
        self.binary = chunks[b"BIN\x00"]
        assert self.tree["buffers"][0]["byteLength"] <= len(self.binary)

    def array(self, index: int) -> np.ndarray:
        accessor = self.tree["accessors"][index]
        view = self.tree["bufferViews"][accessor["bufferView"]]
        dtype = np.dtype(COMPONENTS[accessor["componentType"]])
        size = SIZES[accessor["type"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        assert start % dtype.itemsize == 0
        assert accessor["count"] * size * dtype.itemsize <= view["byteLength"]
        array = np.frombuffer(self.binary, dtype, accessor["count"] * size, start).reshape(-1, size)
        if "min" in accessor:
            np.testing.assert_array_equal(array.min(axis=0), np.array(accessor["min"], dtype))
            np.testing.assert_array_equal(array.max(axis=0), np.array(accessor["max"], dtype))
        return array

    def worlds(self, time: float | None = None) -> np.ndarray:
        """World matrix of every node [nodes, 4, 4], at rest in the file or at a time of its first animation."""
        nodes = [dict(node) for node in self.tree["nodes"]]
        if time is not None:
            animation = self.tree["animations"][0]
            for channel in animation["channels"]:
                sampler = animation["samplers"][channel["sampler"]]
                value = interpolated(self.array(sampler["input"])[:, 0], self.array(sampler["output"]), time)
                nodes[channel["target"]["node"]][channel["target"]["path"]] = value
        result = np.full((len(nodes), 4, 4), np.nan)

        def visit(index: int, parent: np.ndarray) -> None:
            result[index] = parent @ local(nodes[index])
            for child in nodes[index].get("children", []):
                visit(child, result[index])

        for root in self.tree["scenes"][self.tree["scene"]]["nodes"]:
            visit(root, np.eye(4))
        return result

    def skinned(self, time: float | None = None) -> np.ndarray:
        """Vertices of the first skinned mesh, in the world."""
        node = next(node for node in self.tree["nodes"] if "skin" in node)
        skin, primitive = self.tree["skins"][node["skin"]], self.tree["meshes"][node["mesh"]]["primitives"][0]
        binds = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64)
        matrices = self.worlds(time)[skin["joints"]] @ binds
        attributes = primitive["attributes"]
        points = self.array(attributes["POSITION"]).astype(np.float64)
        points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        result, number = np.zeros((len(points), 4)), 0
        while f"JOINTS_{number}" in attributes:
            joints, weights = (self.array(attributes[f"{kind}_{number}"]) for kind in ("JOINTS", "WEIGHTS"))
            result += np.einsum("vk,vkab,vb->va", weights.astype(np.float64), matrices[joints], points)
            number += 1
        return result[:, :3]


def local(node: dict) -> np.ndarray:
    x, y, z, w = np.asarray(node.get("rotation", (0.0, 0.0, 0.0, 1.0)), np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix


def interpolated(times: np.ndarray, values: np.ndarray, time: float) -> np.ndarray:
    """Linear, and renormalised where the values are quaternions (close enough to spherical between near frames)."""
    mixed = np.array([np.interp(time, times, column) for column in values.astype(np.float64).T])
    return mixed / np.linalg.norm(mixed) if values.shape[1] == 4 else mixed
