"""The fixtures' own small rasterizer draws what render_jax draws, and its hands are the open hand's."""

import numpy as np
import pytest

from tests.fixtures.hands import HAND_COUNT, posed_hand
from tests.fixtures.pictures import camera, draw, placed


@pytest.mark.slow
def test_pictures_are_those_of_render_jax():
    import jax.numpy as jnp

    import render_jax

    K = camera(300.0, 310.0, 64.0, 60.0)
    hands = [posed_hand(0, "left"), posed_hand(3, "right")]
    wrists = [placed(hands[0], K, (55.0, 70.0), 0.5), placed(hands[1], K, (75.0, 70.0), 0.6)]
    picture = draw(hands, wrists, K, (128, 128))
    vertices = np.concatenate([hand.vertices + wrist for hand, wrist in zip(hands, wrists, strict=True)])
    faces = np.concatenate([hands[0].faces, hands[1].faces + 778]).astype(np.int32)
    screen = render_jax.Pinhole(300.0, 310.0, 64.0, 60.0).to_screen(jnp.asarray(vertices, jnp.float32))
    fragments = render_jax.rasterize(screen, faces, (128, 128))
    shown = np.asarray(fragments.face_index)
    owner = np.where(shown < 0, -1, shown // len(hands[0].faces))
    assert (owner != picture.hand).mean() < 1e-3
    same = (owner == picture.hand) & (owner >= 0)
    np.testing.assert_allclose(np.asarray(fragments.depth)[same], picture.depth[same], atol=1e-3)


@pytest.mark.slow
def test_hands_are_what_the_open_hand_makes_of_their_parameters():
    import jax

    import mano_jax

    model = mano_jax.open_hand("right")
    mano = np.stack([posed_hand(index).mano for index in range(HAND_COUNT)]).astype(np.float32)
    zero = np.zeros(3, np.float32)
    mesh = jax.jit(mano_jax.forward)(model, mano[:, 3:48], mano[:, 48:], mano[:, :3], zero)
    vertices = np.asarray(mesh.vertices - mesh.joints[:, :1])
    for index in range(HAND_COUNT):
        np.testing.assert_allclose(posed_hand(index).vertices, vertices[index], atol=1e-5)
        left = posed_hand(index, "left")
        np.testing.assert_allclose(left.vertices[:, 0], -vertices[index, :, 0], atol=1e-5)
