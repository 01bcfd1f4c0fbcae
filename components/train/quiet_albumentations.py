"""Import Albumentations so that it does not ask PyPI for a newer version, and does not load torch."""

import os
import sys

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
# Only the tensor transforms of Albumentations need torch. If they cannot be imported, Albumentations works without
# them.
sys.modules.setdefault("albumentations.pytorch", None)  # type: ignore[arg-type]

import albumentations  # noqa: E402
from albumentations import BasicTransform, ColorJitter, Compose, ImageOnlyTransform  # noqa: E402
from albumentations.core.pydantic import check_range_bounds, nondecreasing  # noqa: E402
from albumentations.core.transforms_interface import BaseTransformInitSchema  # noqa: E402

__all__ = (
    "BaseTransformInitSchema",
    "BasicTransform",
    "ColorJitter",
    "Compose",
    "ImageOnlyTransform",
    "albumentations",
    "check_range_bounds",
    "nondecreasing",
)
