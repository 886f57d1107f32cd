"""Networks that the systems share: ResNets, the convolutional pose machine, and readers of their published weights."""

from handpose_jax.networks.feature_pyramid import FeaturePyramid
from handpose_jax.networks.pose_machine import PoseMachine
from handpose_jax.networks.pose_machine_weights import read_pose_machine_weights
from handpose_jax.networks.resnet import RESNETS, ResNet, ResNetFeatures, resnet
from handpose_jax.networks.score_maps import decode_score_maps, heat_maps_of_logits, render_heat_maps
from handpose_jax.networks.torch_weights import read_torch_resnet

__all__ = [
    "RESNETS",
    "FeaturePyramid",
    "PoseMachine",
    "ResNet",
    "ResNetFeatures",
    "decode_score_maps",
    "heat_maps_of_logits",
    "read_pose_machine_weights",
    "read_torch_resnet",
    "render_heat_maps",
    "resnet",
]
