"""Backgrounds made of nothing: gradients, clouds of noise with an image's spectrum, shapes out of focus."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from handpose_jax.synthesis.colour import encoded, linear_from_lab

_SHAPES = 9
_COLOUR_DRAWS = 9


def sample_background(
    key: PRNGKeyArray,
    size: int,
    detail: tuple[float, float] = (0.01, 0.07),
    exponent: tuple[float, float] = (1.1, 1.7),
) -> Float[Array, "size size 3"]:
    """A random picture without hands, display values in [0, 1].

    Args:
      key: decides everything.
      size: edge, pixels.
      detail: range of the noise's amplitude.
      exponent: range of its exponent, see `clouds`.
    """
    colour_key, shape_key, cloud_key = jax.random.split(key, 3)
    draws = jax.random.uniform(colour_key, (_COLOUR_DRAWS + 4,))
    picture = gradient(draws[-4], size, *palette(draws[:_COLOUR_DRAWS])[:2])
    amount = jnp.where(draws[-3] < 0.8, 1.0, 0.0)
    picture = shapes(shape_key, picture, palette(draws[:_COLOUR_DRAWS]), amount)
    amplitude = detail[0] + (detail[1] - detail[0]) * draws[-2] ** 2
    noise = clouds(cloud_key, size, exponent[0] + (exponent[1] - exponent[0]) * draws[-1])
    return jnp.clip(picture + amplitude * noise, 0.0, 1.0)


def cut_out(
    key: PRNGKeyArray, pictures: Float[Array, "pictures height width 3"], size: int
) -> Float[Array, "size size 3"]:
    """A random square of a random picture, mirrored or not; display values in [0, 1].

    Args:
      key: decides everything.
      pictures: at least `size` high and wide; floats in [0, 1] or uint8.
      size: edge of the square, pixels.

    Raises:
      ValueError: pictures of another shape, or smaller than the square.
    """
    if pictures.ndim != 4 or pictures.shape[0] < 1 or pictures.shape[3] != 3 or min(pictures.shape[1:3]) < size:
        raise ValueError(
            f"expected backgrounds of shape (pictures, height, width, 3), at least {size} pixels high and wide, got "
            f"{pictures.shape}; resize them"
        )
    draws = jax.random.uniform(key, (4,))
    limits = np.array([pictures.shape[0], pictures.shape[1] - size + 1, pictures.shape[2] - size + 1], np.float32)
    # A product of a number just below 1 may round up to the limit; dynamic_slice moves such a start back.
    start = jnp.floor(draws[:3] * limits).astype(jnp.int32)
    cut = jax.lax.dynamic_slice(pictures, (start[0], start[1], start[2], jnp.int32(0)), (1, size, size, 3))[0]
    cut = cut.astype(jnp.float32) / 255.0 if cut.dtype == jnp.uint8 else cut.astype(jnp.float32)
    return jnp.where(draws[3] < 0.5, cut, cut[:, ::-1])


def palette(draws: Float[Array, "9"]) -> Float[Array, "4 3"]:
    """Four display colours: of one hue, its neighbours and a contrast; mostly muted, as rooms and streets are.

    Args:
      draws: uniform in [0, 1].
    """
    hues = 2 * jnp.pi * draws[0] + jnp.asarray([0.0, 0.35, 0.9, np.pi])
    lightness, chroma = 20.0 + 68.0 * draws[1:5], 34.0 * draws[5:9] ** 2
    lab = jnp.stack([lightness, chroma * jnp.cos(hues), chroma * jnp.sin(hues)], axis=1)
    return encoded(jax.vmap(linear_from_lab)(lab))


def gradient(
    turn: Float[Array, ""] | float, size: int, one: Float[Array, "3"], other: Float[Array, "3"]
) -> Float[Array, "size size 3"]:
    """From one colour to another, in a direction given in turns, with darker corners."""
    angle = 2 * jnp.pi * turn
    u, v = _coordinates(size)
    share = jnp.clip(0.5 + 0.4 * (u * jnp.cos(angle) + v * jnp.sin(angle)), 0.0, 1.0)[..., None]
    vignette = 1.0 - 0.12 * (u * u + v * v)[..., None]
    return (one[None, None] + share * (other - one)[None, None]) * vignette


def clouds(key: PRNGKeyArray, size: int, exponent: Float[Array, ""] | float) -> Float[Array, "size size 3"]:
    """Noise whose amplitude falls as frequency^-exponent (photographs: 1 to 1.2); mostly grey, mean 0, deviation 1."""
    noise = jax.random.normal(key, (4, size, size))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]).astype(np.float32)
    with np.errstate(divide="ignore"):
        logarithm = np.where(frequency > 0, np.log(frequency), np.inf)  # the mean vanishes
    spectrum = jnp.fft.rfft2(noise) * jnp.exp(-exponent * logarithm)[None]
    waves = jnp.fft.irfft2(spectrum, s=(size, size))
    waves = waves / jnp.sqrt(jnp.mean(waves * waves, axis=(1, 2), keepdims=True))
    return 0.98 * waves[0][..., None] + 0.20 * jnp.moveaxis(waves[1:], 0, -1)


def shapes(
    key: PRNGKeyArray, picture: Float[Array, "s s 3"], colours: Float[Array, "4 3"], amount: Float[Array, ""] | float
) -> Float[Array, "s s 3"]:
    """Ellipses and rectangles, turned, each more or less out of focus, laid over a picture."""
    u, v = _coordinates(picture.shape[0])

    def lay(picture: Array, draws: Array) -> tuple[Array, None]:
        centre, extent = 2.2 * draws[:2] - 1.1, 0.12 + 0.55 * draws[2:4] ** 1.5
        angle, soft, opaque, kind, index, brightness = draws[4:]
        cosine, sine = jnp.cos(jnp.pi * angle), jnp.sin(jnp.pi * angle)
        x = ((u - centre[0]) * cosine + (v - centre[1]) * sine) / extent[0]
        y = ((v - centre[1]) * cosine - (u - centre[0]) * sine) / extent[1]
        ellipse = jnp.sqrt(x * x + y * y + 1e-9)
        box = jnp.maximum(jnp.abs(x), jnp.abs(y))
        radius = jnp.where(kind < 0.5, ellipse, box)
        inside = jax.nn.sigmoid((1.0 - radius) * extent.min() / (0.008 + 0.06 * soft))
        colour = colours[(4.0 * index).astype(jnp.int32)] * (0.75 + 0.5 * brightness)
        share = (amount * (0.35 + 0.6 * opaque) * inside)[..., None]
        return picture + share * (colour[None, None] - picture), None

    return jax.lax.scan(lay, picture, jax.random.uniform(key, (_SHAPES, 10)))[0]


def _coordinates(size: int) -> tuple[Float[Array, "s s"], Float[Array, "s s"]]:
    """Pixel centres from -1 to 1, right and down."""
    line = jnp.asarray((2 * np.arange(size) + 1.0) / size - 1.0, jnp.float32)
    return jnp.broadcast_to(line[None], (size, size)), jnp.broadcast_to(line[:, None], (size, size))
