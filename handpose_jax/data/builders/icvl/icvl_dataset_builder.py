"""ICVL as a TFDS builder; see `handpose_jax.data.builders`."""

from handpose_jax.data.builders.base import HandBuilder


class Builder(HandBuilder):
    """ICVL."""

    READER = "icvl"
    TEXT = (
        "ICVL: depth maps of 320x240 pixels; 331,006 to train and 1,596 to test. Its 16 joints are in `native`; the "
        "21 keypoints are NaN."
    )
    HOMEPAGE = "https://labicvl.github.io/hand.html"
    CITATION = """@inproceedings{tang2014latent,
  title = {Latent Regression Forest: Structured Estimation of 3D Articulated Hand Posture},
  author = {Danhang Tang and Hyung Jin Chang and Alykhan Tejani and Tae-Kyun Kim},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2014}
}"""
    PIXELS = ("depth",)
    NATIVE = 16
