"""What DHPE trains on, of crops of data sets: Eq. 8's numbers against NumPy, gaps in annotations, mixing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handpose_jax.data.examples import HandExamples, PixelFiles
from handpose_jax.data.hand_table import CropOptions, HandTable
from handpose_jax.data.pipeline import Share
from handpose_jax.data.sources import DataSetOptions, RealDataOptions, read_sets
from handpose_jax.dhpe.data_set_batches import DataSetSource, batch_of, joined, shares_of
from handpose_jax.dhpe.synthetic_batches import Batch, SyntheticDataOptions
from handpose_jax.training import data_mesh
from handpose_jax.training.config_options import options_from
from mano_jax import open_hand
from tests.fixtures.hands import posed_hand

SIZE, MARGIN = 64, 1.5


@pytest.fixture(scope="module")
def hands() -> HandExamples:
    """Three hands, the second a left one; the third without its middle MCP. No file is read."""
    sides = np.array(["right", "left", "right"])
    joints = np.stack([posed_hand(row, side).joints for row, side in enumerate(sides)])
    joints += [[[0.05 * row, -0.02, 0.5]] for row in range(3)]
    joints[2, 9] = np.nan
    joints[0, 20] = np.nan
    K = np.tile([[300.0, 0, 150.0], [0, 308.0, 170.0], [0, 0, 1]], (3, 1, 1))
    images = np.einsum("nij,npj->npi", K, joints)
    return HandExamples(
        name="made_up",
        split="training",
        ids=("a", "b", "c"),
        K=K,
        side=sides,
        joints=joints,
        keypoints=images[..., :2] / images[..., 2:],
        visible=np.asarray(np.isfinite(joints).all(axis=-1)),
        images=PixelFiles(("a.png", "b.png", "c.png"), "rgb"),
    )


@pytest.fixture(scope="module")
def batch(hands) -> Batch:
    table = HandTable([hands], CropOptions(SIZE, margin=MARGIN))
    fields = table.annotations(np.arange(3), table.crops(np.arange(3)))
    random = np.random.default_rng(0)
    fields |= {
        "images": random.integers(0, 256, (3, SIZE, SIZE, 3), np.uint8),
        "masks": np.full((3, SIZE, SIZE), 51, np.uint8),
        "masks_known": np.array([True, True, False]),
    }
    return jax.device_get(jax.jit(batch_of, static_argnums=1)(fields, SIZE))


def test_numbers_of_eq_8(hands, batch):
    """((u - u_m) / w, (v - v_m) / w, (z - z_m) f / (w z_m)) in the full image; u turns round for a left hand."""
    for row in (0, 1):
        K, joints, pixels = hands.K[row], hands.joints[row], hands.keypoints[row]
        known = np.isfinite(joints).all(axis=-1)
        low, high = pixels[known].min(axis=0), pixels[known].max(axis=0)
        w, root_depth = MARGIN * (high - low).max(), joints[9, 2]
        focal = np.sqrt(K[0, 0] * K[1, 1])
        expected = np.concatenate(
            [(pixels - pixels[9]) / w, (joints[:, 2:] - root_depth) * focal / (w * root_depth)], axis=-1
        )
        ndc = 2.0 * (pixels - (low + high) / 2) / w
        if hands.side[row] == "left":
            expected[:, 0] *= -1
            ndc[:, 0] *= -1
        np.testing.assert_allclose(batch.joints_3d[row][known], expected[known], atol=2e-6)
        np.testing.assert_allclose(batch.joints_2d[row][known], ndc[known], atol=2e-6)
        np.testing.assert_allclose(batch.metres_per_edge[row], w * root_depth / focal, rtol=1e-5)


def test_what_is_not_known_weighs_nothing_and_stays_finite(batch):
    assert all(np.isfinite(part).all() for part in batch)
    assert batch.joint_weights[0].tolist() == [1.0] * 20 + [0.0]
    assert batch.joint_weights[1].all()
    assert not batch.joint_weights[2].any()  # without the middle MCP nothing can be measured from it
    assert batch.mask_weight.tolist() == [1.0, 1.0, 0.0]
    np.testing.assert_allclose(batch.masks[:2], 0.2)
    np.testing.assert_array_equal(batch.masks[2], np.ones((SIZE, SIZE)))
    assert batch.images.dtype == np.float32
    assert batch.images.max() == 1.0


@pytest.mark.parametrize(
    ("batch_size", "share", "devices", "expected"),
    [
        (32, 0.0, 1, (0, 32)),
        (32, 0.25, 1, (8, 24)),
        (32, 0.25, 4, (8, 24)),
        (8, 0.01, 4, (4, 4)),
        (10, 0.55, 1, (6, 4)),
    ],
)
def test_shares_of_a_batch(batch_size, share, devices, expected):
    assert shares_of(batch_size, share, devices) == expected


def test_no_room_for_both_kinds():
    with pytest.raises(ValueError, match="leaves no image to be read of the 1"):
        shares_of(4, 0.5, 4)


def test_each_device_joins_its_own_shares():
    def part(first: int, count: int) -> Batch:
        return Batch(*(jnp.arange(first, first + count, dtype=jnp.float32) for _ in Batch._fields))

    alone = joined(part(0, 4), part(100, 2), None)
    np.testing.assert_array_equal(alone.images, [0, 1, 2, 3, 100, 101])
    two = jax.jit(lambda: joined(part(0, 4), part(100, 2), data_mesh(jax.devices()[:2])))()
    np.testing.assert_array_equal(two.images, [0, 1, 100, 2, 3, 101])


def test_options_of_a_config():
    real = options_from(
        RealDataOptions,
        {"sets": {"rhd": {"folder": "x", "options": {"hand": "visible"}}, "stb": {}}, "augmentation": {"rotation": 5}},
    )
    assert list(real.used) == ["rhd"]
    assert real.used["rhd"].options == {"hand": "visible"}
    assert real.augmentation.rotation == 5.0
    assert real.chosen_augmentation is not None
    for config, message in (
        ({"sets": {"rhd": {"foldr": "x"}}}, r"did you mean config.sets.rhd.folder"),
        ({"sets": {"rhd": "x"}}, "config.sets.rhd is a section"),
        ({"sets": "rhd"}, "named entries"),
        ({"sets": {"rhd": {"weight": 0.0}}}, "weight must be above 0"),
        ({"synthetic_share": 1.0}, "for synthetic images alone give no folder"),
    ):
        with pytest.raises(ValueError, match=message):
            options_from(RealDataOptions, config)


def test_sets_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="no reader of a data set 'rdh'; there are rhd"):
        read_sets({"rdh": DataSetOptions(str(tmp_path))})
    with pytest.raises(ValueError, match="unexpected keyword argument 'hnd'"):
        read_sets({"rhd": DataSetOptions(str(tmp_path), options={"hnd": "mask"})})
    with pytest.raises(ValueError, match="the folder is empty"):
        read_sets({"rhd": DataSetOptions(str(tmp_path))})


def test_a_set_without_the_root_cannot_be_trained_on(hands):
    tips_only = dataclasses.replace(hands, joints=np.where(np.arange(21)[None, :, None] % 4 == 0, hands.joints, np.nan))
    with pytest.raises(ValueError, match="made_up training does not annotate the middle finger's MCP"):
        DataSetSource(
            [tips_only], [1.0], RealDataOptions(), SyntheticDataOptions(), 0, open_hand(), data_mesh(jax.devices()[:1])
        )


def test_a_batch_must_be_shared_evenly():
    with pytest.raises(ValueError, match="cannot be shared evenly by 2 processes"):
        Share(0, 2).of(np.arange(5))
