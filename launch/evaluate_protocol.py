"""The part of `launch.evaluate` behind --protocol: anyone's files, scored the way of a data set. docs/protocols.md."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from launch.command_line import staged_output, warn

if TYPE_CHECKING:
    from handpose_jax.evaluation.protocol_files import ScoredHands
    from handpose_jax.evaluation.protocols import Protocol

_NOT_OF_A_PROTOCOL = ("truth", "checkpoint", "weights", "held_out", "count", "refine", "fit", "fit_from_2d", "model")


def run_protocol(values: flags.FlagValues) -> None:
    """Reads, scores, prints; writes `metrics.json` and `pck.png`, and a submission.

    Raises:
      ValueError, OSError: input or output is unusable; nothing is written then.
    """
    from handpose_jax.evaluation.protocol_files import read_hands, read_reference_curve
    from handpose_jax.evaluation.protocols import protocol_named

    protocol = protocol_named(values.protocol)
    for name in _NOT_OF_A_PROTOCOL:
        if getattr(values, name) is not None:
            instead = "; the truth of a protocol is --groundtruth" if name == "truth" else ""
            raise ValueError(f"--{name} and --protocol do not go together{instead}")
    files = named_files(values.predictions or [])
    if not files:
        raise ValueError("--protocol needs --predictions, see docs/protocols.md")
    if values.submission is not None:
        if protocol.name != "freihand" or len(files) > 1:
            raise ValueError("--submission writes one file of predictions with --protocol=freihand")
        if not values.groundtruth:
            ((_, path),) = files.items()
            write_submission(read_hands(path, protocol), pathlib.Path(values.submission))
            return
    if not values.groundtruth:
        raise ValueError("--protocol needs --groundtruth, see docs/protocols.md")
    truth_paths = [path for text in values.groundtruth for path in separate(text)]
    references = {}
    for text in values.reference or []:
        name, _, path = text.partition("=")
        if not name or not path:
            raise ValueError(f"--reference={text}: expected NAME=FILE")
        references[name] = read_reference_curve(path)
    truth = read_hands(truth_paths, protocol)
    if values.sequences is not None:
        truth = truth._replace(sequence=sequence_of_lengths(values.sequences, len(truth.joints)))
    hands = {}
    for name, path in files.items():
        hands[name] = read_hands(path, protocol)
        count, expected = len(hands[name].joints), len(truth.joints)
        if count != expected:
            raise ValueError(
                f"{path}: {count} frames of predictions for {expected} of truth in {', '.join(truth_paths)}; expected "
                "one for each, in order"
            )
    with staged_output(values.out) if values.out else contextlib.nullcontext() as out:
        print_and_write(hands, truth, protocol, references, files, truth_paths, out)
        if values.submission is not None:
            write_submission(next(iter(hands.values())), pathlib.Path(values.submission))
        if out is not None:
            print("wrote", ", ".join(str(path) for path in out.publish()))


def print_and_write(hands, truth: ScoredHands, protocol: Protocol, references, files, truth_paths, out) -> None:
    """Scores every file and prints the table; with a folder, writes what belongs there."""
    from handpose_jax.evaluation.bootstrap import REPLICATES, blocks_of_frames, bootstrap_intervals
    from handpose_jax.evaluation.protocol_report import metrics_content, protocol_picture, table
    from handpose_jax.evaluation.protocol_scores import score

    blocks, kind = blocks_of_frames(len(truth.joints), protocol.run, truth.sequence)
    scores = {}
    for name, one in hands.items():
        scores[name], errors = score(one, truth, protocol)
        intervals = bootstrap_intervals(errors, blocks, protocol.mean_over)
        scores[name] |= {"file": pathlib.Path(files[name]).name, "intervals_95": intervals}
    print(f"{len(truth.joints)} frames, alignment: {protocol.alignment}")
    print(table(scores, protocol))
    if out is not None:
        from handpose_jax.evaluation.fit_output import write_json

        names = ", ".join(pathlib.Path(path).name for path in truth_paths)
        content = metrics_content(scores, protocol, references, {"protocol": protocol.name, "groundtruth": names})
        content["bootstrap"] = {"blocks": kind, "count": int(blocks.max()) + 1, "replicates": REPLICATES}
        write_json(out.path("metrics.json"), content)
        out.path("pck.png").write_bytes(protocol_picture(scores, protocol, references))


def write_submission(hands: ScoredHands, path: pathlib.Path) -> None:
    """FreiHAND's `pred.json`, written beside and renamed; says on standard error what is not as the server wants it.

    Raises:
      OSError: the file cannot be written.
    """
    import numpy as np

    from handpose_jax.evaluation.protocol_files import FREIHAND_FRAMES, submission_text

    missing = int((~np.isfinite(hands.joints).all(axis=(1, 2))).sum())
    if len(hands.joints) != FREIHAND_FRAMES:
        warn(f"{path}: {len(hands.joints)} frames; the evaluation set has {FREIHAND_FRAMES}")
    if hands.vertices is None:
        warn(f"{path}: no vertices in the predictions; zeros are written in their place")
    if missing:
        warn(f"{path}: {missing} frames without a prediction; zeros are written in their place")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=".unfinished-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(submission_text(hands))
        pathlib.Path(unfinished).chmod(0o644)
        pathlib.Path(unfinished).replace(path)
    except BaseException:
        pathlib.Path(unfinished).unlink(missing_ok=True)
        raise
    print("wrote", path)


def named_files(texts: Sequence[str]) -> dict[str, str]:
    """Name in the table -> path, of flags FILE, NAME=FILE or several with commas between; names are made unique.

    Raises:
      ValueError: the same name is given twice.
    """
    result: dict[str, str] = {}
    parts = [part for text in texts for part in separate(text)]
    stems = [pathlib.PurePath(part).stem for part in parts]
    for part, stem in zip(parts, stems, strict=True):
        name, _, path = part.partition("=")
        if not path or os.path.exists(part):
            name, path = (stem if stems.count(stem) == 1 else part), part
        if name in result:
            raise ValueError(f"--predictions: {name} is given twice; name files by NAME=FILE")
        result[name] = path
    return result


def separate(text: str) -> list[str]:
    """Paths with commas between them, unless the whole is one."""
    return [text] if os.path.exists(text) else [part for part in text.split(",") if part]


def sequence_of_lengths(text: str, count: int):
    """The number of each frame's sequence, of lengths with commas between them.

    Raises:
      ValueError: they are no lengths, or not of so many frames.
    """
    import numpy as np

    try:
        lengths = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--sequences={text}: expected lengths as 702,894") from None
    if min(lengths) < 1 or sum(lengths) != count:
        raise ValueError(f"--sequences={text}: {sum(lengths)} frames, but the truth has {count}")
    return np.repeat(np.arange(len(lengths)), lengths)
