"""A data set in a few large files: annotations as one `.npz`, the bytes of its pictures in ArrayRecords.

Pictures stay as they are, byte for byte, and any one can be read without those before it: the order of training is
drawn over the whole set, so files that are only read from front to back would not do. It spares file systems a hundred
thousand small files, and readers their work: which hand is meant, where it lies, which annotations are damaged.
"""

import dataclasses
import importlib
import json
import os
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from handpose_jax.data.examples import HandExamples, PixelFiles, chosen

RECORD_MARK = "#"
"""Between an ArrayRecord's path and the number of a record in it, where a `PixelFiles` path is meant."""
KINDS = ("images", "depth", "masks")
_ARRAYS = ("K", "side", "joints", "keypoints", "visible", "mask_labels", "native", "vertices", "bone_length")
_TEXTS = ("ids", "sequence", "native_names", "skipped", "notes")
_open = threading.local()


def read_record(path: str) -> bytes:
    """The bytes behind a path `FILE#NUMBER`. Files stay open, in each thread its own.

    Raises:
      ValueError: no such file or record.
    """
    name, _, number = path.rpartition(RECORD_MARK)
    readers = _open.__dict__.setdefault("readers", {})
    if name not in readers:
        if not os.path.isfile(name):
            raise ValueError(f"{name}: no such file; run `launch.data prepare` again")
        readers[name] = _module().ArrayRecordReader(name, options="readahead_buffer_size:0", file_reader_buffer_size=1)
    reader = readers[name]
    if int(number) >= reader.num_records():
        raise ValueError(f"{name}: has {reader.num_records()} records, not {int(number) + 1}; prepare it again")
    return reader.read([int(number)])[0]


def has_records(folder: str | pathlib.Path, split: str) -> bool:
    """Whether `write_records` wrote a split there."""
    return (pathlib.Path(folder) / f"{split}.npz").is_file()


def splits_of_records(folder: str | pathlib.Path) -> list[str]:
    """The splits that `write_records` wrote into a folder."""
    found = [path.name.split(".")[0] for path in pathlib.Path(folder).glob("*.array_record")]
    return [split for split in sorted(set(found)) if has_records(folder, split)]


def read_records(folder: str | pathlib.Path, split: str) -> HandExamples:
    """What `write_records` wrote.

    Raises:
      ValueError: there is no such split, or the file is not one of these.
    """
    path = pathlib.Path(folder) / f"{split}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays["about"]))
        fields: dict[str, Any] = {
            kind: PixelFiles(
                tuple(f"{path.with_suffix('')}.{kind}.array_record{RECORD_MARK}{row}" for row in arrays[f"{kind}_row"]),
                about[kind]["encoding"],
                None if about[kind]["size"] is None else tuple(about[kind]["size"]),
            )
            for kind in KINDS
            if kind in about
        }
        fields |= {name: tuple(about[name]) for name in _TEXTS}
        fields |= {name: arrays[name] for name in _ARRAYS if name in arrays}
        return HandExamples(name=about["name"], split=about["split"], **fields)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; run `launch.data prepare` for the split {split!r}") from None
    except (KeyError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not what `launch.data prepare` writes ({error}); prepare it again") from None


def write_records(
    examples: HandExamples,
    folder: str | pathlib.Path,
    content_of: Callable[[PixelFiles, int], bytes],
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> HandExamples:
    """Writes one split: `SPLIT.npz`, and `SPLIT.images.array_record`, `.depth.`, `.masks.` for what there is.

    Args:
      examples: of one split.
      folder: exists.
      content_of: reads and checks the bytes of a row's file; ValueError where they are damaged.
      skip_bad: leave damaged hands out, a line for each in `skipped`.
      progress: told of hands read and their number.

    Returns:
      The hands that were written.

    Raises:
      ValueError: a file is damaged and `skip_bad` is not set, or nothing is left.
    """
    kinds = [kind for kind in KINDS if getattr(examples, kind) is not None]
    base = pathlib.Path(folder) / examples.split
    writers = {
        # Pictures are compressed already.
        kind: _module().ArrayRecordWriter(f"{base}.{kind}.array_record", "group_size:1,uncompressed")
        for kind in kinds
    }
    records: dict[str, dict[str, int]] = {kind: {} for kind in kinds}
    kept, skipped = [], list(examples.skipped)
    for row in range(len(examples)):
        try:
            for kind in kinds:
                files = getattr(examples, kind)
                if files.paths[row] not in records[kind]:
                    content = content_of(files, row)
                    writers[kind].write(content)
                    records[kind][files.paths[row]] = len(records[kind])
            kept.append(row)
        except ValueError as error:
            if not skip_bad:
                raise
            skipped.append(str(error))
        progress(row + 1, len(examples))
    for writer in writers.values():
        writer.close()
    if not kept:
        raise ValueError(f"{examples.name} {examples.split}: no hand could be read; the first: {skipped[0]}")
    left = dataclasses.replace(chosen(examples, kept), skipped=tuple(skipped))
    _write_annotations(left, base, records)
    return left


def _write_annotations(examples: HandExamples, base: pathlib.Path, records: dict[str, dict[str, int]]) -> None:
    about = {"name": examples.name, "split": examples.split, **{name: getattr(examples, name) for name in _TEXTS}}
    arrays = {name: getattr(examples, name) for name in _ARRAYS if getattr(examples, name) is not None}
    for kind, numbers in records.items():
        files: PixelFiles = getattr(examples, kind)
        about[kind] = {"encoding": files.encoding, "size": files.size}
        arrays[f"{kind}_row"] = np.array([numbers[path] for path in files.paths])
    np.savez(base.with_name(f"{base.name}.npz"), about=np.array(json.dumps(about)), **arrays)


def _module() -> Any:
    try:
        module = importlib.import_module("array_record.python.array_record_module")
    except ImportError:
        raise ValueError(
            "records need ArrayRecord, which comes with TensorFlow Datasets: pip install array_record"
        ) from None
    return module
