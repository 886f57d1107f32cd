"""A widely used hand detector judges how much the open hand looks like a hand: two steps in two environments.

    python -m benchmarks.detector_referee draw --out=DIR
    DETECTOR_PYTHON -m benchmarks.detector_referee judge --images=DIR [--out=FILE]

The first step draws textured hands with a forearm: named poses from the palm's side within 20 degrees, and sampled
poses from palm and back within 60 degrees with random skin, light and background. The second runs MediaPipe's hand
tracker on each image alone (static, confidence 0.1), in an environment that has `mediapipe==0.10.21` and none of this
project's dependencies; from the repository's root. It prints, for each group, the share found, the mean distance of the
21 keypoints as a share of the larger side of the true keypoints' box (mean and median of the hands found), the share
found within a tenth, and the share whose side is right, of all and of those found. Hands bent backwards or stretched
are found too: this says "hand-like", not "right". `benchmarks.synthetic_referee` draws other cases for this step.
"""

import argparse
import json
import pathlib
import sys

from benchmarks.hardware import write_json

NAMED = ("open", "half_closed", "fist", "point", "pinch", "spread", "relaxed", "victory", "hook", "thumbs_up")
# Tilts of the camera from straight above the palm, degrees: towards the fingers, towards the thumb.
NAMED_TILTS = ((0.0, 0.0), (15.0, 0.0), (-15.0, 0.0), (0.0, 15.0), (0.0, -15.0))
SIZE = 384
FILL = 0.5
FAR_OFF = 0.25
"""Mean distance as a share of the box from which a hand counts as not the one that is there."""

COLUMNS = {
    "found": "found",
    "error": "2D error",
    "median_error": "its median",
    "error_within_tenth": "<= 10 %",
    "side_right": "side right",
    "side_right_of_found": "of found",
}


def draw(out: pathlib.Path, count: int, seed: int) -> int:
    """Write `images/*.png` and `cases.json`."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from PIL import Image

    import mano_jax
    from mano_jax.open_hand_model.poses import named_pose

    hand = mano_jax.open_hand("right")
    out.mkdir(parents=True, exist_ok=True)
    picture = jax.jit(_picture)
    cases = []

    def write(name: str, group: str, pose, facing, key, plain: bool) -> None:
        image, keypoints = picture(hand, jnp.asarray(pose, jnp.float32), jnp.asarray(facing, jnp.float32), key, plain)
        Image.fromarray(np.asarray(image)).save(out / f"{name}.png")
        cases.append(
            {"file": f"{name}.png", "group": group, "side": "right", "keypoints": np.asarray(keypoints).tolist()}
        )

    for pose_name in NAMED:
        for number, (along, over) in enumerate(NAMED_TILTS):
            facing = _facing(*np.deg2rad((along, over, 0.0)), palm=True)
            name, key = f"{pose_name}_{number}", jax.random.key(number)
            write(name, pose_name, named_pose(pose_name), facing, key, True)
    poses = jax.jit(mano_jax.sample_poses, static_argnums=2)(hand, jax.random.key(seed), count)
    generator = np.random.default_rng(seed)
    for number, pose in enumerate(poses):
        # Uniform on the cap of the sphere within 60 degrees.
        tilt, around = np.arccos(1 - 0.5 * generator.random()), 2 * np.pi * generator.random()
        palm = number % 2 == 0
        facing = _facing(tilt * np.cos(around), tilt * np.sin(around), np.deg2rad(generator.uniform(-45, 45)), palm)
        group = "sampled, palm" if palm else "sampled, back"
        write(f"sampled_{number:03d}", group, pose, facing, jax.random.key(1000 + number), False)
    (out / "cases.json").write_text(json.dumps({"size": SIZE, "cases": cases}))
    print(f"{len(cases)} images -> {out}")
    return 0


def _facing(along: float, over: float, roll: float, palm: bool):
    """Rotation from the model's frame to the camera's: the camera above palm or back, tilted, fingers up but for roll.

    The tilt is an angle sqrt(along² + over²) of the camera's direction towards (fingers, thumb).
    """
    import numpy as np

    tilt = np.hypot(along, over)
    sideways = np.sinc(tilt / np.pi)
    to_camera = np.array([-along * sideways, -np.cos(tilt) if palm else np.cos(tilt), over * sideways])
    up = np.array([-1.0, 0.0, 0.0]) - to_camera * -to_camera[0]
    up /= np.linalg.norm(up)
    up = np.cos(roll) * up + np.sin(roll) * np.cross(up, to_camera)
    down, forward = -up, -to_camera
    return np.stack([np.cross(down, forward), down, forward])


def _picture(model, pose, facing, key, plain):
    """[SIZE, SIZE, 3] uint8 and the true keypoints [21, 2]; `plain`: one skin, studio light, a grey wall."""
    import functools

    import jax
    import jax.numpy as jnp

    import mano_jax
    from handpose_jax.synthesis.backgrounds import sample_background
    from handpose_jax.synthesis.lighting import sample_light, studio_light
    from handpose_jax.synthesis.options import SynthesisOptions
    from handpose_jax.synthesis.rendering import draw_surface
    from handpose_jax.synthesis.skin import sample_skin, skin_colour, skin_map, skin_of_angle
    from handpose_jax.synthesis.surface import hand_surface, surface_topology
    from mano_jax.rotations import matrix_to_axis_angle
    from render_jax import Pinhole

    skin_key, light_key, background_key = jax.random.split(key, 3)
    options = SynthesisOptions(sleeve_share=0.0)
    rotation = matrix_to_axis_angle(facing)
    points = mano_jax.keypoints(model, pose, jnp.zeros(10), rotation, jnp.zeros(3))
    middle = 0.5 * (points.max(0) + points.min(0))
    translation = jnp.stack([-middle[0], -middle[1], 0.6 - middle[2]])
    points = points + translation[None]
    rays = points[:, :2] / points[:, 2:]
    extent = jnp.max(rays.max(0) - rays.min(0))
    camera = Pinhole(*(FILL * SIZE / extent,) * 2, cx=SIZE / 2, cy=SIZE / 2)

    def choose(one, other):
        return jax.tree.map(lambda a, b: jnp.where(plain, a, b), one, other)

    tone = sample_skin(skin_key, options)
    tone = choose(skin_of_angle(30.0)._replace(mottling=tone.mottling), tone)
    light = choose(studio_light(), sample_light(light_key))
    background = choose(jnp.full((SIZE, SIZE, 3), 0.62), sample_background(background_key, SIZE))
    mesh = mano_jax.forward(model, pose, jnp.zeros(10), rotation, translation)
    surface = hand_surface(model, mesh.vertices, mesh.joints[0], mesh.joint_rotations[0], jnp.zeros(2))
    tables = surface_topology(model.topology)
    texture = functools.partial(skin_colour, tone, skin_map(model))
    drawn = draw_surface(surface, tables.faces, tables.hand_faces, camera, background, light, texture)
    return (jnp.clip(drawn.image, 0.0, 1.0) * 255).astype(jnp.uint8), camera.project(points)


def judge(images: pathlib.Path, out: pathlib.Path | None) -> int:
    """Run the detector on every case of `cases.json`; print and optionally write the table."""
    import mediapipe  # pyright: ignore[reportMissingImports]: of the other environment
    import numpy as np
    from PIL import Image

    described = json.loads((images / "cases.json").read_text())
    hands = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=1, min_detection_confidence=0.1)
    groups: dict[str, list[dict]] = {}
    for case in described["cases"]:
        image = np.array(Image.open(images / case["file"]).convert("RGB"))
        result = hands.process(image)
        truth = np.array(case["keypoints"])
        row = {"file": case["file"], "found": bool(result.multi_hand_landmarks)}
        if row["found"]:
            found = np.array([(point.x, point.y) for point in result.multi_hand_landmarks[0].landmark])
            apart = np.linalg.norm(found * image.shape[1::-1] - truth, axis=1)
            row["error"] = float(apart.mean() / np.ptp(truth, axis=0).max())
            # Its labels are those of a selfie in a mirror: "Left" is a right hand in a plain photograph.
            label = result.multi_handedness[0].classification[0].label
            row["side_right"] = {"Left": "right", "Right": "left"}[label] == case["side"]
        groups.setdefault(case["group"], []).append(row)

    sampled = [row for name, rows in groups.items() if name.startswith("sampled") for row in rows]
    table = {name: summary(rows) for name, rows in groups.items()}
    if sampled:
        table["sampled, both"] = summary(sampled)
    print(f"{'':29}" + "".join(f"{name:>12}" for name in ("images", *COLUMNS.values())))
    for name, row in table.items():
        shares = ["-" if row[key] is None else f"{100 * row[key]:.1f} %" for key in COLUMNS]
        print(f"{name:29}{row['images']:12d}" + "".join(f"{share:>12}" for share in shares))
    if out is not None:
        rest = {key: value for key, value in described.items() if key != "cases"}
        singled_out = {name: failures(rows) for name, rows in groups.items()}
        write_json(out, {"mediapipe": mediapipe.__version__, **rest, "table": table, "images": singled_out})
    return 0


def summary(rows: list[dict]) -> dict:
    """Mean and median 2D error of a group's hands that were found; shares of all images, and one of those found."""
    import numpy as np

    found = [row for row in rows if row["found"]]
    errors = np.array([row["error"] for row in found])
    return {
        "images": len(rows),
        "found": len(found) / len(rows),
        "error": float(errors.mean()) if found else None,
        "median_error": float(np.median(errors)) if found else None,
        "error_within_tenth": float((errors <= 0.1).sum() / len(rows)),
        "side_right": sum(row["side_right"] for row in found) / len(rows),
        "side_right_of_found": sum(row["side_right"] for row in found) / len(found) if found else None,
    }


def failures(rows: list[dict]) -> dict[str, list[str]]:
    """Files of a group: not found, found on another place than the hand, and found as a hand of the other side."""
    found = [row for row in rows if row["found"]]
    return {
        "not_found": [row["file"] for row in rows if not row["found"]],
        "far_off": [row["file"] for row in found if row["error"] > FAR_OFF],
        "wrong_side": [row["file"] for row in found if not row["side_right"]],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    drawing = steps.add_parser("draw")
    drawing.add_argument("--out", type=pathlib.Path, required=True)
    drawing.add_argument("--count", type=int, default=100, help="sampled poses")
    drawing.add_argument("--seed", type=int, default=0)
    judging = steps.add_parser("judge")
    judging.add_argument("--images", type=pathlib.Path, required=True)
    judging.add_argument("--out", type=pathlib.Path, help="JSON with the table and each image's result")
    arguments = parser.parse_args()
    if arguments.step == "draw":
        return draw(arguments.out, arguments.count, arguments.seed)
    return judge(arguments.images, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
