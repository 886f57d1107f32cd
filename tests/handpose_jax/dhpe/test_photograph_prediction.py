"""Which of a hand's two sides is kept."""

import numpy as np

from handpose_jax.dhpe.photograph_prediction import _chosen, side_costs
from handpose_jax.dhpe.prediction import CropPredictions

RIGHT_AND_LEFT = ["right", "left"]


def test_the_more_confident_side_is_kept_and_given_sides_stay():
    rows = [0, 0, 1, 2, 2, 4, 5, 5]
    sides = [*RIGHT_AND_LEFT, "left", *RIGHT_AND_LEFT, "right", *RIGHT_AND_LEFT]
    costs = np.array([3.0, 30.0, 99.0, 40.0, 2.0, 99.0, 1.0, 50.0])
    np.testing.assert_array_equal(_chosen(rows, sides, costs), [0, 2, 4, 5, 6])


def test_an_unclear_hand_goes_with_the_clear_ones_beside_it():
    rows = np.repeat(np.arange(8), 2).tolist()
    costs = np.tile([30.0, 5.0], 8)
    costs[:2] = 10.0, 10.1
    np.testing.assert_array_equal(_chosen(rows, RIGHT_AND_LEFT * 8, costs), np.arange(8) * 2 + 1)


def test_costs_are_logarithms_of_confidence():
    confidence = np.array([[1.0] * 21, [0.5] * 20 + [0.0]])
    nothing = np.zeros(2)
    predictions = CropPredictions(nothing, nothing, nothing, confidence, nothing, (0,), nothing, nothing, nothing)
    np.testing.assert_allclose(side_costs(predictions), [0.0, 20 * np.log(2.0) + np.log(1000.0)])
