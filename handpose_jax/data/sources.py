"""Which data sets a run trains on, as its config says it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from handpose_jax.data.augmentation import NO_AUGMENTATION, AugmentationOptions
from handpose_jax.data.examples import HandExamples


@dataclasses.dataclass(frozen=True)
class DataSetOptions:
    """One data set.

    Attributes:
      folder: as the set unpacks, or as `launch.data prepare` wrote it. Empty: the set is not used.
      split: the reader's word for a part: "training", "evaluation", ...
      weight: how often one of its hands comes for each time that a hand of a set of weight 1 does.
      options: of the set's reader, by name.
    """

    folder: str = ""
    split: str = "training"
    weight: float = 1.0
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.weight <= 0.0:
            raise ValueError(f"weight must be above 0, got {self.weight}; leave folder empty to leave the set out")


@dataclasses.dataclass(frozen=True)
class RealDataOptions:
    """Images that are read, not made. Without any folder there are none.

    Attributes:
      sets: by the names of `handpose_jax.data.sets.READERS`.
      synthetic_share: of each batch, the rest of which is read. In whole images for every device.
      margin: edge of the crops, in longer edges of the hand's box.
      augmented: whether `augmentation` is done.
      augmentation: see there. All [ours].
      workers: images that are read at once; 0: one a core.
    """

    sets: dict[str, DataSetOptions] = dataclasses.field(default_factory=dict)
    synthetic_share: float = 0.0
    margin: float = 1.5
    augmented: bool = True
    augmentation: AugmentationOptions = dataclasses.field(default_factory=AugmentationOptions)
    workers: int = 0

    def __post_init__(self):
        if not 0.0 <= self.synthetic_share < 1.0:
            raise ValueError(
                f"synthetic_share must be a share within [0, 1), got {self.synthetic_share}; for synthetic images "
                "alone give no folder"
            )
        if self.margin <= 0.0 or self.workers < 0:
            raise ValueError(f"margin must be above 0 and workers not below, got {self.margin} and {self.workers}")

    @property
    def used(self) -> dict[str, DataSetOptions]:
        """The sets that have a folder."""
        return {name: one for name, one in self.sets.items() if one.folder}

    @property
    def chosen_augmentation(self) -> AugmentationOptions | None:
        return self.augmentation if self.augmented and self.augmentation != NO_AUGMENTATION else None


def read_sets(sets: Mapping[str, DataSetOptions]) -> tuple[list[HandExamples], list[float]]:
    """The annotations of each set, and how often hands come of it: weight times number of hands.

    Raises:
      ValueError: no such set or option, or what its reader says.
    """
    from handpose_jax.data.records import has_records
    from handpose_jax.data.sets import READERS

    unknown = [name for name in sets if name not in READERS]
    if unknown:
        raise ValueError(f"there is no reader of a data set {unknown[0]!r}; there are {', '.join(READERS)}")
    examples, weights = [], []
    for name, one in sets.items():
        try:
            if has_records(one.folder, one.split):
                found = _recorded(name, one)
            else:
                found = READERS[name](one.folder, one.split, **one.options)
        except TypeError as error:
            # A mistyped option: readers take theirs as keyword arguments.
            raise ValueError(f"{name}: {error}") from None
        examples.append(found)
        weights.append(one.weight * len(found))
    return examples, weights


def _recorded(name: str, one: DataSetOptions) -> HandExamples:
    from handpose_jax.data.records import read_records

    found = read_records(one.folder, one.split)
    if found.name != name:
        raise ValueError(f"{one.folder}: records of {found.name!r}, not of {name!r}")
    if one.options:
        raise ValueError(f"{one.folder}: records were prepared with the reader's options; give {name} none")
    return found
