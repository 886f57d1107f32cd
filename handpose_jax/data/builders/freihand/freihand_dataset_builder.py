"""FreiHAND as a TFDS builder; see `handpose_jax.data.builders`."""

from handpose_jax.data.builders.base import HandBuilder


class Builder(HandBuilder):
    """FreiHAND."""

    READER = "freihand"
    TEXT = (
        "FreiHAND v2: right hands, 224x224; 32,560 training samples in four versions and 3,960 evaluation pictures, "
        "whose joints are NaN without FreiHAND_pub_v2_eval, and whose masks are black. For research only."
    )
    HOMEPAGE = "https://lmb.informatik.uni-freiburg.de/projects/freihand/"
    CITATION = """@inproceedings{zimmermann2019freihand,
  title = {FreiHAND: A Dataset for Markerless Capture of Hand Pose and Shape from Single RGB Images},
  author = {Christian Zimmermann and Duygu Ceylan and Jimei Yang and Bryan Russell and Max Argus and Thomas Brox},
  booktitle = {IEEE International Conference on Computer Vision},
  year = {2019}
}"""
    PIXELS = ("image", "mask")
