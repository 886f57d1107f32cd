"""What is drawn at random for a crop: within its ranges, a function of seed, name and epoch."""

import numpy as np
import pytest

from handpose_jax.data.augmentation import (
    NO_AUGMENTATION,
    AugmentationOptions,
    draw_augmentations,
    keys_of_names,
)

NAMES = [f"rhd/training/{number:05d}-left" for number in range(2000)]


@pytest.fixture(scope="module")
def drawn():
    return draw_augmentations(3, np.zeros(2000, int), keys_of_names(NAMES), AugmentationOptions())


def test_keys_are_the_same_on_every_machine():
    """The first eight bytes that `printf a | sha256sum` prints, ca978112ca1bbdca, little-endian."""
    assert int(keys_of_names(["a"])[0]) == 0xCABD1BCA128197CA
    assert len(set(keys_of_names(NAMES).tolist())) == len(NAMES)


def test_ranges_are_filled_and_kept(drawn):
    options = AugmentationOptions()
    assert abs(drawn.shift).max() <= options.shift
    assert abs(drawn.shift).max(axis=0).min() > 0.95 * options.shift
    assert options.scale[0] <= drawn.scale.min() < options.scale[0] + 0.01
    assert options.scale[1] >= drawn.scale.max() > options.scale[1] - 0.01
    assert np.radians(options.rotation) >= abs(drawn.angle).max() > np.radians(0.95 * options.rotation)
    assert np.mean(drawn.blur > 0) == pytest.approx(options.blur_share, abs=0.04)
    assert set(drawn.blur >= options.blur[0]) | set(drawn.blur == 0) == {True, False}
    hidden = drawn.cut_out[:, 2] > 0
    assert np.mean(hidden) == pytest.approx(options.cut_out_share, abs=0.04)
    edges = (drawn.cut_out[:, 2:] - drawn.cut_out[:, :2])[hidden]
    assert options.cut_out[0] <= edges.min() + 1e-12
    assert edges.max() <= options.cut_out[1] + 1e-12
    assert drawn.cut_out.min() >= 0.0
    assert drawn.cut_out.max() <= 1.0


def test_colours_keep_grey_on_the_grey_axis(drawn):
    """A turn and a stretch about grey: grey only changes by contrast and brightness, alike in all channels."""
    grey = np.array([127.5, 127.5, 127.5, 1.0])
    changed = drawn.colour @ grey
    np.testing.assert_allclose(changed, np.repeat(changed[:, :1], 3, axis=1), atol=1e-9)
    assert abs(changed - 127.5).max() <= 255.0 * AugmentationOptions().brightness + 1e-9


def test_nothing_changes_nothing():
    none = draw_augmentations(0, np.zeros(5, int), keys_of_names(NAMES[:5]), NO_AUGMENTATION)
    np.testing.assert_allclose(none.colour, np.tile(np.eye(3, 4), (5, 1, 1)), atol=1e-12)
    for value in (none.shift, none.angle, none.blur, none.cut_out, none.scale - 1.0):
        np.testing.assert_array_equal(value, np.zeros_like(value))


def test_a_function_of_seed_name_and_epoch(drawn):
    keys = keys_of_names(NAMES)
    again = draw_augmentations(3, np.zeros(3, int), keys[[7, 0, 7]], AugmentationOptions())
    for one, other in zip(again, drawn, strict=True):
        np.testing.assert_array_equal(one, other[[7, 0, 7]])
    for seed, epoch in ((3, 1), (4, 0)):
        other = draw_augmentations(seed, np.full(3, epoch), keys[:3], AugmentationOptions())
        assert (other.angle != drawn.angle[:3]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shift": 0.6}, "shift"),
        ({"rotation": -1.0}, "rotation"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"contrast": (1.2, 1.0)}, "contrast"),
        ({"blur_share": 1.5}, "blur_share"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        AugmentationOptions(**wrong)
