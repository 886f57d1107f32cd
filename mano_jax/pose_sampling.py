"""Random plausible poses: the model's pose statistics, within the joint limits, free of deep self-contact."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from mano_jax.anatomy import clip_to_limits
from mano_jax.contact import ContactSpheres, contact_spheres, separate
from mano_jax.model import HandModel
from mano_jax.pose_space import pose_from_coefficients


def sample_poses(
    model: HandModel,
    key: PRNGKeyArray,
    count: int,
    shape: Float[ArrayLike, "*#count shapes"] | None = None,
    spread: float = 1.0,
    spheres: ContactSpheres | None = None,
) -> Float[Array, "count 45"]:
    """`count` random poses, axis-angle from the flat hand, radians.

    Drawn from the Gaussian of the model's pose space, clipped to the joint limits, and moved by `separate` to the
    nearest pose in which no finger enters another or the palm. Pure: the same key gives the same poses, and the first
    poses of a larger count are those of a smaller one. Under `jit`, `count` is static.

    Args:
      model: the hand model.
      key: decides everything.
      count: how many.
      shape: of the hand that is not to enter itself, one for all or one a pose; the mean shape if not given.
      spread: the Gaussian's standard deviations as a multiple of the model's.
      spheres: `contact_spheres(model)`, to make them once for many calls.

    Raises:
      ValueError: `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, got {count}")
    spheres = contact_spheres(model) if spheres is None else spheres
    shape = jnp.zeros(model.shape_size, model.dtype) if shape is None else jnp.asarray(shape, model.dtype)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(count))
    draws = jax.vmap(lambda one: jax.random.normal(one, (45,), model.dtype))(keys)
    coefficients = draws * (jnp.asarray(spread, model.dtype) * model.pose_standard_deviations)[None]
    drawn = clip_to_limits(model, pose_from_coefficients(model, coefficients))
    return separate(model, spheres, drawn, shape)
