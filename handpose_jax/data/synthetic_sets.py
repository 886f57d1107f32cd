"""Synthetic images in the layout of real data sets: to try readers and training with, where no set is at hand.

The files are what the set's own loaders take: names, byte orders, joint orders, units. What a synthetic hand has not is
filled in plainly, and said below; numbers from such files say nothing about the set.
"""

import functools
import json
import pathlib
import pickle
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import ArrayLike, Float, Int, UInt8

from handpose_jax.synthesis import SynthesisOptions, SyntheticHand, keys_of, synthesis_tables, synthetic_batch
from mano_jax import HandModel
from mano_jax.keypoints import reorder_keypoints
from mano_jax.surface import vertex_joints
from render_jax import Pinhole, rasterize
from render_jax.rasterization import Fragments

PathOf = Callable[[str], pathlib.Path]
"""Name of a file within the output folder -> where to write it."""
_AT_ONCE = 16
_RHD_LABEL_OF_JOINT = np.array([17, 7, 6, 5, 10, 9, 8, 16, 15, 14, 13, 12, 11, 4, 3, 2])
"""Left hand, by MANO's joints; each finger is labelled from its tip to the palm. A right hand's are 16 more."""
_FARTHEST = 5.0
"""Metres: the greatest depth that RHD's files can say, here of everything that is not the hand."""
_BESIDE = 0.6
"""Metres to the side, where the hand that is not in the picture is."""


def write_rhd_like(path_of: PathOf, model: HandModel, count: int, seed: int, split: str = "training") -> None:
    """RHD: 320x320, one hand a picture, left and right in turn.

    The other hand, which RHD always annotates, is the mirror image, 0.6 m to the side and not visible. Depth is that of
    the hand alone, before 5 m.
    """
    from PIL import Image

    root = f"RHD_published_v2/{split}"
    options = SynthesisOptions(image_size=320, quality="quick", fill=(0.25, 0.55))
    annotations = {}
    for number, hand in enumerate(_hands(model, count, seed, options, np.arange(count) % 2 == 0)):
        left = bool(hand.left)
        other = hand.joints * [-1.0, 1.0, 1.0] + [_BESIDE if left else -_BESIDE, 0.0, 0.0]
        pair = reorder_keypoints(np.stack([hand.joints, other] if left else [other, hand.joints]), "canonical", "rhd")
        images = pair @ hand.K.T
        pixels = images[..., :2] / images[..., 2:]
        visible = np.zeros((2, 21))
        visible[0 if left else 1] = reorder_keypoints(hand.visible[:, None], "canonical", "rhd")[:, 0]
        annotations[number] = {
            "xyz": pair.reshape(42, 3),
            "uv_vis": np.concatenate([pixels, visible[..., None]], axis=-1).reshape(42, 3),
            "K": hand.K,
        }
        part, depth = _parts_and_depth(model, hand, 320)
        labels = np.where(part >= 0, _RHD_LABEL_OF_JOINT[part] + (0 if left else 16), 0)
        depth = np.rint(depth / 5.0 * 65535.0).astype(np.int64)
        pictures = {
            "color": _as_bytes(hand.image),
            "mask": labels.astype(np.uint8),
            "depth": np.stack([depth // 256, depth % 256, 0 * depth], axis=-1).astype(np.uint8),
        }
        for kind, picture in pictures.items():
            Image.fromarray(picture).save(path_of(f"{root}/{kind}/{number:05d}.png"))
    path_of(f"{root}/anno_{split}.pickle").write_bytes(pickle.dumps(annotations, protocol=2))


def write_freihand_like(path_of: PathOf, model: HandModel, count: int, seed: int, split: str = "training") -> None:
    """FreiHAND: 224x224, right hands. The three further versions of a training picture have other background colours.

    Pose numbers are measured from the model's mean pose, as FreiHAND's are from MANO's; `uv_root` is the middle MCP.
    """
    from PIL import Image

    root = "FreiHAND_pub_v2"
    options = SynthesisOptions(image_size=224, quality="quick", fill=(0.40, 0.70))
    lists: dict[str, list] = {"K": [], "xyz": [], "verts": [], "mano": [], "scale": []}
    for number, hand in enumerate(_hands(model, count, seed, options, np.zeros(count, bool))):
        scale = float(np.linalg.norm(hand.joints[9] - hand.joints[10]))
        pose = np.concatenate([hand.rotation, hand.pose - np.asarray(model.pose_mean)])
        lists["K"].append(hand.K.tolist())
        lists["xyz"].append(hand.joints.tolist())
        lists["verts"].append(hand.vertices.tolist())
        lists["scale"].append(scale)
        lists["mano"].append([[*pose.tolist(), *hand.shape[:10].tolist(), *hand.keypoints[9].tolist(), scale]])
        image, mask = _as_bytes(hand.image), hand.mask > 0.5
        versions = 4 if split == "training" else 1
        for version in range(versions):
            turned = np.roll(image, version, axis=-1) if version < 3 else 255 - image
            shown = np.where(mask[..., None], image, turned)
            name = f"{root}/{split}/rgb/{number + version * count:08d}.jpg"
            Image.fromarray(shown).save(path_of(name), quality=92)
        if split == "training":
            white = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
            Image.fromarray(white).save(path_of(f"{root}/{split}/mask/{number:08d}.jpg"), quality=92)
    for name, rows in lists.items():
        path_of(f"{root}/{split}_{name}.json").write_text(json.dumps(rows))


WRITERS: dict[str, Callable[..., None]] = {"rhd": write_rhd_like, "freihand": write_freihand_like}


def _hands(
    model: HandModel, count: int, seed: int, options: SynthesisOptions, left: np.ndarray
) -> Iterator[SyntheticHand]:
    """One at a time, on the host, in 64 bits."""
    tables, keys = synthesis_tables(model, options), keys_of(seed, count + -count % _AT_ONCE)
    left = np.resize(left, count + -count % _AT_ONCE)
    for first in range(0, count, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        made = jax.device_get(synthetic_batch(keys[part], model, left[part], options, tables))
        for row in range(min(_AT_ONCE, count - first)):
            yield jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row], _wide(leaf.dtype)), made)


def _wide(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float64) if np.issubdtype(dtype, np.floating) else dtype


def _parts_and_depth(
    model: HandModel, hand: SyntheticHand, size: int
) -> tuple[Int[np.ndarray, "size size"], Float[np.ndarray, "size size"]]:
    """The joint that moves what is seen at each pixel, -1 for none; and its depth."""
    K, faces = hand.K.astype(np.float32), np.asarray(model.faces)
    camera = Pinhole(fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2])
    seen = jax.device_get(_seen(camera.to_screen(hand.vertices.astype(np.float32)), faces, size))
    covered = (seen.face_index >= 0) & (hand.mask > 0.0)
    part = vertex_joints(model)[faces].max(axis=1)[seen.face_index]
    return np.where(covered, part, -1), np.where(covered, seen.depth, _FARTHEST)


@functools.partial(jax.jit, static_argnums=2)
def _seen(vertices: jax.Array, faces: np.ndarray, size: int) -> Fragments:
    return rasterize(vertices, faces, (size, size))


def _as_bytes(image: Float[ArrayLike, "size size 3"]) -> UInt8[np.ndarray, "size size 3"]:
    return np.clip(np.rint(255.0 * np.asarray(image)), 0, 255).astype(np.uint8)
