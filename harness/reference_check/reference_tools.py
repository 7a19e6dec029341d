"""The reference tools, as they are published, behind the arguments that records have. Nothing is shared or folded."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.base import torchvision_shim  # noqa: F401 -- before cleanfid
from harness.features import clip, clip_random, inception_random, weights
from harness.metrics.psnr import QUANTISATION_MSE

# isort: split
# clean-fid's CLIP module imports OpenAI's package `clip`, which it does not declare and of which this needs nothing.
sys.modules.setdefault("clip", types.ModuleType("clip"))
import torch_fidelity.feature_extractor_inceptionv3 as torch_fidelity_inception  # noqa: E402
from cleanfid import fid as cleanfid  # noqa: E402
from cleanfid.clip_features import CLIP_fx, img_preprocess_clip  # noqa: E402
from cleanfid.inception_torchscript import InceptionV3W  # noqa: E402
from cleanfid.resize import make_resizer  # noqa: E402
from efficientnet_lite_pytorch import EfficientNet  # noqa: E402
from skimage.metrics import structural_similarity  # noqa: E402
from torchmetrics.functional.image import peak_signal_noise_ratio  # noqa: E402
from torchmetrics.functional.regression import mean_squared_error  # noqa: E402
from torchmetrics.image.fid import _compute_fid  # noqa: E402
from torchmetrics.image.kid import poly_mmd  # noqa: E402

Rows = NDArray[np.float64]
Grey = NDArray[np.unsignedinteger[Any]]
Mask = NDArray[np.bool_]
CPU = torch.device("cpu")
NETWORKS = ("inception", "inception-random", "clip", "clip-random", "efficientnet-lite0")
"""The extractors that a published network stands for."""


# -------------------------------------------------------------------------------- features
def features(paths: Sequence[Path], model: Callable[[Tensor], Tensor], *, workers: int | None = None) -> Rows:
    """Features (n, d) of images, read, resized and batched by clean-fid, of a model that `network` gave."""
    found = cleanfid.get_files_features(
        [str(path) for path in paths],
        model=model,
        num_workers=(os.cpu_count() or 1) if workers is None else workers,
        batch_size=16,
        device=CPU,
        mode="clean",
        custom_fn_resize=_resizer(model),
        verbose=False,
    )
    return np.asarray(found, dtype=np.float64)


def _resizer(model: Callable[[Tensor], Tensor]) -> Callable[[Any], Any] | None:
    """How clean-fid resizes for a model; None for its own way, to 299 x 299."""
    if isinstance(model, CLIP_fx):
        return cast("Callable[[Any], Any]", img_preprocess_clip)
    if isinstance(model, _EfficientNetLite0):
        return cast("Callable[[Any], Any]", make_resizer("PIL", False, "bicubic", (224, 224)))
    return None


def network(extractor: str) -> Callable[[Tensor], Tensor]:
    """The network of one of NETWORKS as clean-fid wants one: (b, 3, h, w) in grey levels -> (b, d).

    UsageError where published weights are missing or damaged.
    """
    match extractor:
        case "clip":
            return _clip(clip.tower_state(weights.find(extractor)[1]))
        case "efficientnet-lite0":
            return _EfficientNetLite0(weights.find(extractor)[1])
        case "clip-random":
            return _clip({key: torch.from_numpy(tensor) for key, tensor in clip_random.weights().items()})
        case "inception-random":
            state = {key: torch.from_numpy(tensor) for key, tensor in inception_random.weights().items()}
            counters = {
                key.replace("running_mean", "num_batches_tracked"): torch.tensor(0)
                for key in state
                if key.endswith("running_mean")
            }
            classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "inception.pth"
                torch.save(state | counters | classifier, path)
                return _torch_fidelity(path)
    _, path = weights.find(extractor)
    if path.suffix == ".pt":
        return cast("Callable[[Tensor], Tensor]", InceptionV3W(str(path.parent), download=False))
    return _torch_fidelity(path)


def _clip(state: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """clean-fid's CLIP extractor around open_clip's image tower, in place of OpenAI's package."""
    vision = clip.tower().eval().requires_grad_(False)
    vision.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    model = CLIP_fx.__new__(CLIP_fx)
    model.model = types.SimpleNamespace(encode_image=vision)
    return cast("Callable[[Tensor], Tensor]", model)


class _EfficientNetLite0:
    """efficientnet_lite_pytorch's network on images in grey levels, up to the mean over the image that its classifier
    reads. They are normalised as in training: (x - 127) / 128 (TensorFlow's `lite` models, MEAN_RGB and STDDEV_RGB)."""

    def __init__(self, path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it says there that it has loaded its weights
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path))
        self.network.eval().requires_grad_(False)

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = self.network.extract_features((x - 127) / 128).mean((2, 3))
        return found


def _torch_fidelity(path: Path) -> Callable[[Tensor], Tensor]:
    """torch-fidelity's Inception on images that clean-fid has resized.

    It insists on whole grey levels, which clean-fid's are not any more; its own resize to 299 then changes nothing.
    """
    module = torch_fidelity_inception
    inception = module.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))

    def run(x: Tensor) -> Tensor:
        with mock.patch.object(module, "vassert"):
            found: Tensor = inception(x)[0]
        return found

    return run


# -------------------------------------------------------------------------------- distances
def _statistics(rows: Rows) -> tuple[Rows, Rows]:
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


def _torchmetrics_frechet(x: Rows, y: Rows) -> float:
    return float(_compute_fid(*(torch.from_numpy(one) for rows in (x, y) for one in _statistics(rows))))


def _cleanfid_kernel(x: Rows, y: Rows) -> float | None:
    """clean-fid's mean over random subsets, where every subset is the whole set and one is enough; else None."""
    if len(x) != len(y) or len(x) > 1000:
        return None
    return float(cleanfid.kernel_distance(x, y, num_subsets=1))


DISTANCES: dict[str, dict[str, Callable[[Rows, Rows], float | None]]] = {
    "frechet": {
        "clean-fid": lambda x, y: float(cleanfid.frechet_distance(*_statistics(x), *_statistics(y))),
        "torchmetrics": _torchmetrics_frechet,
    },
    "kernel": {
        "clean-fid": _cleanfid_kernel,
        "torchmetrics": lambda x, y: float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y))),
    },
}
"""Metric -> tool -> distance of features (n, d) of outputs and of their reference; None where the tool has another."""


# -------------------------------------------------------------------------------- image metrics
def _inside(image: Grey, mask: Mask) -> Tensor:
    return torch.from_numpy(image[mask].astype(np.float64))


def _rmse(image: Grey, reference: Grey, mask: Mask, full: float) -> float:
    del full  # every tool takes it
    return float(mean_squared_error(_inside(image, mask), _inside(reference, mask), squared=False))


def _psnr(image: Grey, reference: Grey, mask: Mask, full: float) -> float:
    """Of images that differ by less than rounding does, the harness gives what rounding alone would."""
    most = 10 * np.log10(full**2 / QUANTISATION_MSE)
    found = peak_signal_noise_ratio(_inside(image, mask), _inside(reference, mask), data_range=full)
    return min(float(found), float(most))


def _ssim(image: Grey, reference: Grey, mask: Mask, full: float) -> float | None:
    """None where the mask lies at the border of the image alone."""
    _, found = structural_similarity(
        image.astype(np.float64),
        reference.astype(np.float64),
        data_range=full,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    inner = (slice(5, -5), slice(5, -5))  # where the window lies within the image
    chosen = np.asarray(found)[inner][mask[inner]]
    return float(chosen.mean()) if chosen.size else None


IMAGES: dict[str, dict[str, Callable[[Grey, Grey, Mask, float], float | None]]] = {
    "rmse": {"torchmetrics": _rmse},
    "psnr": {"torchmetrics": _psnr},
    "ssim": {"scikit-image": _ssim},
}
"""Metric -> tool -> value of an image (h, w) against its reference within a mask, given the range of their levels, in
levels, or None."""


def versions() -> dict[str, Any]:
    """The versions of the tools, for a report."""
    from importlib.metadata import version

    names = (
        "clean-fid",
        "torchmetrics",
        "torch-fidelity",
        "open_clip_torch",
        "efficientnet_lite_pytorch",
        "scikit-image",
        "torch",
    )
    return {name: version(name) for name in names}
