"""RHD as a TFDS builder; see `handpose_jax.data.builders`."""

from handpose_jax.data.builders.base import HandBuilder


class Builder(HandBuilder):
    """RHD."""

    READER = "rhd"
    TEXT = (
        "Rendered Handpose Dataset v1.1: 41,258 + 2,728 rendered pictures of 320x320 pixels; of each the hand with "
        "more pixels in its mask. For research only."
    )
    HOMEPAGE = "https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html"
    CITATION = """@inproceedings{zimmermann2017learning,
  title = {Learning to Estimate 3D Hand Pose from Single RGB Images},
  author = {Christian Zimmermann and Thomas Brox},
  booktitle = {IEEE International Conference on Computer Vision},
  year = {2017}
}"""
    PIXELS = ("image", "mask", "depth")
