"""`python -m mano_jax.open_hand_model [--out PATH]`: make the open hand's file from the numbers in this package."""

import argparse
import importlib.util
import pathlib
import sys

from mano_jax.open_hand_model import FILE_NAME


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mano_jax.open_hand_model", description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / FILE_NAME)
    arguments = parser.parse_args()
    missing = [name for name in ("scipy", "skimage") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"making the open hand needs {' and '.join(missing)}: pip install scipy scikit-image", file=sys.stderr)
        return 2
    from mano_jax.open_hand_model import build

    arrays = build.build()
    try:
        build.write(arguments.out, arrays)
    except OSError as error:
        print(f"cannot write {arguments.out}: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
