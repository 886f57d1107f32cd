"""The order of examples: whole epochs, exact shares, a function of the position alone."""

import numpy as np
import pytest

from handpose_jax.data.order import BLOCK, ExampleOrder


def test_every_example_once_an_epoch_in_another_order():
    order = ExampleOrder([37], [1.0], seed=3)
    _, rows, epochs = order.at(np.arange(3 * 37))
    assert epochs.tolist() == [0] * 37 + [1] * 37 + [2] * 37
    assert [sorted(part) for part in np.split(rows, 3)] == [list(range(37))] * 3
    assert rows[:37].tolist() != rows[37:74].tolist()
    assert rows[:37].tolist() != list(range(37))


def test_sets_have_their_shares_of_each_block_and_whole_epochs():
    order = ExampleOrder([50, 7, 400], [5.0, 1.0, 2.0], seed=0)
    sets, rows, epochs = order.at(np.arange(2 * BLOCK))
    for block in (sets[:BLOCK], sets[BLOCK:]):
        np.testing.assert_array_equal(np.bincount(block), [640, 128, 256])
    assert sets[:BLOCK].tolist() != sets[BLOCK:].tolist()
    for index, count in enumerate((50, 7, 400)):
        of_set = rows[sets == index]
        np.testing.assert_array_equal(epochs[sets == index], np.arange(len(of_set)) // count)
        for first in range(0, len(of_set) - count + 1, count):
            assert sorted(of_set[first : first + count]) == list(range(count))


def test_shares_that_do_not_divide_a_block_are_rounded_and_fill_it():
    order = ExampleOrder([3, 3, 3], [1.0, 1.0, 1.0], seed=0)
    assert sorted(order.quotas) == [341, 341, 342]


def test_a_place_does_not_depend_on_what_was_asked_before():
    places = np.array([5000, 3, 1023, 1024, 2049])
    order = ExampleOrder([11, 29], [1.0, 3.0], seed=7)
    order.at(np.arange(6000))  # now everything has been through the caches
    again = ExampleOrder([11, 29], [1.0, 3.0], seed=7)
    for one, other in zip(order.at(places), again.at(places), strict=True):
        np.testing.assert_array_equal(one, other)
    others = ExampleOrder([11, 29], [1.0, 3.0], seed=8).at(places)
    assert any((one != other).any() for one, other in zip(order.at(places), others, strict=True))


@pytest.mark.parametrize(
    ("counts", "weights", "message"),
    [
        ([], [], "at least one example each"),
        ([3, 0], [1.0, 1.0], "at least one example each"),
        ([3], [0.0], "above 0"),
        ([3, 4], [1.0, float("nan")], "above 0"),
        ([3, 4], [1.0, 1e-6], "factor of 1024"),
    ],
)
def test_refusals(counts, weights, message):
    with pytest.raises(ValueError, match=message):
        ExampleOrder(counts, weights, 0)
