"""TFDS builders over tiny sets: TFDS's own test case for each, and one run that never imports TensorFlow."""

import importlib
import os
import pathlib
import subprocess
import sys

import pytest

from tests.fixtures.depth_sets import write_icvl, write_msra15, write_nyu_hand
from tests.fixtures.dexter_object import write_dexter_object
from tests.fixtures.freihand import write_freihand
from tests.fixtures.rhd import write_rhd
from tests.fixtures.stb import write_stb

REPOSITORY = pathlib.Path(__file__).parents[3]
WRITERS = {
    "rhd": lambda folder: [write_rhd(folder, split, 2, seed) for seed, split in enumerate(("training", "evaluation"))],
    "stb": lambda folder: write_stb(
        folder, [f"B{n}{kind}" for n in range(1, 7) for kind in ("Counting", "Random")], 1, ("BB",)
    ),
    "dexter_object": write_dexter_object,
    "freihand": write_freihand,
    "icvl": write_icvl,
    "msra15": write_msra15,
    "nyu_hand": write_nyu_hand,
}
SPLITS = {
    "rhd": {"train": 2, "test": 2},
    "stb": {"train": 20, "test": 4},
    "dexter_object": {"test": 6},
    "freihand": {"train": 12, "test": 2},
    "icvl": {"train": 4, "test": 4},
    "msra15": {"P0": 17, "P1": 17},
    "nyu_hand": {"train": 1, "test": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_builder(name: str, tmp_path: pathlib.Path):
    # Imported here: collecting the fast tests must not cost TensorFlow's import.
    import unittest

    import tensorflow_datasets as tfds

    WRITERS[name](tmp_path)

    class BuilderTest(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = importlib.import_module(f"handpose_jax.data.builders.{name}").Builder
        SPLITS = SPLITS[name]
        EXAMPLE_DIR = str(tmp_path)

    assert BuilderTest.DATASET_CLASS.name == name
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(BuilderTest).run(result)
    assert result.testsRun >= 5
    assert not result.failures + result.errors, (result.failures + result.errors)[0][1]


WITHOUT_TENSORFLOW = """
import sys
import numpy as np
import tensorflow_datasets as tfds
import handpose_jax.data.builders.rhd
from handpose_jax.data.pixels import read_mask, read_pixels
from handpose_jax.data.sets import READERS
folder = sys.argv[1]
builder = tfds.builder("rhd", data_dir=folder + "/out", file_format="array_record")
builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))
source, examples = builder.as_data_source("train"), READERS["rhd"](folder, "training")
assert len(source) == len(examples) == 2
rows = {name: row for row, name in enumerate(examples.ids)}
for one in source:
    row = rows[one["id"].decode()]
    assert builder.info.features["side"].int2str(int(one["side"])) == examples.side[row]
    for name in ("joints", "keypoints", "K"):
        np.testing.assert_array_equal(one[name], getattr(examples, name)[row].astype(np.float32))
    np.testing.assert_array_equal(one["image"], read_pixels(examples.images, row))
    np.testing.assert_array_equal(one["mask"][..., 0] > 0, read_mask(examples, row))
    depth = np.nan_to_num(read_pixels(examples.depth, row))
    np.testing.assert_allclose(one["depth"] / 10_000, depth, atol=0.000051)
assert "tensorflow" not in sys.modules
print("equal")
"""


@pytest.mark.slow
def test_preparing_and_reading_need_no_tensorflow(tmp_path: pathlib.Path):
    WRITERS["rhd"](tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("equal\n")
