"""Look at a hand model and move it: `python -m mano_jax.viewer` serves a page, `--html=FILE` writes one."""

import argparse
import importlib.util
import pathlib
import sys
import threading
from collections.abc import Sequence

import jax

RANDOM_POSES = 64
"""Plausible poses that a written page draws from; it cannot make its own."""


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"error: {message}; see --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    from mano_jax.open_hand_model.skin import TONES

    parser = _OneLineParser(prog="python -m mano_jax.viewer", description=__doc__)
    parser.add_argument(
        "--model", type=pathlib.Path, help="a MANO file or one of mano_jax.save; default: the open hand"
    )
    parser.add_argument("--model_side", choices=("left", "right"), help="of the file, where it does not say")
    parser.add_argument("--side", choices=("right", "left", "both"), help="shown first; default: the model's")
    parser.add_argument("--skin", choices=(*TONES, "none"), default="medium", help="tone of the open hand's skin")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--html", type=pathlib.Path, metavar="FILE", help="write one self-contained page and end")
    chosen = parser.parse_args(arguments)
    try:
        _run(chosen)
    except (ValueError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _run(chosen: argparse.Namespace) -> None:
    from mano_jax.files import load
    from mano_jax.open_hand_model import open_hand

    skin = None if chosen.skin == "none" else chosen.skin
    if chosen.model is not None:
        model = load(chosen.model, side=chosen.model_side)
    else:
        model = open_hand("left" if chosen.side == "left" else "right")
    if chosen.html is not None:
        _write(chosen, model, skin)
        return
    if importlib.util.find_spec("viser") is None:
        raise ValueError(
            "the served page needs viser: pip install 'handpose-jax[viewer]', or write one with --html=FILE"
        )
    from mano_jax.viewer.server import Viewer

    viewer = Viewer(model, chosen.side or model.side, chosen.host, chosen.port, skin)
    print(f"{viewer.url} (Ctrl+C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        viewer.stop()


def _write(chosen: argparse.Namespace, model, skin: str | None) -> None:
    from mano_jax.pose_sampling import sample_poses
    from mano_jax.viewer.appearance import atlas_of
    from mano_jax.viewer.page import write_hand_page

    if not chosen.html.resolve().parent.is_dir():
        raise OSError(f"{chosen.html}: no folder {chosen.html.parent} to write it to")
    poses = sample_poses(model, jax.random.key(0), RANDOM_POSES)
    name = None if chosen.model is None else chosen.model.name
    write_hand_page(chosen.html, model, side=chosen.side, file_name=name, skin=skin, random_poses=poses)
    print(f"{chosen.html}: {chosen.html.stat().st_size / 1000:.0f} kB")
    if atlas_of(model) is None:
        print(
            f"warning: the page contains the hand model of {name}; a MANO file's licence forbids passing it on",
            file=sys.stderr,
        )


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
