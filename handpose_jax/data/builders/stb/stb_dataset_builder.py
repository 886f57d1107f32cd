"""STB as a TFDS builder; see `handpose_jax.data.builders`."""

from handpose_jax.data.builders.base import HandBuilder


class Builder(HandBuilder):
    """STB."""

    READER = "stb"
    TEXT = (
        "Stereo hand pose Tracking Benchmark: twelve videos of one left hand; both pictures of the stereo camera, "
        "30,000 to train and 6,000 (background B1) to test. `native` has the palm that the set annotates in place of "
        "the wrist."
    )
    HOMEPAGE = "https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset"
    CITATION = """@inproceedings{zhang2017hand,
  title = {A Hand Pose Tracking Benchmark from Stereo Matching},
  author = {Jiawei Zhang and Jianbo Jiao and Mingliang Chen and Liangqiong Qu and Xiaobin Xu and Qingxiong Yang},
  booktitle = {IEEE International Conference on Image Processing},
  year = {2017}
}"""
    NATIVE = 21
