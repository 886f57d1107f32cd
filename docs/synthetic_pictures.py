"""Makes the picture of synthetic_images.md: `python docs/synthetic_pictures.py` from the repository's root.

Needs Pillow and, on two CPU cores, a minute.
"""

import pathlib

import jax
import numpy as np
from PIL import Image

import mano_jax
from handpose_jax.synthesis import SynthesisOptions, keys_of, synthetic_batch

COLUMNS = 6
OCCLUDED = {"object_share": 0.5, "second_hand_share": 0.4}


def row(count: int, seed: int, **options) -> np.ndarray:
    """So many images beside one another, right and left hands."""
    hand, left = mano_jax.open_hand(), np.arange(count) % 2 == 1
    made = synthetic_batch(keys_of(seed, count), hand, left, SynthesisOptions(**options))
    return np.concatenate(list(np.asarray(jax.device_get(made.image))), axis=1)


def main() -> None:
    quick = {"image_size": 128, "quality": "quick"}
    rows = [row(COLUMNS, 1, **quick), row(COLUMNS, 5, **quick, **OCCLUDED), row(COLUMNS, 6, **quick, **OCCLUDED)]
    rows.append(row(COLUMNS // 2, 4, object_share=0.4, second_hand_share=0.3))
    sheet = Image.fromarray((255.0 * np.concatenate(rows)).astype(np.uint8))
    # Sensor noise does not compress; 192 colours are enough to see what is there.
    sheet = sheet.quantize(192, dither=Image.Dither.NONE)
    out = pathlib.Path(__file__).parent / "images" / "synthetic.png"
    sheet.save(out, optimize=True)
    print(out, out.stat().st_size // 1000, "kB")


if __name__ == "__main__":
    main()
