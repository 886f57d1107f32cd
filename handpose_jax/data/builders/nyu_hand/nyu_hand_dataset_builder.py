"""NYU hand as a TFDS builder; see `handpose_jax.data.builders`."""

from handpose_jax.data.builders.base import HandBuilder


class Builder(HandBuilder):
    """NYU hand."""

    READER = "nyu"
    TEXT = (
        "NYU hand pose: depth maps of the first Kinect, 72,757 to train and 8,252 to test. The 14 scored joints are "
        "in `native`; of the 21 keypoints the fingertips are given."
    )
    HOMEPAGE = "https://jonathantompson.github.io/NYU_Hand_Pose_Dataset.htm"
    CITATION = """@article{tompson2014real,
  title = {Real-Time Continuous Pose Recovery of Human Hands Using Convolutional Networks},
  author = {Jonathan Tompson and Murphy Stein and Yann LeCun and Ken Perlin},
  journal = {ACM Transactions on Graphics},
  year = {2014}
}"""
    PIXELS = ("depth",)
    NATIVE = 14
