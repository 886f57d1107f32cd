"""What a folder is said to be, and what of it is missing."""

import shutil

import pytest

from handpose_jax.data.sets import READERS, SPLITS, recognise
from tests.fixtures.every_set import OPTIONS


@pytest.mark.parametrize("name", READERS)
def test_each_set_is_recognised_from_its_folder_and_from_the_one_above(tiny_sets, name):
    root = tiny_sets[name]
    found = recognise(root)
    assert (found.name, found.root) == (name, root)
    assert found.present
    assert recognise(root.parent).name == name
    assert set(found.pictures) <= set(SPLITS[name])
    options = {**OPTIONS[name], "split": next(iter(found.pictures))}
    if name == "nyu":
        options["split"] = "evaluation"
    examples = READERS[name](root.parent, **options)
    if name == "rhd":
        assert found.pictures == {"training": len(examples)}
    if name in ("icvl", "msra", "nyu", "dexter_object"):
        assert found.pictures[options["split"]] == len(examples)


def test_what_is_missing_and_the_archive_beside_it(tiny_sets, tmp_path):
    root = shutil.copytree(tiny_sets["rhd"], tmp_path / "RHD_published_v2")
    shutil.rmtree(root / "training" / "mask")
    (tmp_path / "RHD_v1-1.zip").touch()
    found = recognise(tmp_path)
    assert "training/mask" in found.missing
    assert "training/color" in found.present
    assert found.archives == (str(tmp_path / "RHD_v1-1.zip"),)
    assert found.pictures == {"training": 2}


def test_a_complete_set_has_nothing_missing(tiny_sets):
    assert recognise(tiny_sets["freihand"]).missing == ()
    assert recognise(tiny_sets["freihand"]).pictures == {"training": 8, "evaluation": 2}


@pytest.mark.parametrize(
    ("archive", "title"),
    [
        ("RHD_v1-1.zip", "RHD"),
        ("FreiHAND_pub_v2.zip", "FreiHAND"),
        ("B1Counting.zip", "STB"),
        ("Training.tar.gz", "ICVL"),
    ],
)
def test_an_archive_that_is_not_unpacked(tmp_path, archive, title):
    (tmp_path / archive).touch()
    with pytest.raises(ValueError, match=rf"{archive}: an archive of {title}.* that is not unpacked; unpack it there"):
        recognise(tmp_path)


def test_other_folders(tmp_path):
    with pytest.raises(ValueError, match="the folder is empty"):
        recognise(tmp_path)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ValueError, match="none of the data sets known"):
        recognise(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        recognise(tmp_path / "nowhere")
