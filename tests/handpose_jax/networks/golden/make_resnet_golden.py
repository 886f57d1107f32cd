"""Writes resnet.npz: outputs of torchvision's ResNets with made-up weights. Needs torch and torchvision, else unused.

From the repository's root: python -m tests.handpose_jax.networks.golden.make_resnet_golden
"""

import pathlib
from typing import Any

import numpy as np

from tests.handpose_jax.networks.made_up_weights import made_up, made_up_images

SIZES = {"resnet18": 40, "resnet34": 33, "resnet50": 64}
"""Edges of the images; the odd ones so that padding at both borders counts."""


def main() -> None:
    import torch  # pyright: ignore[reportMissingImports]
    import torchvision  # pyright: ignore[reportMissingImports]

    golden: dict[str, Any] = {
        "source": np.array(f"torchvision {torchvision.__version__}, torch {torch.__version__}, CPU, float32")
    }
    for name, size in SIZES.items():
        network = torchvision.models.get_model(name, weights=None).eval()
        state = network.state_dict()
        network.load_state_dict({key: torch.tensor(made_up(key, tuple(value.shape))) for key, value in state.items()})
        images = made_up_images(2, size)
        mean, deviation = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
        x = torch.tensor(((images - mean) / deviation).transpose(0, 3, 1, 2))
        with torch.no_grad():
            x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
            for stage in range(1, 5):
                x = getattr(network, f"layer{stage}")(x)
                golden[f"{name}_stage{stage}"] = x[0, ::61].numpy().transpose(1, 2, 0).astype(np.float32)
            golden[f"{name}_pooled"] = x.mean(dim=(2, 3)).numpy()
    np.savez_compressed(pathlib.Path(__file__).with_name("resnet.npz"), **golden)


if __name__ == "__main__":
    main()
