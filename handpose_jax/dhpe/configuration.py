"""Every choice of DHPE in frozen dataclasses; comments give each [ours] value's reason. Defaults are the full sizes."""

import dataclasses

from handpose_jax.projection import MaskOptions


@dataclasses.dataclass(frozen=True)
class Parametrisation:
    """How the network's 63 numbers stand for a hand.

    Attributes:
      pose: "coefficients" of the model's pose basis, or "axis_angle" differences; both from the model's mean pose.
      pose_components: how many of the 45 pose numbers count; the others are taken as 0.
      initial_scale: NDC units per metre at h = 0.
    """

    # [ours] The paper says 45 dimensions and not which; its authors' later code uses coefficients.
    pose: str = "coefficients"
    # [paper] All 45; 6 is its experiment on "the usual" PCA.
    pose_components: int = 45
    # [ours] The box's larger side is 4/3 NDC by construction. Over 2,000 random views and poses of the open hand the
    # scale that gives this has median 12.4 and quartiles 10.0 and 14.8: exp(±0.2).
    initial_scale: float = 12.0

    def __post_init__(self):
        if self.pose not in ("coefficients", "axis_angle"):
            raise ValueError(f"pose must be 'coefficients' or 'axis_angle', got {self.pose!r}")
        if not 1 <= self.pose_components <= 45 or (self.pose == "axis_angle" and self.pose_components != 45):
            raise ValueError(
                f"pose_components must be 1 to 45, and 45 for axis angles, got {self.pose_components} for {self.pose!r}"
            )
        if not self.initial_scale > 0.0:
            raise ValueError(f"initial_scale must be above 0, got {self.initial_scale}")


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """Sizes of the networks.

    Attributes:
      backbone: feature extractor F, a name of `networks.RESNETS`.
      image_size: edge of the crop, pixels.
      pose_machine_size: edge the crop is resized to for the 2D joint network, pixels; an eighth of it is the number of
        cells of a score map.
      pose_machine_width: multiplies the 2D joint network's channels.
      pose_machine_stages: its score maps, each seeing the one before.
      shared_features: channels of a feature pyramid over F's own maps, from which the 2D joint network then starts, in
        place of its own layers over the crop; its score maps have a quarter of `image_size` cells, and
        `pose_machine_size` says nothing. 0: it looks at the crop itself.
      subcell: whether j2D is read off the score maps finer than a cell.
      iterations: how often the mesh estimator is applied.
      refine_2d: whether the 2D refiner runs; without it every iteration sees the score maps' joints.
      estimator_width: of two hidden layers of the mesh estimator. 0: it is one linear layer.
      use_2d: whether the estimator sees 2D joints at all; without, it is HMR-like and j2D is zeros.
      dtype: in which F and the 2D joint network compute. Parameters, heads and geometry are float32.
    """

    backbone: str = "resnet50"  # [paper]
    image_size: int = 224  # [paper]
    pose_machine_size: int = 256  # [derived] From maps of 32x32 of a network of stride 8.
    pose_machine_width: float = 1.0
    pose_machine_stages: int = 3  # [paper]
    shared_features: int = 0  # [paper] Two networks. Sharing F's layers halves the cost of a small machine's step.
    estimator_width: int = 0  # [paper] One layer. Lifting 2D joints to a hand is not linear, so hidden layers pay.
    subcell: bool = False  # [paper] Arg max; half a cell is 3.5 px of the crop, so True pays for coarser maps.
    iterations: int = 3  # [paper]; 1, 2 and 5 are its experiments.
    refine_2d: bool = True
    use_2d: bool = True
    dtype: str = "float32"  # "bfloat16" halves memory and time on accelerators.

    def __post_init__(self):
        if self.pose_machine_size % 8 or self.pose_machine_size < 8:
            raise ValueError(f"pose_machine_size must be a multiple of 8 pixels, got {self.pose_machine_size}")
        if self.iterations < 1 or self.pose_machine_stages < 1:
            raise ValueError(
                f"iterations and pose_machine_stages must be at least 1, got {self.iterations}, "
                f"{self.pose_machine_stages}"
            )
        if self.shared_features < 0 or self.estimator_width < 0:
            raise ValueError(
                f"shared_features and estimator_width must be at least 0, got {self.shared_features}, "
                f"{self.estimator_width}"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}")


SMALL_NETWORKS = NetworkOptions(
    backbone="small",
    image_size=128,
    pose_machine_width=0.25,
    pose_machine_stages=1,
    shared_features=48,
    estimator_width=512,
    subcell=True,
)
"""[ours] For a CPU or a small GPU: 3.4 million parameters, maps of 32x32 cells."""

TINY_NETWORKS = NetworkOptions(
    backbone="tiny",
    image_size=32,
    pose_machine_size=32,
    pose_machine_width=0.05,
)
"""[ours] For tests and dry runs: seconds to compile."""


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """Weights of Eq. 7's terms, and what else the losses need.

    All weights are [ours]; the paper names λ only.

    Attributes:
      articulation, shape, laplacian, features, refiner, joints_2d: weights of L_Art, L_Sh, L_Lap, L_Feat, L_Ref, L_J2D.
      projected_2d: weight of the squared distance of the projected joints from the true 2D ones.
      every_iteration: whether L_Art and the projected joints count after each of the three steps (by their mean) or
        after the last only.
      unused_depth, shape_prior, pose_prior: weights of the squares of t_z, of the shape coefficients, and of the pose
        coefficients in standard deviations.
      schedule: λ of the shape term: "scheduled" (Eq. 12), "constant" (1 for all) or "none" (0).
      features_every: L_Feat is of the first of every so many instances of a batch, and stands for all of them.
      tau: threshold of Eq. 12, pixels of a crop of 224.
      heat_map_loss: "squared" (Eq. 3), or "divergence": score maps are logarithms of probabilities.
      heat_map_deviation: width of the heat maps' bumps, cells.
      mask: how masks are drawn in training.
    """

    # Squared distances in crop edges, summed over 63 numbers: about 4 for the untrained hand, 0.02 at 5 mm a joint.
    articulation: float = 10.0
    # A mean over pixels: 0.2 for a hand in the wrong place.
    shape: float = 1.0
    # Of the mesh in its own frame times initial_scale, so that it does not pull on the scale: 0.025 for the mean hand.
    laplacian: float = 0.1
    # A sum over channels, 2,048 of ResNet-50: about 1/2048, so that it is of the order of one channel's square.
    features: float = 5e-4
    # Squared NDC, summed over 42 numbers: four times the squares of L_Art in crop edges.
    refiner: float = 2.5
    # Of all. F(x ⊙ m) costs as much as F(x).
    features_every: int = 1
    # A sum over cells and over three stages: before training some 320 a stage at the width below. It reaches the 2D
    # network alone (arg max passes no gradient), so under Adam its weight sets no balance with the other terms.
    joints_2d: float = 1e-3
    # Not among the paper's terms as they survive. Without it nothing trains the translation: L_Art has no place in it,
    # and λ of the mask stays 0. In the unit of the refiner's loss.
    projected_2d: float = 2.5
    # HMR applies its loss after the last step only; Eq. 8 names one output. With the mean each step learns to help.
    every_iteration: bool = True
    # t_z has no effect; the square keeps it from drifting.
    unused_depth: float = 1.0
    # What 21 joints and a mask leave open, twist above all, falls to the mean.
    shape_prior: float = 1e-4
    pose_prior: float = 1e-4
    schedule: str = "scheduled"
    # A tenth of the hand's box (149 px of 224): beyond it the mask pulls at the wrong finger.
    tau: float = 15.0
    heat_map_loss: str = "squared"  # [derived]
    # 25 px of 256 in exp(-d²/sigma²), as the public network of the same line was trained: 25 / sqrt(2) / 8.
    heat_map_deviation: float = 2.21
    mask: MaskOptions = dataclasses.field(default_factory=MaskOptions)

    def __post_init__(self):
        if self.schedule not in ("scheduled", "constant", "none"):
            raise ValueError(f"schedule must be 'scheduled', 'constant' or 'none', got {self.schedule!r}")
        if self.heat_map_loss not in ("squared", "divergence"):
            raise ValueError(f"heat_map_loss must be 'squared' or 'divergence', got {self.heat_map_loss!r}")
        if self.features_every < 1:
            raise ValueError(f"features_every must be at least 1, got {self.features_every}")
        if not (self.tau > 0.0 and self.heat_map_deviation > 0.0):
            raise ValueError(
                f"tau and heat_map_deviation must be above 0, got {self.tau} px and {self.heat_map_deviation} cells"
            )


@dataclasses.dataclass(frozen=True)
class RefinementOptions:
    """Test-time refinement, Eq. 13; all values but the number of steps are [ours].

    Attributes:
      steps: iterations.
      optimizer: "adam" or "plain" steps.
      step_size: γ.
      joints_2d, features, laplacian, prior: weights of the 2D term, of the feature self-consistency (what λ becomes at
        test, where Eq. 12 has no truth to compare with), of L_Lap, and of the squares of pose and shape.
      target: j2D of the 2D term: "refined", the 2D refiner's output, or "score_maps", what these say themselves, each
        joint weighted by the square of its confidence.
      refine_2d: whether the 2D refiner is run again as h improves; else j2D stays its output at the start.
      prior_of: the squares are of the distance from the "mean" hand, as in training, or from the network's "estimate"
        (its rotation too), which then decides what the 2D joints leave open.
      mask_size: edge of the mask that cuts the image out, before it is enlarged to the image.
      fit: whether the hand is then fitted in perspective (`perspective_fit`), by another solver and better priors.
    """

    steps: int = 50  # [paper]
    # Plain steps would have to suit numbers of unlike size: radians, log scale, NDC, standard deviations.
    optimizer: str = "adam"
    # With Adam a number moves by at most about this a step: 0.5 over 50, some 30 degrees.
    step_size: float = 0.01
    joints_2d: float = 1.0
    features: float = 5e-4  # As in training.
    laplacian: float = 0.1  # As in training.
    prior: float = 1e-4  # As in training.
    target: str = "refined"  # [paper]
    refine_2d: bool = True  # [paper]
    prior_of: str = "mean"
    mask_size: int = 64  # As in training; enlarged bilinearly.
    fit: bool = False

    def __post_init__(self):
        for name, known in (
            ("optimizer", ("adam", "plain")),
            ("target", ("refined", "score_maps")),
            ("prior_of", ("mean", "estimate")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {known[0]!r} or {known[1]!r}, got {getattr(self, name)!r}")


@dataclasses.dataclass(frozen=True)
class DhpeOptions:
    """The whole system."""

    networks: NetworkOptions = dataclasses.field(default_factory=NetworkOptions)
    parametrisation: Parametrisation = dataclasses.field(default_factory=Parametrisation)
    losses: LossOptions = dataclasses.field(default_factory=LossOptions)
    refinement: RefinementOptions = dataclasses.field(default_factory=RefinementOptions)
