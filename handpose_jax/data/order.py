"""Which example comes when: data sets mixed by weight, each shuffled anew in every epoch, as a pure function.

Position n of the endless sequence depends on seed, sizes and weights alone, so a run that is resumed at a step, or
divided among other processes, sees what it would have seen: there is no position to save and nothing to skip over.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

BLOCK = 1024
"""Positions in which the sets have their exact shares."""


class ExampleOrder:
    """The endless sequence of examples of one or several sets.

    Of every `BLOCK` positions each set has its share, rounded, at places drawn anew; it fills them with its own
    examples, every one once before any comes again.
    """

    def __init__(self, counts: Sequence[int], weights: Sequence[float], seed: int):
        """Args:
          counts: examples of each set.
          weights: in any unit; how often an example comes of this set.
          seed: decides the order.

        Raises:
          ValueError: a set is empty, a weight not above zero, or too small to have a place in a block.
        """
        if not counts or len(counts) != len(weights) or min(counts) < 1:
            raise ValueError(f"expected sets with at least one example each, got sizes {list(counts)}")
        if not (np.isfinite(weights).all() and min(weights) > 0):
            raise ValueError(f"weights of data sets must be above 0, got {list(weights)}; leave a set out instead")
        self.counts, self._seed = tuple(counts), seed
        exact = BLOCK * np.asarray(weights, np.float64) / np.sum(weights)
        quotas = np.floor(exact).astype(np.int64)
        largest = np.argsort(quotas - exact, kind="stable")[: BLOCK - quotas.sum()]
        quotas[largest] += 1
        if quotas.min() < 1:
            raise ValueError(f"weights of data sets may differ by a factor of {BLOCK} at most, got {list(weights)}")
        self.quotas = quotas
        # A batch lies in one or two blocks and epochs; older ones are needed no more.
        self._block = functools.lru_cache(maxsize=4)(self._make_block)
        self._epoch = functools.lru_cache(maxsize=2 * len(counts))(self._make_epoch)

    def at(
        self, positions: Int[np.ndarray, "places"]
    ) -> tuple[Int[np.ndarray, "places"], Int[np.ndarray, "places"], Int[np.ndarray, "places"]]:
        """Set, example within the set, and the set's epoch, of places in the sequence (from 0)."""
        found = np.array([self._at(int(position)) for position in positions], np.int64).reshape(-1, 3)
        return found[:, 0], found[:, 1], found[:, 2]

    def _at(self, position: int) -> tuple[int, int, int]:
        block, place = divmod(position, BLOCK)
        sets, ranks = self._block(block)
        chosen = int(sets[place])
        epoch, index = divmod(block * int(self.quotas[chosen]) + int(ranks[place]), self.counts[chosen])
        return chosen, int(self._epoch(chosen, epoch)[index]), epoch

    def _make_block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        sets = np.repeat(np.arange(len(self.quotas)), self.quotas)
        if len(self.quotas) > 1:
            sets = _generator(self._seed, len(self.quotas), block).permutation(sets)
        ranks = np.zeros(BLOCK, np.int64)
        for index, quota in enumerate(self.quotas):
            ranks[sets == index] = np.arange(quota)
        return sets, ranks

    def _make_epoch(self, chosen: int, epoch: int) -> np.ndarray:
        return _generator(self._seed, chosen, epoch).permutation(self.counts[chosen])


def _generator(seed: int, stream: int, count: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, count]))
