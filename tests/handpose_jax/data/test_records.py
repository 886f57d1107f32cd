"""Records of `launch.data prepare`: everything comes back as it was."""

import dataclasses
import pathlib

import numpy as np
import pytest

from handpose_jax.data.contents import checked_content, pixels_of_row
from handpose_jax.data.examples import HandExamples
from handpose_jax.data.pixels import read_pixels
from handpose_jax.data.records import RECORD_MARK, read_record, read_records, splits_of_records, write_records
from handpose_jax.data.sets import READERS
from handpose_jax.data.sources import DataSetOptions, read_sets
from tests.fixtures.rhd import write_rhd
from tests.fixtures.stb import write_stb


@pytest.fixture(scope="module")
def hands(tmp_path_factory) -> HandExamples:
    """Both hands of each picture: rows share files."""
    return READERS["rhd"](write_rhd(tmp_path_factory.mktemp("rhd"), frames=2).root, "training", hand="both")


def test_everything_comes_back(hands, tmp_path):
    write_records(hands, tmp_path, checked_content)
    assert splits_of_records(tmp_path) == ["training"]
    found = read_records(tmp_path, "training")
    for field in dataclasses.fields(HandExamples):
        was, now = getattr(hands, field.name), getattr(found, field.name)
        if field.name in ("images", "masks", "depth"):
            assert (was.encoding, was.size, len(was)) == (now.encoding, now.size, len(now))
            for row in range(len(hands)):
                assert pathlib.Path(was.paths[row]).read_bytes() == read_record(now.paths[row])
                np.testing.assert_array_equal(read_pixels(was, row), pixels_of_row(now, row))
        elif isinstance(was, np.ndarray):
            np.testing.assert_array_equal(was, now)
        else:
            assert was == now, field.name
    assert found.images is not None
    assert len(set(found.images.paths)) == 2  # a picture with two hands is there once
    assert len(hands) == 4
    examples, weights = read_sets({"rhd": DataSetOptions(str(tmp_path), weight=0.5)})
    assert examples[0].ids == hands.ids
    assert weights == [2.0]
    with pytest.raises(ValueError, match="records of 'rhd', not of 'stb'"):
        read_sets({"stb": DataSetOptions(str(tmp_path))})
    with pytest.raises(ValueError, match="give rhd none"):
        read_sets({"rhd": DataSetOptions(str(tmp_path), options={"hand": "both"})})


def test_sets_without_masks_and_depth(tmp_path):
    written = write_stb(tmp_path / "stb", ("B1Counting", "B1Random"), 1, ("BB",))
    hands = READERS["stb"](written.root, "evaluation")
    write_records(hands, tmp_path, checked_content)
    found = read_records(tmp_path, "evaluation")
    assert found.masks is None
    assert found.depth is None
    assert found.native_names == hands.native_names
    np.testing.assert_array_equal(found.native, hands.native)


def test_damaged_pictures_stop_or_are_left_out(hands, tmp_path):
    files = list(hands.images.paths)
    broken = tmp_path / "broken.png"
    broken.write_bytes(pathlib.Path(files[0]).read_bytes()[:1000])
    files[0] = str(broken)
    damaged = dataclasses.replace(hands, images=dataclasses.replace(hands.images, paths=tuple(files)))
    with pytest.raises(ValueError, match=r"broken.png: not a readable rgb file"):
        write_records(damaged, tmp_path, checked_content)
    left = write_records(damaged, tmp_path, checked_content, skip_bad=True)
    assert left.ids == hands.ids[1:]
    assert len(left.skipped) == 1
    assert read_records(tmp_path, "training").skipped == left.skipped
    nothing = dataclasses.replace(damaged, images=dataclasses.replace(hands.images, paths=(str(broken),) * 4))
    with pytest.raises(ValueError, match="no hand could be read"):
        write_records(nothing, tmp_path, checked_content, skip_bad=True)


def test_what_is_no_record(tmp_path):
    with pytest.raises(ValueError, match=r"no such file; run `launch.data prepare` for the split 'training'"):
        read_records(tmp_path, "training")
    np.savez(tmp_path / "training.npz", about=np.array("{}"))
    with pytest.raises(ValueError, match=r"not what `launch.data prepare` writes"):
        read_records(tmp_path, "training")
    with pytest.raises(ValueError, match="no such file"):
        read_record(f"{tmp_path}/training.images.array_record{RECORD_MARK}0")
