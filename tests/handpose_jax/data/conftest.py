"""The smallest folder of every data set, written once."""

import pathlib

import pytest

from tests.fixtures.every_set import write_every_set


@pytest.fixture(scope="session")
def tiny_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Roots of all sets by their readers' names. Not to be changed: copy them first."""
    return write_every_set(tmp_path_factory.mktemp("tiny_sets"))
