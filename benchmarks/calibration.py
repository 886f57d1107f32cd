"""Are the fit's standard deviations right? `python -m benchmarks.calibration [--out=FILE] [--picture=FILE]`.

Random hands of the open model's own statistics, keypoints with the noise that the options state, fitted from one
camera, from two at a right angle, and from 3D keypoints; and from one camera with twice the noise that is stated, which
is what overconfidence looks like. For every camera axis: the share of true joint coordinates inside one and two of the
fit's standard deviations (68.3 and 95.4 % would be right), and the whole curve as a picture.
"""

import argparse
import math
import pathlib

import numpy as np

import mano_jax
from benchmarks.hardware import hardware_line, write_json
from handpose_jax.refinement import FitOptions, HandFits, KeypointBatch, fit_hands
from mano_jax import anatomy

CAMERA = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
AXES = ("x", "y", "z")
LEVELS = np.linspace(0.05, 0.99, 48)


def random_joints(model: mano_jax.HandModel, count: int, seed: int) -> np.ndarray:
    """[count, 21, 3], metres: poses and shapes of the model's own statistics, any rotation, 0.4 to 0.8 m away."""
    random = np.random.default_rng(seed)
    coefficients = random.normal(size=(count, 45)) * np.asarray(model.pose_standard_deviations)
    pose = anatomy.clip_to_limits(model, mano_jax.pose_from_coefficients(model, coefficients.astype(np.float32)))
    axes = random.normal(size=(count, 3))
    rotation = axes / np.linalg.norm(axes, axis=1, keepdims=True) * random.uniform(0.0, np.pi, (count, 1))
    translation = random.uniform([-0.1, -0.1, 0.4], [0.1, 0.1, 0.8], (count, 3))
    shape = np.clip(random.normal(size=(count, 10)), -3.0, 3.0)
    return np.asarray(mano_jax.keypoints(model, pose, shape, rotation, translation), np.float64)


def noisy_pixels(joints: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """u px, v px, confidence 1 of joints in a camera's frame; noise is a share of the box around the hand."""
    image = joints @ CAMERA.T
    pixels = image[..., :2] / image[..., 2:]
    box = (pixels.max(-2) - pixels.min(-2)).max(-1)[..., None, None]
    pixels = pixels + noise * box * random.normal(size=pixels.shape)
    return np.concatenate([pixels, np.ones((*pixels.shape[:-1], 1))], axis=-1)


def from_the_side(joints: np.ndarray) -> np.ndarray:
    """[count, 4, 4]: transforms into a second camera that sees each hand from 90 degrees aside, equally far away."""
    transforms = np.tile(np.eye(4), (len(joints), 1, 1))
    turn = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    centre = joints.mean(1)
    transforms[:, :3, :3] = turn
    transforms[:, :3, 3] = np.array([0.0, 0.0, 1.0]) * centre[:, 2:] - centre @ turn.T
    return transforms


def cases(model: mano_jax.HandModel, count: int, options: FitOptions) -> dict[str, tuple[HandFits, np.ndarray]]:
    """Fits and true joints of each case."""
    joints = random_joints(model, count, 0)
    random = np.random.default_rng(1)
    models, sides, K = {"right": model}, ("right",) * count, np.tile(CAMERA, (count, 1, 1))

    def one_view(noise: float) -> HandFits:
        return fit_hands(models, KeypointBatch(noisy_pixels(joints, noise, random), None, K, sides), options)

    aside = from_the_side(joints)
    transforms = np.stack([np.tile(np.eye(4), (count, 1, 1)), aside], axis=1)
    in_view = np.einsum("nvab,nkb->nvka", transforms[..., :3, :3], joints) + transforms[..., None, :3, 3]
    two = KeypointBatch(
        keypoints=noisy_pixels(in_view, options.pixel_sigma_share, random),
        keypoints_3d=None,
        K=np.stack([K, K], axis=1),
        side=sides,
        world_to_camera=transforms,
    )
    noise = options.metre_sigma * random.normal(size=joints.shape)
    space = np.concatenate([joints + noise, np.ones((count, 21, 1))], axis=-1)
    return {
        "one camera": (one_view(options.pixel_sigma_share), joints),
        "two cameras": (fit_hands(models, two, options), joints),
        "3D keypoints": (fit_hands(models, KeypointBatch(None, space, None, sides), options), joints),
        "one camera, noise twice as stated": (one_view(2.0 * options.pixel_sigma_share), joints),
    }


def standardised_errors(fits: HandFits, joints: np.ndarray) -> np.ndarray:
    """[hands, 21, 3]: errors by axis, in units of the fit's own standard deviations."""
    deviations = np.sqrt(np.einsum("nkaa->nka", fits.joint_covariance_m2.astype(np.float64)))
    return (fits.joints - joints) / deviations


def coverage(errors: np.ndarray, sigmas: float) -> list[float]:
    """Share of coordinates inside so many standard deviations, by axis."""
    return [float(share) for share in (np.abs(errors) < sigmas).mean((0, 1))]


def draw(errors: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """Observed against expected shares of true coordinates inside the central interval of each probability."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from scipy.stats import norm

    sigmas = norm.ppf(0.5 + 0.5 * LEVELS)
    figure, panels = pyplot.subplots(
        1, len(errors), figsize=(3.1 * len(errors), 3.5), sharey=True, layout="constrained"
    )
    for panel, (name, values) in zip(panels, errors.items(), strict=True):
        panel.plot([0, 1], [0, 1], color="0.6", linewidth=1.0, linestyle="--")
        for axis, colour in zip(range(3), ("#c44e52", "#55a868", "#4c72b0"), strict=True):
            inside = [(np.abs(values[..., axis]) < sigma).mean() for sigma in sigmas]
            panel.plot(LEVELS, inside, color=colour, linewidth=1.6, label=f"{AXES[axis]} axis")
        for sigma in (1.0, 2.0):
            panel.axvline(math.erf(sigma / math.sqrt(2.0)), color="0.85", linewidth=1.0, zorder=0)
        panel.set(title=name, xlabel="probability of the interval", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        panel.title.set_fontsize(10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of true coordinates inside")
    panels[0].legend(frameon=False, loc="upper left", fontsize=9)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the numbers as JSON")
    parser.add_argument("--picture", type=pathlib.Path, help="also draw the reliability curves")
    parser.add_argument("--hands", type=int, default=1024)
    arguments = parser.parse_args()
    print(hardware_line())
    results, errors = {}, {}
    for name, (fits, joints) in cases(mano_jax.open_hand("right"), arguments.hands, FitOptions()).items():
        errors[name] = standardised_errors(fits, joints)
        deviations = 1e3 * np.abs(fits.joints - joints).mean((0, 1))
        results[name] = {
            "within one sigma": coverage(errors[name], 1.0),
            "within two sigma": coverage(errors[name], 2.0),
            "beyond four sigma": coverage(errors[name], np.inf)[0] - float((np.abs(errors[name]) < 4.0).mean()),
            "mean absolute error, mm": deviations.tolist(),
        }
        print(name)
        for key, value in results[name].items():
            shown = value if isinstance(value, list) else [value]
            print(f"  {key:26}" + "  ".join(f"{number:8.3f}" for number in shown))
    if arguments.picture:
        draw(errors, arguments.picture)
    if arguments.out:
        write_json(arguments.out, {"axes": AXES, "hands": arguments.hands, "results": results})


if __name__ == "__main__":
    main()
