"""Settings of the train step, which trains one candidate."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from components.shared.config import ChannelDeviations, ChannelMeans, Interpolation, Precision, StepConfig


def _check_one_transform(item: dict) -> dict:
    if len(item) != 1:
        names = ", ".join(item) or "nothing"
        raise ValueError(
            f"a list item must name one transform, but this item names {names}; write each transform as a separate item"
        )
    return item


# A transform of Albumentations, or of components/train/opencv_transforms.py: {name: {argument: value}}.
NamedTransform = Annotated[dict[str, dict[str, JsonValue]], AfterValidator(_check_one_transform)]

# The augmentation of the student report that this system began with.
PAPER_AUGMENTATION: tuple[NamedTransform, ...] = (
    {"Rotate": {"limit": 30, "border_mode": "BORDER_REFLECT_101", "p": 0.8}},
    {"FastColorJitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02, "p": 0.8}},
    {"FastGaussNoise": {"std_range": [0.0, 0.03], "p": 0.5}},
)

# The robustness test corrupts tiles, for example with noise. Some transforms are similar to such a corruption, but
# weaker. So a network that is trained with such a transform already knows the corruption. This dict is: name of such a
# transform -> the families of corruptions that it is similar to.
_BRIGHTNESS = ("low_light", "over_exposure")
_NOISE = ("gaussian_noise",)
CORRUPTIONS_SHOWN: dict[str, tuple[str, ...]] = {
    "AdditiveNoise": _NOISE,
    "AdvancedBlur": ("defocus",),
    "Affine": ("oblique_view",),
    "Blur": ("defocus",),
    "ColorJitter": _BRIGHTNESS,
    "Defocus": ("defocus",),
    "Downscale": ("down_sampling",),
    "FastColorJitter": _BRIGHTNESS,
    "FastGaussNoise": _NOISE,
    "GaussNoise": _NOISE,
    "GaussianBlur": ("defocus",),
    "GlassBlur": ("defocus",),
    "ISONoise": _NOISE,
    "Illumination": (*_BRIGHTNESS, "shadow"),
    "ImageCompression": ("jpeg",),
    "MedianBlur": ("defocus",),
    "MotionBlur": ("motion_blur",),
    "MultiplicativeNoise": _NOISE,
    "Perspective": ("oblique_view",),
    "PlasmaBrightnessContrast": _BRIGHTNESS,
    "PlasmaShadow": ("shadow",),
    "RandomBrightnessContrast": _BRIGHTNESS,
    "RandomGamma": _BRIGHTNESS,
    "RandomShadow": ("shadow",),
    "RandomToneCurve": _BRIGHTNESS,
    "ShotNoise": _NOISE,
    "Spatter": ("stain",),
    "ZoomBlur": ("defocus",),
}
# A brightness argument with one of these values means that the transform does not change the brightness. The argument
# is a strength, a range of changes, or a range of factors.
_NO_CHANGE = (0, [0, 0], [1, 1])


class TrainConfig(StepConfig):
    """The settings of one candidate's training: network, optimiser, length and augmentation."""

    GIVEN_BY_RUN = StepConfig.GIVEN_BY_RUN | {"container_image", "weights_licences"}
    WITHOUT_EFFECT = GIVEN_BY_RUN | {"workers", "require_gpu", "checkpoint_minutes"}

    architecture: str = Field(description="any timm classifier, such as resnet50")
    weights: str = Field(
        default="hub",
        description='"hub", the path of a weights file, s3://BUCKET/KEY, or "none" for training from scratch',
    )
    weights_licence: str = Field(
        default="",
        description='licence of the weights, such as "apache-2.0"; it is ignored for weights on timm\'s hub if timm '
        "names their licence, or for a file that names its licence itself",
    )
    mean: ChannelMeans | None = Field(
        default=None,
        description="mean of the red, green and blue values (0 to 1) that the weights expect; None: what the weights "
        "file says, or else what timm says about the architecture",
    )
    std: ChannelDeviations | None = Field(default=None, description="standard deviation, in the same way as mean")
    interpolation: Interpolation | None = Field(
        default=None,
        description="how tiles are scaled to input_size, unless they shrink to less than two thirds; None: what the "
        "weights file says, or else bilinear",
    )
    input_size: int = Field(default=224, ge=32, le=1024, description="height and width in pixels")
    tuning: str = Field(
        default="full",
        pattern=r"^(full|head_only|last_[1-9][0-9]*)$",
        description='which layers are trained: "full", "head_only", or "last_3" for the last three blocks and the head',
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropout before the head")
    stochastic_depth: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that the deepest block is skipped in a step; earlier blocks are skipped less often",
    )

    epochs: float | None = Field(
        default=None, gt=0, description="length of the training in passes over the training split"
    )
    steps: int | None = Field(default=None, gt=0, description="length of the training in optimiser steps")
    batch_size: int = Field(default=32, ge=1, description="number of tiles in an optimiser step, over all devices")
    learning_rate: float = Field(
        default=3e-4, gt=0, description="highest learning rate, which is reached after the warm-up"
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="the learning rate of a block is that of the next deeper block, multiplied by this factor",
    )
    weight_decay: float = Field(default=0.05, ge=0)
    clip_norm: float = Field(
        default=1.0,
        ge=0,
        description="largest Euclidean norm of the gradient; a longer gradient is scaled down to it; 0: no limit",
    )
    warmup: float = Field(
        default=0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises from 0"
    )
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="learning rate after the warm-up")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    class_balance: Literal["none", "weights", "sampling"] = Field(
        default="none",
        description="weights: the rarer class counts more in the loss; sampling: both classes appear equally often",
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the averaged weights, such as 0.9998; 0: weights are not averaged",
    )
    val_check_interval: float = Field(
        default=0.25, gt=0, le=1, description="part of the training between two validations; 0.25: four validations"
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="stop after this many validations in a row without a new lowest loss; None: never stop early",
    )
    augment: tuple[NamedTransform, ...] = Field(
        default=PAPER_AUGMENTATION,
        description="transforms of Albumentations, which are applied in this order, each as {Name: {argument: value}}; "
        "[]: no augmentation",
    )

    tile_mm: float | None = Field(
        default=None,
        gt=0,
        description="side of a training tile on the concrete in millimetres, if all tiles show about the same size; "
        "`crack-pipeline inspect` then cuts photos of a known scale into tiles of this size",
    )

    precision: Precision = Field(
        default="auto",
        description="auto: the faster of bf16 and fp32 on this type of machine; it is measured once and then stored",
    )
    devices: int | Literal["auto"] = Field(
        default="auto", description="number of GPUs, or of processes on a CPU; auto: all GPUs, or one process on a CPU"
    )
    deterministic: bool = Field(
        default=False, description="use only algorithms that always give exactly the same result, also on a GPU"
    )
    compile: bool = Field(
        default=False,
        description="use torch.compile: it takes minutes at the start, and then each step is faster; it needs gcc "
        "(images/Dockerfile says how to add gcc)",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        description="decoding processes for each device; None: its share of the processors minus 1, at most 16",
    )
    require_gpu: bool = Field(default=False, description="stop at the start if there is no GPU")
    checkpoint_minutes: float = Field(
        default=5.0, gt=0, description="minutes between checkpoints; a training that is killed loses about this time"
    )

    weights_licences: tuple[str, ...] = Field(default=(), description="allowed licences of weights; empty: all")
    container_image: str = Field(
        default="", description="container image that the step runs in; it is recorded in MLflow"
    )

    @model_validator(mode="after")
    def _one_length(self) -> "TrainConfig":
        if self.epochs is None and self.steps is None:
            raise ValueError("neither epochs nor steps is set: give either epochs or steps")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs is {self.epochs} and steps is {self.steps}: give either epochs or steps")
        return self

    @model_validator(mode="after")
    def _whole_normalisation(self) -> "TrainConfig":
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean is {self.mean} and std is {self.std}: give both or neither")
        return self

    @model_validator(mode="after")
    def _devices_fit_the_batch(self) -> "TrainConfig":
        if self.devices != "auto" and not 1 <= self.devices <= self.batch_size:
            raise ValueError(f"devices is {self.devices}; it must be auto, or from 1 to batch_size ({self.batch_size})")
        return self

    def seen_corruptions(self) -> tuple[str, ...]:
        """Return which families of corruptions are similar to a transform of `augment`.

        The families, such as "jpeg", are in alphabetical order.
        """
        families: set[str] = set()
        for item in self.augment:
            for name, arguments in item.items():
                shown = set(CORRUPTIONS_SHOWN.get(name, ()))
                if arguments.get("p") == 0:
                    shown = set()
                for strength in ("brightness", "brightness_limit", "brightness_range"):
                    if arguments.get(strength) in _NO_CHANGE:
                        shown -= set(_BRIGHTNESS)
                families |= shown
        return tuple(sorted(families))
