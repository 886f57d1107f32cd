"""Where to look from: rotations and translations that bring world points into a camera's frame."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from render_jax.shading import normalize


def look_at(
    eye: Float[Array, "3"], target: Float[Array, "3"], up: Float[Array, "3"]
) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
    """Rotation R and translation t, x_camera = R x_world + t, of a camera at `eye` with `target` in its middle.

    `up` points upwards on the picture (camera -y) as far as it can. If it is parallel to the line of sight or zero, the
    world axis least parallel to that line takes its place; if eye and target are one, the camera looks along +z.
    """
    forward = normalize(target - eye)
    forward = jnp.where((forward == 0).all(), jnp.asarray([0, 0, 1], forward.dtype), forward)
    sideways = jnp.cross(forward, normalize(up))
    # Within 1e-4 of parallel the direction would be rounding.
    parallel = (sideways * sideways).sum() < 1e-8
    other = jnp.eye(3, dtype=forward.dtype)[jnp.argmin(jnp.abs(forward))]
    right = normalize(jnp.cross(forward, jnp.where(parallel, other, up)))
    rotation = jnp.stack([right, jnp.cross(forward, right), forward])
    return rotation, -jnp.matmul(rotation, eye, precision=lax.Precision.HIGHEST)


def turntable(
    centre: Float[Array, "3"],
    distance: float,
    views: int,
    up: Float[Array, "3"],
    start: Float[Array, "3"],
    elevation: float = 0.0,
) -> tuple[Float[Array, "views 3 3"], Float[Array, "views 3"]]:
    """`views` cameras on a circle around `centre`, all looking at it; counter-clockwise seen from above.

    Args:
      centre: world point.
      distance: of every camera from it.
      views: how many, evenly spaced over the full circle.
      up: the axis of the turntable.
      start: direction from the centre towards the first camera; its part along `up` is dropped. Must not be parallel.
      elevation: angle above the circle's plane, radians.

    Returns:
      Rotations and translations as in `look_at`.
    """
    axis = normalize(up)
    first = normalize(start - (start * axis).sum() * axis)
    second = jnp.cross(axis, first)
    angle = jnp.arange(views, dtype=axis.dtype)[:, None] * (2 * jnp.pi / views)
    ring = jnp.cos(angle) * first[None] + jnp.sin(angle) * second[None]
    eyes = centre[None] + distance * (jnp.cos(elevation) * ring + jnp.sin(elevation) * axis[None])
    return jnp.vectorize(lambda eye: look_at(eye, centre, up), signature="(3)->(3,3),(3)")(eyes)
