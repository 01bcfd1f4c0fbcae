import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from components.predict.corruptions import FAMILIES
from components.shared.errors import InputError
from components.shared.network.resize import Resize
from components.shared.network.tiles import TileDataset, loader
from components.train.augmentation import build_augmentation, check_augmentation, transforms_for_tiles
from components.train.batches import TrainingBatches
from components.train.config import CORRUPTIONS_SHOWN, PAPER_AUGMENTATION
from tests.components.train.conftest import recipe

ROOT = Path(__file__).parents[3]
IMAGE = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
# The arguments that these transforms require.
ARGUMENTS = {
    "AtLeastOneBBoxRandomCrop": {"height": 48, "width": 48},
    "BBoxSafeRandomCrop": {},
    "CenterCrop": {"height": 48, "width": 48},
    "Crop": {"x_max": 48, "y_max": 48},
    "CropAndPad": {"px": 3},
    "CropNonEmptyMaskIfExists": {"height": 48, "width": 48},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 3},
    "LongestMaxSize": {"max_size": 48},
    "PadIfNeeded": {"min_height": 48, "min_width": 48},
    "RandomCrop": {"height": 48, "width": 48},
    "RandomResizedCrop": {"size": [48, 48]},
    "RandomSizedBBoxSafeCrop": {"height": 48, "width": 48},
    "RandomSizedCrop": {"min_max_height": [24, 48], "size": [48, 48]},
    "Resize": {"height": 48, "width": 48},
    "SmallestMaxSize": {"max_size": 48},
    "TextImage": {"font_path": "font.ttf"},
}
REFUSED = {
    # They need masks, boxes, other images or texts.
    "BBoxSafeRandomCrop", "ConstrainedCoarseDropout", "CropNonEmptyMaskIfExists", "FDA",
    "HistogramMatching", "MaskDropout", "Mosaic", "OverlayElements", "PixelDistributionAdaptation",
    "RandomCropNearBBox", "RandomSizedBBoxSafeCrop", "TextImage",
    # They change the tile's size or type.
    "FromFloat", "Normalize", "RandomCropFromBorders", "RandomScale", "ToFloat",
    # Albumentations warns that another transform is better.
    "FrequencyMasking", "PiecewiseAffine", "ShiftScaleRotate", "TimeMasking", "TimeReverse",
}  # fmt: skip


def check(name, arguments, size=48):
    check_augmentation(recipe(input_size=size, augment=({name: arguments},)))


def augmented(seed, *transforms):
    return build_augmentation(transforms)(IMAGE, seed)


@pytest.mark.parametrize("name", sorted(transforms_for_tiles()))
def test_a_transform_is_refused_or_depends_on_the_seed_only(name):
    arguments = ARGUMENTS.get(name, {})
    if name in REFUSED:
        with pytest.raises(InputError, match=rf"augment\.0\.{name}"):
            check(name, arguments)
        return

    check(name, arguments)
    one, other = (build_augmentation([{name: {**arguments, "p": 1.0}}]) for _ in range(2))
    forwards = [one(IMAGE, seed) for seed in range(4)]
    backwards = [other(IMAGE, seed) for seed in reversed(range(4))]
    for first, second in zip(forwards, reversed(backwards), strict=True):
        assert first.shape == IMAGE.shape
        assert (first == second).all()


def test_another_process_makes_the_same_image():
    transforms = [*PAPER_AUGMENTATION, {"ElasticTransform": {}}, {"RandomShadow": {}}]
    code = (
        "import hashlib, json, sys, numpy as np\n"
        "from components.train.augmentation import build_augmentation\n"
        "image = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)\n"
        "augment = build_augmentation(json.loads(sys.argv[1]))\n"
        "print(hashlib.sha256(b''.join(augment(image, seed).tobytes() for seed in range(9))).hexdigest())"
    )
    command = [sys.executable, "-c", code, json.dumps(transforms)]
    there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    here = hashlib.sha256(b"".join(augmented(seed, *transforms).tobytes() for seed in range(9))).hexdigest()
    assert there == here


def test_the_number_of_workers_does_not_change_any_pixel(make_task):
    task = make_task()
    augment = build_augmentation(PAPER_AUGMENTATION)
    tiles = TileDataset(task.train, task.tiles, Resize(32), augment)
    batches = []
    for workers in (0, 2):
        order = TrainingBatches(task.train["label"].to_numpy(), 8, 4, seed=1)
        batches.append([images for images, _ in loader(tiles, order, workers)])
    for alone, shared in zip(*batches, strict=True):
        assert (alone == shared).all()


def test_transforms_draw_independently_of_each_other():
    """With `set_random_seed` of Albumentations, all transforms would draw the same numbers."""
    half = {"p": 0.5}
    flips = build_augmentation([{"HorizontalFlip": half}, {"VerticalFlip": half}])
    views = [IMAGE[::down, ::along].tobytes() for down in (1, -1) for along in (1, -1)]
    counts = Counter(views.index(flips(IMAGE, seed).tobytes()) for seed in range(400))
    assert min(counts[view] for view in range(4)) > 60


def test_opencvs_constants_are_given_by_name():
    white = np.full((65, 65, 3), 200, np.uint8)
    reflected = build_augmentation([{"Rotate": {"limit": 30, "border_mode": "BORDER_REFLECT_101", "p": 1}}])
    filled = build_augmentation([{"Rotate": {"limit": 30, "p": 1}}])
    assert (reflected(white, 1) == 200).all()
    assert (filled(white, 1) == 0).any()


@pytest.mark.parametrize(
    ("name", "arguments", "cause"),
    [
        ("Rotat", {}, r'augment\.0: Albumentations has no transform "Rotat" for tiles; did you mean "Rotate"\?'),
        ("Lambda", {}, r'no transform "Lambda" for tiles; https://albumentations\.ai/docs lists'),
        ("Rotate", {"p": 1.5}, r"augment\.0\.Rotate: p is 1\.5: Input should be less than or equal to 1"),
        ("GaussNoise", {"std_range": [0, 3]}, r"GaussNoise: std_range is \[0, 3\]: .*must be >= 0 and <= 1"),
        ("FastGaussNoise", {"std_range": [0, 3]}, r"FastGaussNoise: std_range is \[0, 3\]: .*must be >= 0 and <= 1"),
        ("FastColorJitter", {"hue": [-3, 3]}, r"FastColorJitter: hue is \[-3, 3\]: .*within \[-0\.5, 0\.5\]"),
        (
            "Rotate",
            {"limt": 30},
            r"Rotate: Argument\(s\) 'limt' are not valid.*correct the arguments. Rotate accepts limit, interpolation",
        ),
        ("ToSepia", {"limt": 30}, r"ToSepia: .*'limt'; correct the arguments. ToSepia accepts p"),
        ("RandomCrop", {}, r"RandomCrop: height is missing"),
        ("Rotate", {"border_mode": "BORDER_NONE"}, r"Rotate: border_mode is BORDER_NONE: Input should be 0, 1, 2"),
        ("Resize", {"height": 32, "width": 40}, r"changes a tile of 48 x 48 px to 32 x 40 px.*needs 48 px"),
        ("RandomScale", {"scale_limit": 0.1}, r"RandomScale changes a tile of 48 x 48 px to"),
        ("Crop", {}, r"Crop fails on a tile of 48 px: .*change its arguments, or remove it"),
        ("Normalize", {}, r"Normalize changes the tile's values from uint8 to float32; remove this transform"),
        ("MaskDropout", {}, r"MaskDropout needs mask, but a tile has only a label"),
        ("ConstrainedCoarseDropout", {}, r"ConstrainedCoarseDropout needs mask"),
        ("BBoxSafeRandomCrop", {}, r"BBoxSafeRandomCrop needs bboxes"),
    ],
)
def test_transforms_that_do_not_work_on_tiles_are_refused(name, arguments, cause):
    with pytest.raises(InputError, match=cause) as caught:
        check(name, arguments)
    assert "\n" not in str(caught.value)


def test_an_item_names_one_transform():
    with pytest.raises(
        ValueError, match=r"a list item must name one transform, but this item names Rotate, Blur; write each transform"
    ):
        recipe(augment=({"Rotate": {}, "Blur": {}},))
    with pytest.raises(ValueError, match="this item names nothing"):
        recipe(augment=({},))


def test_the_transforms_decide_which_corruptions_the_training_shows():
    assert recipe(augment=()).seen_corruptions() == ()
    assert recipe(augment=PAPER_AUGMENTATION).seen_corruptions() == ("gaussian_noise", "low_light", "over_exposure")
    assert recipe(augment=({"FastColorJitter": {"brightness": 0}},)).seen_corruptions() == ()
    assert recipe(augment=({"MotionBlur": {"p": 0}}, {"ImageCompression": {}})).seen_corruptions() == ("jpeg",)
    assert set(CORRUPTIONS_SHOWN) <= set(transforms_for_tiles())
    assert {family for shown in CORRUPTIONS_SHOWN.values() for family in shown} <= set(FAMILIES)


def test_the_check_neither_loads_torch_nor_asks_the_internet():
    code = (
        "import sys, urllib.request\n"
        "urllib.request.build_opener = lambda *_: sys.exit('asked the internet')\n"
        "import components.train.augmentation\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_configuration_loads_without_albumentations():
    code = (
        "import sys; sys.modules['albumentations'] = None\n"
        "from pipelines.config.parameter_file import load_run_config\n"
        "assert load_run_config('pipelines/params/paper.yaml').candidates['resnet50'].train.augment"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
