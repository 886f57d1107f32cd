"""Folders of pictures, NYU depth v2's HDF5 files and TFDS's records behind one sequence."""

import numpy as np
import pytest
from PIL import Image

from handpose_jax.data.sets.backgrounds import open_backgrounds, stacked_squares
from tests.fixtures.backgrounds import write_nyu_depth, write_pictures


def test_a_folder_of_pictures(tmp_path):
    pictures = write_pictures(tmp_path)
    (tmp_path / "notes.txt").touch()
    backgrounds = open_backgrounds(tmp_path)
    assert len(backgrounds) == 3
    for found, expected in zip(backgrounds, pictures, strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(IndexError, match="numbered 0 to 2"):
        backgrounds[3]


def test_nyu_depth(tmp_path):
    pictures = write_nyu_depth(tmp_path)
    backgrounds = open_backgrounds(tmp_path)
    assert len(backgrounds) == 2
    for found, expected in zip(backgrounds, pictures, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_damaged_hdf5_is_named(tmp_path):
    import h5py

    (tmp_path / "00001.h5").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"00001\.h5: not a readable rgb_hdf5 file"):
        open_backgrounds(tmp_path)[0]
    with h5py.File(tmp_path / "00001.h5", "w") as file:
        file["depth"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"00001\.h5: .*expected a member rgb"):
        open_backgrounds(tmp_path)[0]


def test_squares_are_the_middle_of_each_picture(tmp_path):
    for name, size in (("a.png", (40, 60)), ("b.png", (80, 20))):
        height, width = size
        pixels = np.zeros((height, width, 3), np.uint8)
        edge = min(size)
        top, left = (height - edge) // 2, (width - edge) // 2
        pixels[top : top + edge, left : left + edge] = 200
        Image.fromarray(pixels).save(tmp_path / name)
    squares = stacked_squares(open_backgrounds(tmp_path), [1, 0], 10)
    assert squares.shape == (2, 10, 10, 3)
    assert squares.dtype == np.uint8
    assert (squares == 200).all()


def test_folders_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="the folder is empty"):
        open_backgrounds(tmp_path)
    (tmp_path / "nyudepthv2.tar.gz").touch()
    with pytest.raises(ValueError, match=r"no pictures .*nyudepthv2\.tar\.gz\): unpack it fully"):
        open_backgrounds(tmp_path)


@pytest.mark.slow
def test_records_as_tfds_prepares_them(tmp_path):
    """A tiny set with nyu_depth_v2's features, written by TFDS itself in both file formats."""
    import tensorflow_datasets as tfds

    pictures = [np.random.default_rng(row).integers(0, 256, (480, 640, 3), np.uint8) for row in range(2)]
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(480, 640, 3), dtype=np.uint8),
            "depth": tfds.features.Tensor(shape=(480, 640), dtype=np.float16),
        }
    )

    class NyuDepthV2(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("0.0.1")

        def _info(self):
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for row, pixels in enumerate(pictures):
                yield row, {"image": pixels, "depth": np.ones((480, 640), np.float16)}

    def written(file_format: str):
        builder = NyuDepthV2(data_dir=str(tmp_path / file_format), file_format=file_format)
        builder.download_and_prepare()
        return builder.data_dir

    folder = written("array_record")
    backgrounds = open_backgrounds(folder)
    assert len(backgrounds) == 2
    sums = sorted(int(picture.sum()) for picture in backgrounds)
    assert sums == sorted(int(picture.sum()) for picture in pictures)
    with pytest.raises(ValueError, match="no split 'test' in it, only train"):
        open_backgrounds(folder, "test")
    with pytest.raises(ValueError, match="prepare them again with file_format='array_record'"):
        open_backgrounds(written("tfrecord"))
