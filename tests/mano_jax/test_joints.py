"""Keypoint orders by the names that the data sets give their joints, and the linear regressor."""

import jax
import numpy as np
import pytest

from mano_jax import (
    CANONICAL_FROM_ORDER,
    KEYPOINT_NAMES,
    forward,
    keypoint_regressor,
    keypoints,
    open_hand,
    regress_keypoints,
    reorder_keypoints,
)
from mano_jax.keypoints import FINGERTIP_NAMES, MODEL_JOINT_NAMES
from tests.mano_jax.made_up_model import made_up_fields, made_up_hand
from tests.mano_jax.test_forward import random_parameters

jitted_regress = jax.jit(regress_keypoints, static_argnames="tips")


def finger(name: str) -> tuple[str, ...]:
    parts = ("cmc", "mcp", "ip", "tip") if name == "thumb" else ("mcp", "pip", "dip", "tip")
    return tuple(f"{name}_{part}" for part in parts)


FINGERS = ("thumb", "index", "middle", "ring", "little")
BASE_TO_TIP = {name: finger(name) for name in FINGERS}
TIP_TO_BASE = {name: finger(name)[::-1] for name in FINGERS}
# Written out from the data sets' descriptions, not from the table under test.
ORDERS = {
    "canonical": KEYPOINT_NAMES,
    "freihand": KEYPOINT_NAMES,
    "openpose": KEYPOINT_NAMES,
    "mediapipe": KEYPOINT_NAMES,
    "coco_wholebody": KEYPOINT_NAMES,
    "mano": MODEL_JOINT_NAMES + FINGERTIP_NAMES,
    "ho3d": MODEL_JOINT_NAMES + FINGERTIP_NAMES,
    "rhd": ("wrist", *(name for f in FINGERS for name in TIP_TO_BASE[f])),
    "interhand": (*(name for f in FINGERS for name in TIP_TO_BASE[f]), "wrist"),
    "stb": ("wrist", *(name for f in FINGERS[::-1] for name in BASE_TO_TIP[f])),
    "msra": ("wrist", *(name for f in (*FINGERS[1:], "thumb") for name in BASE_TO_TIP[f])),
    "bighand": (
        "wrist",
        *(BASE_TO_TIP[f][0] for f in FINGERS),
        *(name for f in FINGERS for name in BASE_TO_TIP[f][1:]),
    ),
}


def test_every_order_is_known():
    assert set(ORDERS) == set(CANONICAL_FROM_ORDER)


@pytest.mark.parametrize("source", ORDERS)
@pytest.mark.parametrize("target", ["canonical", "mano", "interhand", "bighand"])
def test_reordered_keypoints_have_the_names_of_the_target(source: str, target: str):
    names = np.array(ORDERS[source])[:, None]
    assert tuple(reorder_keypoints(names, source, target)[:, 0]) == tuple(ORDERS[target])


def test_reordering_keeps_batches_channels_and_the_kind_of_array():
    points = np.random.default_rng(0).normal(size=(2, 3, 21, 4))
    there = reorder_keypoints(points, "rhd", "bighand")
    assert isinstance(there, np.ndarray)
    np.testing.assert_array_equal(reorder_keypoints(there, "bighand", "rhd"), points)
    on_device = jax.jit(reorder_keypoints, static_argnums=(1, 2))(points.astype(np.float32), "rhd", "bighand")
    np.testing.assert_array_equal(on_device, there.astype(np.float32))


def test_wrong_orders_are_refused():
    with pytest.raises(ValueError, match=r"keypoint order must be one of canonical, .*, got 'nyu'"):
        reorder_keypoints(np.zeros((21, 3)), "nyu")
    with pytest.raises(ValueError, match=r"points must have shape \[\.\.\., 21, channels\], got \[42, 3\]"):
        reorder_keypoints(np.zeros((42, 3)), "rhd")


@pytest.mark.parametrize("tips", ["745", "744"])
def test_regressed_keypoints_are_weighted_means_of_vertices(tips: str):
    fields = made_up_fields()
    vertices = np.random.default_rng(1).normal(size=(2, 778, 3)).astype(np.float32)
    points = np.asarray(jitted_regress(made_up_hand(), vertices, tips=tips))
    joints = np.einsum("jv,bvc->bjc", fields["J_regressor"], vertices)
    tip_vertices = {"745": [745, 317, 444, 556, 673], "744": [744, 320, 443, 554, 671]}[tips]
    expected = np.concatenate([joints, vertices[:, tip_vertices]], axis=1)
    np.testing.assert_allclose(points, reorder_keypoints(expected, "mano"), rtol=0.0, atol=1e-6)
    np.testing.assert_allclose(keypoint_regressor(made_up_hand(), tips).sum(axis=1), np.ones(21), atol=1e-6)


def test_both_kinds_of_keypoints_agree_at_rest_and_differ_in_a_fist():
    hand = open_hand()
    rest, shape, still, _ = random_parameters(2, ())
    rest, still = 0.0 * rest, 0.0 * still
    mesh = forward(hand, rest, shape, still, still)
    np.testing.assert_allclose(
        regress_keypoints(hand, mesh.vertices), keypoints(hand, rest, shape, still, still), rtol=0.0, atol=1e-6
    )
    fist = np.zeros((15, 3), np.float32)
    fist[:12, 2] = 1.2
    mesh = forward(hand, fist.reshape(45), shape, still, still)
    chain = np.asarray(keypoints(hand, fist.reshape(45), shape, still, still))
    distance = np.linalg.norm(np.asarray(regress_keypoints(hand, mesh.vertices)) - chain, axis=1)
    np.testing.assert_allclose(distance[[4, 8, 12, 16, 20]], 0.0, atol=1e-6)  # Fingertips are vertices in both.
    assert 1e-3 < distance.max() < 1e-2


def test_other_meshes_are_refused():
    with pytest.raises(ValueError, match=r"vertices must have shape \[\.\.\., 778, 3\], got \[779, 3\]"):
        regress_keypoints(made_up_hand(), np.zeros((779, 3)))
    with pytest.raises(ValueError, match="fingertip convention must be one of"):
        regress_keypoints(made_up_hand(), np.zeros((778, 3)), tips="1")
