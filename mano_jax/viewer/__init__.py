"""A viewer of hand models: `python -m mano_jax.viewer` serves a page of sliders, `--html=FILE` writes one to keep.

The modules are read best in this order: sliders (names, ranges and meaning of every slider), appearance (what colours
there are), page (the self-contained page; .js, .css and .html files are its parts, hand.js the hand function), scene
and server (the page that viser serves). viser and trimesh are imported there only, Pillow where a skin is wanted.
"""

from mano_jax.viewer.page import hand_page, write_hand_page
from mano_jax.viewer.sliders import HandParameters, Slider, Sliders

__all__ = ["HandParameters", "Slider", "Sliders", "hand_page", "write_hand_page"]
