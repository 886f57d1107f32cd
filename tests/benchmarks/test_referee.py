"""What the detector is shown and how its answers are counted; the detector itself lives in another environment."""

import numpy as np
import pytest

from benchmarks.detector_referee import failures, summary
from benchmarks.synthetic_referee import VIEWS, kinds, with_margin
from handpose_jax.synthesis import SynthesisOptions

SIZE = 12


@pytest.fixture
def dotted() -> tuple[np.ndarray, np.ndarray]:
    """A dark image with one white pixel, and its middle, 21 times."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[7, 3] = 255
    return image, np.tile([3.5, 7.5], (21, 1))


@pytest.mark.parametrize("enlarged", [1, 3, 4])
def test_keypoints_stay_on_what_they_mark(dotted, enlarged):
    picture, keypoints = with_margin(*dotted, margin=0.25, enlarged=enlarged)
    assert picture.size == (enlarged * 18, enlarged * 18)
    light = np.asarray(picture).mean(axis=2).astype(np.float64)
    rows, columns = np.mgrid[: len(light), : len(light)] + 0.5
    middle = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
    # Bicubic enlargement clips its negative lobes, alike on all sides.
    np.testing.assert_allclose(keypoints, np.tile(middle, (21, 1)), atol=0.02 * enlarged)


def test_margin_repeats_the_border_or_is_a_frame(dotted):
    image, keypoints = dotted
    image = image.copy()
    image[0] = (10, 20, 30)
    repeated = np.asarray(with_margin(image, keypoints, 0.25, 1)[0])
    np.testing.assert_array_equal(repeated[:3, 3:-3], np.broadcast_to(image[0], (3, SIZE, 3)))
    framed = np.asarray(with_margin(image, keypoints, 0.25, 1, frame=True)[0])
    assert (framed[:3] == image.mean(axis=(0, 1)).astype(np.uint8)).all()
    for picture in (repeated, framed):
        np.testing.assert_array_equal(picture[3:-3, 3:-3], image)


def test_counts_of_a_group():
    rows = [
        {"file": "a", "found": True, "error": 0.02, "side_right": True},
        {"file": "b", "found": True, "error": 0.06, "side_right": False},
        {"file": "c", "found": True, "error": 0.40, "side_right": True},
        {"file": "d", "found": False},
    ]
    counted = summary(rows)
    assert counted["images"] == 4
    assert counted["found"] == 0.75
    assert counted["error"] == pytest.approx(0.16)
    assert counted["median_error"] == 0.06
    assert counted["error_within_tenth"] == 0.5
    assert counted["side_right"] == 0.5
    assert counted["side_right_of_found"] == pytest.approx(2 / 3)
    assert failures(rows) == {"not_found": ["d"], "far_off": ["c"], "wrong_side": ["b"]}


def test_a_group_in_which_nothing_is_found_has_no_error():
    counted = summary([{"file": "d", "found": False}])
    assert counted["found"] == counted["side_right"] == 0.0
    assert counted["error"] is counted["median_error"] is counted["side_right_of_found"] is None


def test_nothing_hides_the_hands_of_any_kind():
    for options in kinds().values():
        for where in VIEWS.values():
            chosen = SynthesisOptions(**{**options, **where})
            assert chosen.quality == "quick"
            assert chosen.object_share == chosen.second_hand_share == 0.0
