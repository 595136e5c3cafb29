"""The transforms as torchvision.transforms.v2 has them: they take whole samples, `transform(image, label)` too.

Each class is the one of `flambeau.vision.transforms`, lifted by `samples.lift`: the images in a sample (in tuples,
lists and dicts) are transformed, with the same random choices for all of them, and everything else passes through.
"""

from flambeau.vision.transforms import autoaugment, color, containers, geometry
from flambeau.vision.transforms.interpolation import InterpolationMode
from flambeau.vision.transforms.v2 import functional
from flambeau.vision.transforms.v2.samples import (
    Compose,
    Identity,
    Lambda,
    ToDtype,
    ToImage,
    ToPureTensor,
    Transform,
    lift,
)

AutoAugment = lift(autoaugment.AutoAugment)
AutoAugmentPolicy = autoaugment.AutoAugmentPolicy
RandAugment = lift(autoaugment.RandAugment)
TrivialAugmentWide = lift(autoaugment.TrivialAugmentWide)

CenterCrop = lift(geometry.CenterCrop)
FiveCrop = lift(geometry.FiveCrop)
Pad = lift(geometry.Pad)
RandomAffine = lift(geometry.RandomAffine)
RandomCrop = lift(geometry.RandomCrop)
RandomHorizontalFlip = lift(geometry.RandomHorizontalFlip)
RandomPerspective = lift(geometry.RandomPerspective)
RandomResizedCrop = lift(geometry.RandomResizedCrop)
RandomRotation = lift(geometry.RandomRotation)
RandomVerticalFlip = lift(geometry.RandomVerticalFlip)
Resize = lift(geometry.Resize)
TenCrop = lift(geometry.TenCrop)

ColorJitter = lift(color.ColorJitter)
GaussianBlur = lift(color.GaussianBlur)
Grayscale = lift(color.Grayscale)
LinearTransformation = lift(color.LinearTransformation)
Normalize = lift(color.Normalize)
RandomAdjustSharpness = lift(color.RandomAdjustSharpness)
RandomAutocontrast = lift(color.RandomAutocontrast)
RandomEqualize = lift(color.RandomEqualize)
RandomErasing = lift(color.RandomErasing)
RandomGrayscale = lift(color.RandomGrayscale)
RandomInvert = lift(color.RandomInvert)
RandomPosterize = lift(color.RandomPosterize)
RandomSolarize = lift(color.RandomSolarize)

ConvertImageDtype = lift(containers.ConvertImageDtype)
PILToTensor = lift(containers.PILToTensor)
RandomApply = lift(containers.RandomApply)
RandomChoice = lift(containers.RandomChoice)
RandomOrder = lift(containers.RandomOrder)
ToPILImage = lift(containers.ToPILImage)
ToTensor = lift(containers.ToTensor)

__all__ = [
    "AutoAugment",
    "AutoAugmentPolicy",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "FiveCrop",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "InterpolationMode",
    "Lambda",
    "LinearTransformation",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "TenCrop",
    "ToDtype",
    "ToImage",
    "ToPILImage",
    "ToPureTensor",
    "ToTensor",
    "Transform",
    "TrivialAugmentWide",
    "functional",
]
