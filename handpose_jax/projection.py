"""The projection operator [f_Reg, f_Ren]: a hand's mesh -> 21 joints and a soft mask, in the crop's [-1, 1] square.

Scaled orthography, differentiable end to end, and fixed: nothing here is trained. With V the mesh at its pose and
shape, in the model's own frame (metres), and V_m its middle MCP by the skeleton regressor,

    NDC mesh = scale * R(quaternion) (V - V_m) + (t_x, t_y, 0)

NDC: x right, y down, z forward, 2 units an edge of the crop. Source: Baek, Kim, Kim, "Pushing the Envelope for
RGB-based Dense 3D Hand Pose Estimation via Neural Rendering", CVPR 2019, Eq. 1; the frame is this project's [ours].
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

import mano_jax
import render_jax
from mano_jax import HandModel
from mano_jax.rotations import PRECISION, quaternion_to_matrix

ROOT = 9
"""The middle finger's MCP among the 21 keypoints: the origin of everything predicted."""


class NdcHand(NamedTuple):
    """A hand before a scaled-orthographic camera: what is projected.

    Attributes:
      pose: axis-angle of the 15 finger joints, from the flat hand.
      shape: shape coefficients.
      quaternion: unit (w, x, y, z), of the whole hand about its middle MCP, model frame -> camera axes.
      scale: NDC units per metre, > 0.
      translation: NDC position of the middle MCP.
    """

    pose: Float[Array, "*batch 45"]
    shape: Float[Array, "*batch shapes"]
    quaternion: Float[Array, "*batch 4"]
    scale: Float[Array, "*batch"]
    translation: Float[Array, "*batch 2"]


class NdcMesh(NamedTuple):
    """A projected hand without its mask.

    Attributes:
      vertices: NDC; z relative to the middle MCP, in the same units.
      joints_2d: 21 keypoints, NDC.
      joints_3d: 21 keypoints less the middle MCP, over 2: edges of the crop. The unit and origin of `norm` in Eq. 8.
      model_vertices: the mesh at its pose and shape in the model's own frame, metres: what a term on the surface looks
        at that is to leave scale and rotation alone.
    """

    vertices: Float[Array, "*batch vertices 3"]
    joints_2d: Float[Array, "*batch 21 2"]
    joints_3d: Float[Array, "*batch 21 3"]
    model_vertices: Float[Array, "*batch vertices 3"]


@dataclasses.dataclass(frozen=True)
class MaskOptions:
    """How masks are drawn. Static: another value compiles another program.

    Attributes:
      size: edge of the mask, pixels.
      sigma: blur of the outline, squared pixels of the mask.
      mode: "outline" or "softras", see `render_jax.soft_silhouette`.
    """

    # [ours] 64: the loss on a mask is a mean over pixels, and a hand some 40 pixels long has all its fingers apart.
    # Hand, mask and their gradient take 0.9 ms an image then, against 4.5 at 224 (batch 16, two CPU cores).
    size: int = 64
    # [ours] 1.25 px² at 64 pixels reaches 3.4 px, 12 px of a 224-pixel crop: as far as joints may be off while the mask
    # counts (Eq. 12's threshold).
    sigma: float = 1.25
    # [ours] The paper's renderer is Kato et al.'s, whose image is binary. Of the two soft masks here "outline" is the
    # unbiased one: fitted to a softened true mask it gives scale 1.001, "softras" fitted to a binary one 0.906.
    mode: str = "outline"


def project_mesh(model: HandModel, hand: NdcHand, tips: str = "745") -> NdcMesh:
    """Mesh and joints in NDC; any leading batch axes, the same on every leaf of `hand`.

    Joints are linear in the mesh (`mano_jax.regress_keypoints`), as the paper's f_Reg is: not those of the kinematic
    chain, from which they differ by millimetres where fingers bend.
    """
    zeros = jnp.zeros((3,), model.dtype)
    vertices = mano_jax.forward(model, hand.pose, hand.shape, zeros, zeros).vertices
    joints = mano_jax.regress_keypoints(model, vertices, tips)
    root = joints[..., ROOT : ROOT + 1, :]
    matrix = hand.scale[..., None, None] * quaternion_to_matrix(hand.quaternion)
    turned, turned_joints = (
        jnp.einsum("...ij,...kj->...ki", matrix, points - root, precision=PRECISION) for points in (vertices, joints)
    )
    translation = hand.translation[..., None, :]
    return NdcMesh(
        vertices=turned + jnp.pad(translation, [(0, 0)] * (translation.ndim - 1) + [(0, 1)]),
        joints_2d=turned_joints[..., :2] + translation,
        joints_3d=0.5 * turned_joints,
        model_vertices=vertices,
    )


def project_mask(
    model: HandModel,
    vertices: Float[Array, "*batch vertices 3"],
    options: MaskOptions,
    devices: Mesh | None = None,
    axis: str = "data",
) -> Float[Array, "*batch size size"]:
    """How much of each pixel of the crop an NDC mesh covers, in [0, 1]; any leading batch axes.

    Orthographic: depth plays no part, and no mesh is too near. A mesh with a coordinate that is not finite leaves its
    faces out (`render_jax.soft_silhouette`).

    Args:
      model: whose triangles.
      vertices: NDC.
      options: static.
      devices: where a batch is spread over devices, their mesh: each then draws its own share (otherwise each draws
        the whole batch). The batch then has one axis, which the devices share evenly.
      axis: the mesh's axis that the batch is spread over.
    """
    half = 0.5 * options.size
    pixels = (vertices[..., :2] + 1.0) * half
    screen = jnp.concatenate([pixels, jnp.ones_like(pixels[..., :1])], axis=-1)

    size = (options.size, options.size)
    if devices is not None:
        return render_jax.sharded_soft_silhouettes(
            screen, model.faces, size, options.sigma, mesh=devices, axis=axis, mode=options.mode
        )

    def draw(corners: Float[Array, "vertices 3"]) -> Float[Array, "size size"]:
        return render_jax.soft_silhouette(corners, model.faces, size, options.sigma, mode=options.mode)

    batch = screen.shape[:-2]
    masks = jax.vmap(draw)(screen.reshape(-1, *screen.shape[-2:]))
    return masks.reshape(*batch, options.size, options.size)


def mask_target(mask: Float[Array, "*batch size size"], options: MaskOptions) -> Float[Array, "*batch size size"]:
    """What a mask drawn with `options` is to be compared with: the true mask, softened alike in "outline" mode.

    A blurred mask compared with a binary one fits best a little too small; see `render_jax.soften_mask`. No gradient.
    """
    if options.mode != "outline":
        return mask
    flat = mask.reshape(-1, *mask.shape[-2:])
    return jax.vmap(lambda one: render_jax.soften_mask(one, options.sigma))(flat).reshape(mask.shape)


@functools.partial(jax.jit, static_argnames=("options", "tips"))
def project(
    model: HandModel, hand: NdcHand, options: MaskOptions = MaskOptions(), tips: str = "745"
) -> tuple[NdcMesh, Float[Array, "*batch size size"]]:
    """f_Proj: mesh, joints and mask of a hand, or of a batch of hands at once (leading axes; do not `vmap` needlessly).

    Args:
      model: right-hand model (left hands are mirrored on the way in).
      hand: what to project.
      options: static; its `size` is the mask's.
      tips: convention of the fingertip vertices.
    """
    mesh = project_mesh(model, hand, tips)
    return mesh, project_mask(model, mesh.vertices, options)
