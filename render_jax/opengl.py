"""Cameras as OpenGL's matrices and back: for viewers, Blender, pyrender, nvdiffrast and glTF.

OpenGL's eye looks along -z with y up, so a camera frame turns by diag(1, -1, -1). Its clip space is the cube -1 ... 1
after division by w, y up, with z = -1 at the near and +1 at the far plane. Matrices act on column vectors. Row 0 of an
image is its top: pictures that OpenGL hands over bottom row first must be turned over.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from render_jax.cameras import Pinhole, Scalar, WeakPerspective


def opengl_projection(
    camera: Pinhole | WeakPerspective, image_size: tuple[int, int], near: Scalar = 0.01, far: Scalar = 100.0
) -> Float[Array, "4 4"]:
    """The projection matrix of a camera: points in OpenGL's eye frame -> clip space.

    u = (x / w + 1) width / 2 and v = (1 - y / w) height / 2 of the result are the camera's pixels, off-centre principal
    points and fx != fy included.

    Args:
      camera: of the image. For a `WeakPerspective` the matrix is orthographic.
      image_size: (height, width).
      near: depth of the near plane, metres, > 0.
      far: depth of the far plane, metres.
    """
    height, width = image_size
    if isinstance(camera, WeakPerspective):
        left, top = camera.translation[0], camera.translation[1]
        across, down = 2 * camera.scale / width, 2 * camera.scale * camera.aspect / height
        rows = [
            [across, 0, 0, 2 * left / width - 1],
            [0, down, 0, 1 - 2 * top / height],
            [0, 0, -2 / (far - near), -(far + near) / (far - near)],
            [0, 0, 0, 1],
        ]
    else:
        rows = [
            [2 * camera.fx / width, 0, 1 - 2 * camera.cx / width, 0],
            [0, 2 * camera.fy / height, 2 * camera.cy / height - 1, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    dtype = jnp.result_type(*(value for row in rows for value in row), jnp.float32)
    return jnp.stack([jnp.stack([jnp.asarray(value, dtype) for value in row]) for row in rows])


def pinhole_from_opengl(projection: Float[Array, "4 4"], image_size: tuple[int, int]) -> Pinhole:
    """The pinhole of a perspective projection matrix without skew; undoes `opengl_projection`.

    Raises:
      ValueError: not a 4x4 matrix.
    """
    if projection.shape != (4, 4):
        raise ValueError(f"expected a 4x4 projection matrix, not {projection.shape}; use jax.vmap for a batch")
    height, width = image_size
    return Pinhole(
        fx=projection[0, 0] * width / 2,
        fy=projection[1, 1] * height / 2,
        cx=(1 - projection[0, 2]) * width / 2,
        cy=(1 + projection[1, 2]) * height / 2,
    )


def opengl_view(rotation: Float[Array, "3 3"], translation: Float[Array, "3"]) -> Float[Array, "4 4"]:
    """The view matrix, world -> OpenGL's eye, of x_camera = R x_world + t (`look_at`).

    Its inverse is the camera's pose that Blender, pyrender, trimesh and glTF ask for.
    """
    turned = jnp.concatenate([rotation, translation[:, None]], axis=1) * _turn(rotation.dtype)
    return jnp.concatenate([turned, jnp.asarray([[0, 0, 0, 1]], rotation.dtype)])


def pose_from_opengl(view: Float[Array, "4 4"]) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
    """R and t, x_camera = R x_world + t, of a view matrix; undoes `opengl_view`.

    For a camera's *pose* (camera -> world, as Blender and glTF give it) invert the matrix first.

    Raises:
      ValueError: not a 4x4 matrix.
    """
    if view.shape != (4, 4):
        raise ValueError(f"expected a 4x4 view matrix, not {view.shape}; use jax.vmap for a batch")
    turned = _turn(view.dtype) * view[:3]
    return turned[:, :3], turned[:, 3]


def _turn(dtype) -> Float[Array, "3 1"]:
    return jnp.asarray([[1], [-1], [-1]], dtype)
