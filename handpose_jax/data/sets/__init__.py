"""Readers of data sets in their official layouts, by name, and what a folder is one of."""

import dataclasses
import fnmatch
import os
import pathlib
from collections.abc import Mapping

from handpose_jax.data.examples import Reader
from handpose_jax.data.sets import dexter_object, freihand, icvl, msra15, nyu_hand, rhd, stb
from handpose_jax.data.sets.layout import archives_near, checked_folder

_MODULES = {
    "rhd": rhd,
    "stb": stb,
    "dexter_object": dexter_object,
    "freihand": freihand,
    "icvl": icvl,
    "msra": msra15,
    "nyu": nyu_hand,
}

READERS: Mapping[str, Reader] = {name: module.read for name, module in _MODULES.items()}
"""`READERS[name](folder, split, skip_bad=False, **options)` -> `HandExamples`; the options are each reader's own."""

SPLITS: Mapping[str, tuple[str, ...]] = {name: tuple(module.SPLITS) for name, module in _MODULES.items()}
"""What each reader takes as `split`."""


@dataclasses.dataclass(frozen=True)
class RecognisedSet:
    """A data set in a folder.

    Attributes:
      name: key of `READERS`.
      title: in words.
      root: the set's own folder, that given or one below it; readers take either.
      present, missing: parts, relative to the root. A missing part matters only to those who want it.
      archives: archives in the root or beside it, where something is missing: not unpacked yet, or not fully.
      pictures: for each split that is there, how many annotated pictures its folders hold. A reader may give more
        examples (two hands) or fewer (one camera of several).
    """

    name: str
    title: str
    root: pathlib.Path
    present: tuple[str, ...]
    missing: tuple[str, ...]
    archives: tuple[str, ...]
    pictures: Mapping[str, int]


def recognise(folder: str | os.PathLike) -> RecognisedSet:
    """Which data set a folder holds, and what of it. Reads no annotation: takes seconds at most.

    Raises:
      ValueError: no such folder, an empty one, an archive that was not unpacked, or none of the sets known.
    """
    path = checked_folder(folder)
    for name, module in _MODULES.items():
        root = module.find_root(path)
        if root is not None:
            survey = module.survey(root)
            archives = tuple(str(archive) for archive in archives_near(root)) if survey.missing else ()
            return RecognisedSet(name, module.TITLE, root, survey.present, survey.missing, archives, survey.pictures)
    for archive in (file for file in archives_near(path) if file.parent == path):
        for module in _MODULES.values():
            if any(fnmatch.fnmatch(archive.name.lower(), pattern) for pattern in module.ARCHIVES):
                raise ValueError(f"{archive}: an archive of {module.TITLE} that is not unpacked; unpack it there")
    known = "; ".join(f"{module.TITLE}: {module.MARKERS[0]}" for module in _MODULES.values())
    raise ValueError(f"{path}: none of the data sets known, which are recognised by files in them ({known})")
