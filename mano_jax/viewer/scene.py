"""What the served page shows of a hand, as arrays: surface with a lid, parts, skeleton, joint axes, textured GLB."""

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mano_jax.keypoints import CANONICAL_FROM_MODEL_AND_TIPS, KEYPOINT_PARENTS
from mano_jax.mirror import REFLECTION
from mano_jax.model import HandModel
from mano_jax.open_hand_model import OpenHandUV
from mano_jax.surface import PART_NAMES, face_parts, vertex_normals
from mano_jax.viewer.appearance import PART_COLOURS, lid_of

KEYPOINT_COLOURS = np.array([PART_COLOURS["palm"]] + [PART_COLOURS[name] for name in PART_NAMES[1:] for _ in range(4)])
"""sRGB of the 21 keypoints, and of the bones that lead to them."""


class Surface(NamedTuple):
    """Triangles to draw. The lid on the wrist has vertices of its own, so that shading breaks at its rim.

    Attributes:
      sources: for each vertex drawn, the model's vertex.
      faces: triangles of the vertices drawn, the lid's last.
      parts: for each part, its triangles; the palm's with the lid.
    """

    sources: Int[np.ndarray, " drawn"]
    faces: Int[np.ndarray, "faces 3"]
    parts: tuple[Int[np.ndarray, "some 3"], ...]


def surface_of(model: HandModel) -> Surface:
    """The surface of a model of one side; for its mirror image turn the triangles round."""
    count, lid = model.template.shape[0], lid_of(model)
    rim, places = np.unique(lid, return_inverse=True)
    lid = (count + places).reshape(-1, 3)
    skin, labels = np.asarray(model.faces), face_parts(model)
    parts = [skin[labels == part] for part in range(len(PART_NAMES))]
    parts[0] = np.concatenate([parts[0], lid])
    return Surface(np.concatenate([np.arange(count), rim]), np.concatenate([skin, lid]), tuple(parts))


class PosedHand(NamedTuple):
    """One evaluated hand, float64, in the frame of its own side's model."""

    vertices: Float[np.ndarray, "vertices 3"]
    joints: Float[np.ndarray, "16 3"]
    axes: Float[np.ndarray, "16 3 3"]  # rows: flexion, abduction, twist, carried along by the joints

    def mirrored(self) -> "PosedHand":
        signs = np.array(REFLECTION)
        # Axes of rotation: the mirror turns them as it turns axis-angle vectors.
        return PosedHand(self.vertices * signs, self.joints * signs, self.axes * -signs)

    def keypoints(self, tips: tuple[int, ...]) -> Float[np.ndarray, "21 3"]:
        return np.concatenate([self.joints, self.vertices[list(tips)]])[list(CANONICAL_FROM_MODEL_AND_TIPS)]


def bone_segments(keypoints: Float[np.ndarray, "21 3"]) -> tuple[np.ndarray, np.ndarray]:
    """[20, 2, 3] ends and [20, 2, 3] colours of the lines between the keypoints."""
    ends = np.stack([keypoints[list(KEYPOINT_PARENTS[1:])], keypoints[1:]], axis=1)
    return ends, np.repeat(KEYPOINT_COLOURS[1:, None], 2, axis=1).astype(np.uint8)


def axis_segments(hand: PosedHand, length: float = 0.014) -> tuple[np.ndarray, np.ndarray]:
    """[48, 2, 3] ends and colours of the joints' axes: flexion red, abduction green, twist blue."""
    start = np.repeat(hand.joints[:, None], 3, axis=1)
    ends = np.stack([start, start + length * hand.axes], axis=2).reshape(48, 2, 3)
    colours = np.tile(np.array([(224, 72, 62), (63, 163, 77), (59, 120, 216)], np.uint8), (16, 1))
    return ends, np.repeat(colours[:, None], 2, axis=1)


def textured_glb(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    atlas: OpenHandUV,
    jpeg: bytes,
    opacity: float = 1.0,
) -> bytes:
    """A GLB file of the mesh with its skin, in the frame that the vertices are in."""
    from PIL import Image
    from trimesh import Trimesh
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    sources = np.zeros(len(atlas.coordinates), np.int64)
    sources[atlas.faces] = faces
    material = PBRMaterial(
        name="skin",
        baseColorTexture=Image.open(io.BytesIO(jpeg)),
        baseColorFactor=(1.0, 1.0, 1.0, opacity),
        alphaMode="OPAQUE" if opacity == 1.0 else "BLEND",
        metallicFactor=0.0,
        roughnessFactor=0.6,
        doubleSided=True,
    )
    visual = TextureVisuals(uv=atlas.coordinates, material=material)
    # With normals, or three.js shades each triangle flat.
    normals = np.asarray(vertex_normals(vertices.astype(np.float32), faces))[sources]
    mesh = Trimesh(vertices[sources], atlas.faces, vertex_normals=normals, visual=visual, process=False)
    content = mesh.export(file_type="glb", include_normals=True)
    assert isinstance(content, bytes)
    return content
