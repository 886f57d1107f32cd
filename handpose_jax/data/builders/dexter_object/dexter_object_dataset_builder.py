"""Dexter+Object as a TFDS builder; see `handpose_jax.data.builders`."""

from handpose_jax.data.builders.base import HandBuilder


class Builder(HandBuilder):
    """Dexter+Object."""

    READER = "dexter_object"
    TEXT = (
        "Dexter+Object: 3,145 frames of a left hand with a box, in the frame of the colour camera; only fingertips "
        "(keypoints 4, 8, 12, 16, 20) are annotated, the others are NaN."
    )
    HOMEPAGE = "https://handtracker.mpi-inf.mpg.de/projects/RealtimeHO/"
    CITATION = """@inproceedings{sridhar2016real,
  title = {Real-Time Joint Tracking of a Hand Manipulating an Object from RGB-D Input},
  author = {Srinath Sridhar and Franziska Mueller and Michael Zollhoefer and Dan Casas and Antti Oulasvirta and
            Christian Theobalt},
  booktitle = {European Conference on Computer Vision},
  year = {2016}
}"""
    PARTS = (("test", "evaluation"),)
