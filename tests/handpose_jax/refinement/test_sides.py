"""Which side's fit is kept when the side is not known."""

import numpy as np

from handpose_jax.refinement.sides import choose_sides


class TestChooseSides:
    def test_one_hand_goes_to_the_cheaper_side(self):
        for margin in (1e-3, 0.5, 20.0):
            np.testing.assert_array_equal(choose_sides(np.array([5.0]), np.array([5.0 + margin])), ["left"])
            np.testing.assert_array_equal(choose_sides(np.array([5.0 + margin]), np.array([5.0])), ["right"])

    def test_a_mixed_batch_is_decided_hand_by_hand(self):
        left = np.array([10.0, 1.0, 10.0, 2.0, 3.0, 12.0])
        np.testing.assert_array_equal(choose_sides(left, 13.0 - left), np.where(left < 6.5, "left", "right"))

    def test_clear_hands_decide_the_unclear_ones_of_their_batch(self):
        margins = np.full(20, 8.0)
        margins[7] = -1.0  # alone it would be a right hand
        np.testing.assert_array_equal(choose_sides(np.zeros(20), margins), ["left"] * 20)
        margins[7] = -30.0  # but not against clear evidence
        assert choose_sides(np.zeros(20), margins).tolist() == ["left"] * 7 + ["right"] + ["left"] * 12

    def test_a_side_that_could_not_be_fitted_loses(self):
        left, right = np.array([np.inf, 3.0, 1.0]), np.array([2.0, np.inf, 2.0])
        np.testing.assert_array_equal(choose_sides(left, right)[:2], ["right", "left"])
        # Neither takes part in the estimate for the others.
        np.testing.assert_array_equal(choose_sides(left, right)[2], choose_sides(left[2:], right[2:])[0])

    def test_neither_side_fitted(self):
        assert choose_sides(np.array([np.inf]), np.array([np.inf])).shape == (1,)
        assert choose_sides(np.zeros(0), np.zeros(0)).shape == (0,)
