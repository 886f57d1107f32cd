"""The texture of a hand from six pictures of it: `python -m docs.examples.fit_texture --out=DIR`.

Mesh and cameras are known. By gradient descent on the texels, which enter the pictures by bilinear look-up, and beside
it read off the pictures directly. Prints the PSNR of a seventh view and writes fit_texture.gif; half a minute.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

import mano_jax
import render_jax
from docs.examples import animation
from docs.examples.descent import descend
from docs.examples.hands import camera_of, hand_vertices, start_hand
from mano_jax.open_hand_model.texture import skin_texture

STEP_SIZES = (0.03,)  # of colours in [0, 1]


def views_around(vertices: Float[Array, "vertices 3"], views: int, offset: float) -> Float[Array, "views vertices 3"]:
    """The mesh as cameras all around it see it, from 15 degrees above; `offset` turns all of them (radians)."""
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    start = jnp.array([jnp.sin(offset), 0.0, -jnp.cos(offset)])
    rotations, translations = render_jax.turntable(
        middle, distance=0.48, views=views, up=jnp.array([0.0, -1.0, 0.0]), start=start, elevation=0.26
    )
    return jnp.einsum("kab,vb->kva", rotations, vertices, precision="highest") + translations[:, None]


@functools.partial(jax.jit, static_argnames="size")
@functools.partial(jax.vmap, in_axes=(0, None, None, None))
def seen_places(
    vertices: Float[Array, "vertices 3"], faces: Array, corner_uv: Float[Array, "faces 3 2"], size: int
) -> tuple[Float[Array, "size size 2"], Bool[Array, "size size"]]:
    """Texture coordinates of what every pixel sees, and where there is something to be seen."""
    fragments = render_jax.rasterize(camera_of((size, size)).to_screen(vertices), faces, (size, size))
    return render_jax.interpolate(fragments, corner_uv), fragments.mask


@functools.partial(jax.jit, static_argnames=("texture_size", "steps"))
def texture_by_descent(
    images: Float[Array, "views size size 3"],
    places: Float[Array, "views size size 2"],
    masks: Bool[Array, "views size size"],
    texture_size: int,
    steps: int = 100,
) -> tuple[Array, Array]:
    """The texture found, and those on the way to it. Texels that no pixel sees stay as grey as they were."""

    def loss(texture, step):
        shown = render_jax.sample_texture(texture, places)
        return (jnp.where(masks[..., None], shown - images, 0) ** 2).sum()

    return descend(loss, jnp.full((texture_size, texture_size, 3), 0.5), STEP_SIZES, steps)


@functools.partial(jax.jit, static_argnames="texture_size")
def unseen_filled(
    model: mano_jax.HandModel, texture: Float[Array, "texels texels 3"], places: Array, masks: Array, texture_size: int
) -> Float[Array, "texels texels 3"]:
    """Texels that no pixel sees get the colour of their neighbours on the surface."""

    def total(weights):
        return jnp.where(masks, render_jax.sample_texture(weights, places), 0).sum()

    # The gradient of a look-up is its weights: how much the pixels have to do with each texel.
    weight = jax.grad(total)(jnp.ones((texture_size, texture_size)))
    uv = mano_jax.open_hand_uv()
    atlas = render_jax.rasterize_atlas(uv.coordinates, uv.faces, texture_size)
    return render_jax.fill_texture(texture, weight, atlas, model.faces, len(model.template))


def texture_by_extraction(
    model: mano_jax.HandModel, images: Array, vertices: Float[Array, "views vertices 3"], texture_size: int
) -> Float[Array, "texels texels 3"]:
    """Every texel looked up where each picture shows it; the mean of those, the squarely seen ones counting more."""
    uv = mano_jax.open_hand_uv()
    camera = camera_of((images.shape[1], images.shape[2]))

    @jax.jit
    @jax.vmap
    def extract(image, vertices):
        arguments = image, vertices, model.faces, camera, uv.coordinates, uv.faces, texture_size
        return render_jax.extract_texture(*arguments, outline_margin=0)  # the pictures' outlines are hard

    # The mean is not compiled with it: XLA for CPUs (jaxlib 0.10.2) gives all channels the red one's values there.
    extracted = extract(images, vertices)
    weight = extracted.weight.sum(axis=0)
    divisor = jnp.where(weight > 0, weight, 1)[..., None]
    texture = (extracted.weight[..., None] * extracted.texture).sum(axis=0) / divisor
    atlas = render_jax.rasterize_atlas(uv.coordinates, uv.faces, texture_size)
    return render_jax.fill_texture(texture, weight, atlas, model.faces, len(model.template))


def psnr(image: Float[Array, "size size 3"], truth: Float[Array, "size size 3"], mask: Bool[Array, "size size"]):
    """Decibels, over the pixels of the mask."""
    return float(-10 * jnp.log10(((image - truth) ** 2)[mask].mean()))


def main(out: pathlib.Path, size: int = 200, texture_size: int = 256, shown_size: int = 160) -> None:
    model, uv = mano_jax.open_hand(), mano_jax.open_hand_uv()
    corner_uv = jnp.asarray(uv.coordinates)[uv.faces]
    true_texture = jnp.asarray(skin_texture(texture_size), jnp.float32) / 255
    hand = hand_vertices(model, start_hand(model))
    vertices, other = views_around(hand, 6, offset=0.3), views_around(hand, 6, offset=0.8)[:1]
    places, masks = seen_places(vertices, model.faces, corner_uv, size)
    images = jnp.where(masks[..., None], render_jax.sample_texture(true_texture, places), 1)

    found, path = texture_by_descent(images, places, masks, texture_size)
    by_descent = unseen_filled(model, found, places, masks, texture_size)
    by_extraction = texture_by_extraction(model, images, vertices, texture_size)
    other_places, other_masks = (one[0] for one in seen_places(other, model.faces, corner_uv, size))
    truth = render_jax.sample_texture(true_texture, other_places)
    for name, texture in (("descent", by_descent), ("extraction", by_extraction)):
        seventh = psnr(render_jax.sample_texture(texture, other_places), truth, other_masks)
        same = psnr(render_jax.sample_texture(texture, places), images, masks)
        print(f"by {name}: PSNR of the six views {same:.1f} dB, of a seventh {seventh:.1f} dB")

    @jax.jit
    def view_of(texture):
        camera = camera_of((shown_size, shown_size))
        colours = render_jax.UVTexture(texture, uv.coordinates, uv.faces)
        lights = render_jax.ambient_light()
        return render_jax.render(
            other[0], model.faces, camera, (shown_size, shown_size), colours=colours, lights=lights
        ).image

    true_view = animation.panel(view_of(true_texture))
    frames = []
    for step, texture in [*animation.some_of(path, found, frames=24), ("filled", by_descent)]:
        atlas = animation.panel(texture).resize((shown_size, shown_size))
        titles = f"step {step}" if step != "filled" else "unseen texels filled", "a seventh view", "its truth"
        panels = atlas, animation.panel(view_of(texture)), true_view
        frames.append(animation.frame(list(zip(titles, panels, strict=True))))
    animation.write_gif(out / "fit_texture.gif", frames, colours=128)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    main(parser.parse_args().out)
