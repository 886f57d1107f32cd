"""DHPE: dense hand pose from one RGB image by neural rendering.

Source: Baek, Kim, Kim, "Pushing the Envelope for RGB-based Dense 3D Hand Pose Estimation via Neural Rendering", CVPR
2019, arXiv 1904.04196. Its authors released no code, and the equations' typeset form is lost from the text that
survives: docstrings tag what is [paper], what is [derived] from its words and sizes, and what is [ours].
"""
