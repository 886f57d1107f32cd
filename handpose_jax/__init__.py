"""Dense 3D hands from images: fitting, evaluation and, as they come, the systems built on them."""
