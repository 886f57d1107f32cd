"""DHPE, small networks at 128 pixels, from synthetic images alone: for a GPU, or with patience for a CPU.

Command:  python -m launch.train --config=configs/dhpe.py --workdir=runs/dhpe
On a laptop, in minutes, to see it run:  python -m launch.train --config=configs/dhpe.py:runlocal --workdir=runs/try

Fields that are not named here have the defaults of `handpose_jax.dhpe.training.DhpeTraining`, and can be set on the
command line as well: --config.dhpe.losses.tau=10. docs/training.md says what they are.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    if variant not in ("", "runlocal"):
        raise ValueError(f"configs/dhpe.py has the variant 'runlocal' only, got {variant!r}")
    config = ConfigDict()
    config.system = "dhpe"
    config.seed = 0
    config.evaluation_images = 256

    # Every section is there, so that each of its fields can be set on the command line.
    config.dhpe = ConfigDict({"parametrisation": {}})
    config.dhpe.networks = ConfigDict(
        {
            "backbone": "small",
            "image_size": 128,
            # The 2D joint network reads F's own maps: one look at the crop in place of two.
            "shared_features": 48,
            "pose_machine_width": 0.25,
            "pose_machine_stages": 1,
            # Maps of 32x32 cells, as the paper's; a cell is 7 px of a 224 crop.
            "subcell": True,
            "iterations": 3,
            "estimator_width": 512,
            "dtype": "float32",
        }
    )
    config.dhpe.losses = ConfigDict(
        {
            "heat_map_loss": "divergence",
            # Sharper than in configs/dhpe_paper.py, for joints read off finer than a cell.
            "heat_map_deviation": 1.5,
            # F's layers are trained by this term too, beside which L_Art must not vanish.
            "joints_2d": 0.5,
            "articulation": 30.0,
            "projected_2d": 5.0,
            "features_every": 4,
            # What Gaussian priors weigh beside L_Art when joints are off by some 5 mm. With 1e-3 shapes were at 2.6
            # standard deviations after 2,500 steps, and some hands thin as sticks.
            "pose_prior": 1e-2,
            "shape_prior": 2e-2,
            "mask": {"size": 64},
        }
    )

    # Towards what the score maps say, in as far as they are sure, and else near the network's estimate. Feature
    # self-consistency runs F forward and backward in every step, hundreds of times the cost of the other terms.
    config.dhpe.refinement = ConfigDict(
        {
            "target": "score_maps",
            "prior_of": "estimate",
            "prior": 1e-3,
            "step_size": 0.02,
            "steps": 50,
            "features": 0.0,
            "fit": True,
        }
    )

    config.data = ConfigDict({"batch_size": 32, "images_at_once": 4, "border_share": 0.3})
    config.data.synthesis = ConfigDict(
        {
            "image_size": 128,
            "quality": "quick",
            "supersample": 2,
            "fill": (0.60, 0.74),
            # Wider than a good camera's, so that less than good ones are covered.
            "object_share": 0.4,
            "second_hand_share": 0.3,
            "blur": (0.3, 2.0),
            "noise": (0.003, 0.02),
            "detail": (0.0, 0.07),
            "background_detail": (0.01, 0.12),
        }
    )

    # Without folders nothing is read: --config.real.sets.rhd.folder=RHD_published_v2 --config.real.synthetic_share=0.5
    config.real = ConfigDict({"sets": {"rhd": {"folder": ""}, "stb": {"folder": ""}, "freihand": {"folder": ""}}})
    config.optimizer = ConfigDict(
        {"learning_rate": 1.5e-3, "warmup_steps": 300, "decay_steps": 8_000, "clip_norm": 100.0, "average_decay": 0.999}
    )
    config.loop = ConfigDict(
        {"steps": 8_000, "log_every": 50, "checkpoint_every": 250, "evaluate_every": 500, "picture_every": 500}
    )

    if variant == "runlocal":
        config.evaluation_images = 8
        config.dhpe.networks.update(
            backbone="tiny", image_size=32, shared_features=8, pose_machine_width=0.05, estimator_width=32
        )
        config.dhpe.losses.update(heat_map_deviation=0.6, mask={"size": 16})
        config.data.batch_size = 8
        config.data.synthesis.update(image_size=32, supersample=1, pose_candidates=2)
        config.optimizer.update(warmup_steps=5, decay_steps=200, average_decay=0.9)
        config.loop.update(steps=60, log_every=5, checkpoint_every=20, evaluate_every=30, picture_every=30)
    return config
