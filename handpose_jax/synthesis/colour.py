"""Colour spaces: sRGB display values and linear light, CIELAB."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Source: IEC 61966-2-1, D65.
_RGB_FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def encoded(linear: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """sRGB display values in [0, 1] of linear light, clipped."""
    linear = jnp.clip(linear, 0.0, 1.0)
    dark = linear <= 0.0031308
    return jnp.where(dark, 12.92 * linear, 1.055 * jnp.where(dark, 1.0, linear) ** (1 / 2.4) - 0.055)


def decoded(display: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Linear light of sRGB display values in [0, 1]."""
    dark = display <= 0.04045
    return jnp.where(dark, display / 12.92, ((jnp.where(dark, 1.0, display) + 0.055) / 1.055) ** 2.4)


def linear_from_lab(lab: Float[Array, "3"]) -> Float[Array, "3"]:
    """Linear RGB in [0, 1] of CIELAB (L* in [0, 100]), D65; colours outside the gamut are clipped."""
    lightness = (lab[0] + 16.0) / 116.0
    f = jnp.stack([lightness + lab[1] / 500.0, lightness, lightness - lab[2] / 200.0])
    dark = f <= 6.0 / 29.0
    xyz = jnp.where(dark, (f - 4.0 / 29.0) * 3.0 * (6.0 / 29.0) ** 2, f**3) * jnp.asarray(_WHITE, lab.dtype)
    rgb = jnp.sum(jnp.asarray(_RGB_FROM_XYZ, lab.dtype) * xyz[None], axis=1)
    return jnp.clip(rgb, 0.0, 1.0)
