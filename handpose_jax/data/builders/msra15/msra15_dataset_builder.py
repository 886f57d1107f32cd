"""MSRA15 as a TFDS builder; see `handpose_jax.data.builders`."""

from handpose_jax.data.builders.base import HandBuilder


class Builder(HandBuilder):
    """MSRA15."""

    READER = "msra"
    TEXT = "MSRA15: 76,375 depth maps of nine subjects, a split each: the protocol leaves one out."
    HOMEPAGE = "https://jimmysuen.github.io"
    CITATION = """@inproceedings{sun2015cascaded,
  title = {Cascaded Hand Pose Regression},
  author = {Xiao Sun and Yichen Wei and Shuang Liang and Xiaoou Tang and Jian Sun},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2015}
}"""
    PARTS = tuple((f"P{subject}", f"P{subject}") for subject in range(9))
    PIXELS = ("depth",)
