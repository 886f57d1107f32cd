"""Batches of crops through tf.data. Slow: TensorFlow's import alone takes as long as the fast tests of this folder."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from handpose_jax.data.augmentation import AugmentationOptions
from handpose_jax.data.examples import HandExamples, PixelFiles, chosen
from handpose_jax.data.hand_table import CropOptions, HandTable
from handpose_jax.data.pipeline import Share, TrainingCrops, evaluation_batches, to_devices
from handpose_jax.data.pixels import read_mask, read_pixels
from handpose_jax.training import batch_sharding, data_mesh
from render_jax import Crop
from tests.fixtures.rhd import write_rhd

REPOSITORY = pathlib.Path(__file__).parents[3]
FRAMES = 7
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def hands(tmp_path_factory) -> HandExamples:
    return read_small_set(tmp_path_factory.mktemp("rhd"))


def read_small_set(folder: pathlib.Path) -> HandExamples:
    """The larger hand of each picture of a tiny RHD; the same through files alone, without a reader."""
    written = write_rhd(folder, frames=FRAMES)

    def files(part: str, encoding: str) -> PixelFiles:
        paths = tuple(str(written.root / "training" / part / f"{frame:05d}.png") for frame in range(FRAMES))
        return PixelFiles(paths, encoding, (320, 320))

    return HandExamples(
        name="rhd",
        split="training",
        ids=tuple(f"training/{frame:05d}" for frame in range(FRAMES)),
        K=written.K,
        side=written.side,
        joints=written.joints,
        keypoints=written.keypoints,
        visible=np.ones((FRAMES, 21), bool),
        images=files("color", "rgb"),
        depth=files("depth", "depth_rhd"),
        masks=files("mask", "labels"),
        mask_labels=np.array([[2, 17] if side == "left" else [18, 33] for side in written.side]),
    )


def projected(batch) -> np.ndarray:
    images = np.einsum("nij,npj->npi", batch["K"].astype(float), batch["joints"].astype(float))
    return images[..., :2] / images[..., 2:]


@slow
def test_upright_crops_are_those_of_render_jax(hands):
    """Enlarged and shrunk, over the border, left and right: pixels within one of 255, masks and depth alike."""
    for size, margin in ((224, 1.5), (40, 4.0)):
        options = CropOptions(size=size, margin=margin, pixels=("images", "masks", "depth"))
        batch = next(evaluation_batches(hands, options, FRAMES))
        assert batch["images"].dtype == batch["masks"].dtype == np.uint8
        table = HandTable([hands], options)
        for row in range(FRAMES):
            crop = Crop(
                np.float32(table.centre[row]), np.float32(table.side[row]), bool(hands.side[row] == "left"), size
            )
            assert hands.images is not None
            image = read_pixels(hands.images, row).astype(np.float32)
            expected = np.asarray(crop.image_to_crop(jnp.asarray(image)))
            assert np.abs(batch["images"][row] - expected).max() <= 1.0, (size, row)
            mask = np.asarray(crop.image_to_crop(jnp.asarray(255.0 * read_mask(hands, row), jnp.float32)))
            assert np.abs(batch["masks"][row] - mask).max() <= 1.0
        np.testing.assert_allclose(projected(batch), batch["keypoints"], atol=1e-2)
        near = batch["depth"][batch["depth"] > 0]
        assert np.ptp(near) < 0.25 * FRAMES
        covered = (batch["depth"] > 0) == (batch["masks"] > 127)
        assert covered.mean() > 0.97


@slow
def test_turned_crops_show_what_their_annotations_say(hands):
    """Pixels follow the algebra: at each keypoint's place the colour of the full image's keypoint."""
    augmentation = AugmentationOptions(
        rotation=40.0,
        brightness=0.0,
        contrast=(1.0, 1.0),
        saturation=(1.0, 1.0),
        hue=0.0,
        blur_share=0.0,
        cut_out_share=0.0,
    )
    smooth = dataclasses.replace(hands, images=gradients(hands))
    for size in (224, 100):  # finer than the image, and coarser by more than LARGEST_PLAIN_STEP
        crops = TrainingCrops([smooth], CropOptions(size=size), FRAMES, None, augmentation, share=Share())
        batch = next(crops.from_step(0))
        assert abs(batch["angle"]).max() > 0.3
        np.testing.assert_allclose(projected(batch), batch["keypoints"], atol=1e-2)
        for row in range(FRAMES):
            full = hands.keypoints[batch["row"][row]]
            places = np.clip(batch["keypoints"][row].astype(int), 0, size - 1)
            inside = ((full > 4) & (full < 316)).all(axis=-1)
            seen = batch["images"][row][places[:, 1], places[:, 0]].astype(float)
            # Red is u / 2 and green v / 2; a crop pixel is at most three image pixels.
            assert np.abs(seen[inside, :2] - full[inside] / 2).max() < 3.0


def gradients(hands: HandExamples) -> PixelFiles:
    """A picture whose red is half of u and whose green half of v."""
    assert hands.images is not None
    path = pathlib.Path(hands.images.paths[0]).parents[2] / "gradient.png"
    v, u = np.mgrid[:320, :320] + 0.5
    Image.fromarray(np.stack([u / 2, v / 2, 0 * u], axis=-1).round().astype(np.uint8)).save(path)
    return dataclasses.replace(hands.images, paths=(str(path),) * len(hands))


@slow
def test_a_left_hand_is_the_right_hand_of_the_mirrored_picture(hands, tmp_path):
    """Bit for bit, with everything that is drawn at random, for both sides."""
    rounded = dataclasses.replace(
        hands,
        keypoints=np.round(8.0 * hands.keypoints) / 8.0,
        K=np.round(8.0 * hands.K) / 8.0,
    )
    mirrored = dataclasses.replace(
        rounded,
        side=np.where(hands.side == "left", "right", "left"),
        joints=hands.joints * [-1.0, 1.0, 1.0],
        keypoints=rounded.keypoints * [-1.0, 1.0] + [320.0, 0.0],
        K=rounded.K * [[[1, 1, -1], [1, 1, 1], [1, 1, 1]]] + [[[0, 0, 320.0], [0, 0, 0], [0, 0, 0]]],
        images=mirror_files(hands.images, tmp_path / "color"),
        masks=mirror_files(hands.masks, tmp_path / "mask"),
    )
    for augmentation in (None, AugmentationOptions()):
        one, other = (
            next(TrainingCrops([given], CropOptions(64), FRAMES, None, augmentation, share=Share()).from_step(0))
            for given in (rounded, mirrored)
        )
        for name in ("images", "masks", "keypoints", "joints", "K"):
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def mirror_files(files: PixelFiles | None, folder: pathlib.Path) -> PixelFiles:
    assert files is not None
    folder.mkdir()
    paths = []
    for path in files.paths:
        paths.append(str(folder / pathlib.Path(path).name))
        Image.fromarray(np.asarray(Image.open(path))[:, ::-1]).save(paths[-1])
    return dataclasses.replace(files, paths=tuple(paths))


@slow
def test_a_batch_is_a_function_of_its_number(hands):
    """Another run, a later start and more threads give the same; another seed another."""
    options = CropOptions(32)

    def batches(seed=0, first=0, workers=0, count=3):
        crops = TrainingCrops([hands], options, 5, None, AugmentationOptions(), seed, Share(), workers)
        iterator = crops.from_step(first)
        return [next(iterator) for _ in range(count)]

    first = batches()
    for others in (batches(workers=3), [*batches(count=1), *batches(first=1, count=2)]):
        for one, other in zip(first, others, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert (batches(seed=1, count=1)[0]["images"] != first[0]["images"]).any()
    epochs = np.concatenate([batch["row"] for batch in batches(count=7)])
    assert [sorted(rows) for rows in epochs.reshape(5, FRAMES)] == [list(range(FRAMES))] * 5


@slow
def test_evaluation_counts_every_hand_once(hands):
    for count, processes in ((2, 1), (1, 2)):
        shares = [
            list(evaluation_batches(hands, CropOptions(16), 2 * count, Share(index, processes)))
            for index in range(processes)
        ]
        assert {len(batches) for batches in shares} == {-(-FRAMES // (2 * count))}
        assert {len(batch["row"]) for batches in shares for batch in batches} == {2 * count // processes}
        rows = [row for batches in shares for batch in batches for row in batch["row"][batch["valid"]]]
        assert sorted(rows) == list(range(FRAMES))
        last = [batch["valid"] for batches in shares for batch in batches[-1:]]
        assert np.concatenate(last).tolist().count(False) == -FRAMES % (2 * count)


@slow
def test_sets_are_mixed_and_may_lack_masks(hands):
    without = dataclasses.replace(chosen(hands, [0, 1, 2]), name="stb", masks=None, mask_labels=None)
    crops = TrainingCrops([hands, without], CropOptions(16), 8, [3.0, 1.0], share=Share())
    iterator = crops.from_step(0)
    batches = [next(iterator) for _ in range(32)]
    of_second = np.concatenate([batch["row"] >= FRAMES for batch in batches])
    assert 0.15 < of_second.mean() < 0.35
    for batch in batches[:4]:
        np.testing.assert_array_equal(batch["masks_known"], batch["row"] < FRAMES)
        np.testing.assert_array_equal(batch["masks"].any(axis=(1, 2)), batch["masks_known"])


@slow
def test_a_damaged_file_is_named(hands, tmp_path):
    path = tmp_path / "00003.png"
    path.write_bytes(pathlib.Path(hands.images.paths[3]).read_bytes()[:2000])
    paths = list(hands.images.paths)
    paths[3] = str(path)
    broken = dataclasses.replace(hands, images=dataclasses.replace(hands.images, paths=tuple(paths)))
    with pytest.raises(ValueError, match=r"00003.png: not a readable rgb file"):
        list(evaluation_batches(broken, CropOptions(16), 2))
    with pytest.raises(ValueError, match="has no depth"):
        HandTable([dataclasses.replace(hands, depth=None)], CropOptions(pixels=("depth",)))
    unknown = dataclasses.replace(hands, keypoints=np.full_like(hands.keypoints, np.nan))
    with pytest.raises(ValueError, match="7 of 7 hands cannot be cropped by the rule 'tight_box'"):
        HandTable([unknown], CropOptions())


@slow
def test_label_image_with_a_palette(hands, tmp_path):
    """Its numbers are places in a palette, not the greys that they stand for."""
    paths = []
    for path in hands.masks.paths:
        labels = Image.open(path)
        labels.putpalette([255 - value for value in range(256) for _ in range(3)])
        paths.append(str(tmp_path / pathlib.Path(path).name))
        labels.save(paths[-1])
    coloured = dataclasses.replace(hands, masks=dataclasses.replace(hands.masks, paths=tuple(paths)))
    one, other = (next(evaluation_batches(given, CropOptions(32), FRAMES)) for given in (hands, coloured))
    np.testing.assert_array_equal(one["masks"], other["masks"])


@slow
def test_on_several_devices(hands):
    batch = next(evaluation_batches(hands, CropOptions(16), 4))
    mesh = data_mesh(jax.devices()[:4])
    with jax.transfer_guard("disallow"):
        placed = to_devices(batch, batch_sharding(mesh))
    assert len(placed["images"].sharding.device_set) == 4
    for name, value in batch.items():
        np.testing.assert_array_equal(placed[name], value)


PROCESS = """
import json, pathlib, sys
import jax
folder, coordinator, index = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
jax.distributed.initialize(coordinator, 2, index)
import numpy as np
from handpose_jax.data.augmentation import AugmentationOptions
from handpose_jax.data.hand_table import CropOptions
from handpose_jax.data.pipeline import TrainingCrops, evaluation_batches, to_devices
from handpose_jax.training import batch_sharding, data_mesh
from tests.handpose_jax.data.test_pipeline import read_small_set
hands = read_small_set(folder / str(index))
sharding = batch_sharding(data_mesh())
iterator = TrainingCrops([hands], CropOptions(16), 2, None, AugmentationOptions(), seed=5).from_step(0)
mine, totals = [], []
for _ in range(7):
    batch = next(iterator)
    mine += batch["row"].tolist()
    placed = to_devices({"images": batch["images"]}, sharding)["images"]
    assert placed.shape == (2, 16, 16, 3), placed.shape
    totals.append(int(jax.jit(lambda x: x.astype("int32").sum())(placed)))
seen = [row for batch in evaluation_batches(hands, CropOptions(16), 4) for row in batch["row"][batch["valid"]].tolist()]
print(json.dumps({"mine": mine, "totals": totals, "seen": seen}))
"""


@slow
def test_two_processes_share_the_set(hands, tmp_path):
    """Disjoint in each epoch, together the whole; and the very batches of a process that is alone."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(REPOSITORY)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), coordinator, str(index)],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    results = []
    for process in processes:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        results.append(json.loads(out.splitlines()[-1]))
    first, second = (result["mine"] for result in results)
    together = np.stack([first, second], axis=1).reshape(-1)
    for epoch in together.reshape(2, FRAMES):
        assert sorted(epoch) == list(range(FRAMES))
    assert sorted(results[0]["seen"] + results[1]["seen"]) == list(range(FRAMES))
    assert results[0]["totals"] == results[1]["totals"]
    alone = TrainingCrops([hands], CropOptions(16), 2, None, AugmentationOptions(), 5, Share()).from_step(0)
    batches = [next(alone) for _ in range(7)]
    assert np.concatenate([batch["row"] for batch in batches]).tolist() == together.tolist()
    assert [int(batch["images"].astype(int).sum()) for batch in batches] == results[0]["totals"]
