"""Train the weak denoiser `cnn` and write its weights and its recipe beside `harness/imaging/denoise/cnn.py`.

    python benchmarks/train_cnn.py [--steps 1000] [--out harness/imaging/denoise]

The examples are noise-free slices of procedural patients that no protocol tests with (seed 77), with noise alone
inserted (harness.imaging.insertion) twice: doses of 1 to 5 %, two kernels. The loss is not the squared error but
`variance + BIAS_WEIGHT * bias^2`: of two outputs f and g for one truth t, (f - g)^2 / 2 estimates the variance over
the noise and (f - t)(g - t) the squared bias. What a denoiser takes from anatomy it takes from every realisation, so
that the weight decides how weak it is: 1 is the squared error. 5 was chosen on other patients (seed 78).

Two threads, seeded. Rounding may differ between machines, so that the file, known by its digest, is what counts.
Prints the line that belongs into cnn.py.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from harness.base.digests import digest_bytes, digest_file
from harness.base.files import write_bytes
from harness.base.structs import write_json
from harness.base.workers import map_slices
from harness.imaging import noise_level
from harness.imaging.denoise.cnn import CHANNELS, LAYERS, MARGIN
from harness.imaging.insertion import Scanner, line_integrals, noise_image
from harness.imaging.regions import Code, erode
from harness.imaging.tomography import Kernel
from harness.phantom import VIEWS, levels, make_patient, scan_slice
from harness.phantom.scan import ELECTRONIC_NOISE, NORMAL_PHOTONS, WINDOW_HU

SEED = 77
PATIENTS, SLICES, SIZE = 12, 3, 512
DOSES = (0.01, 0.05)
KERNELS: tuple[Kernel, ...] = ("sharp", "sharp", "ramp")
BIAS_WEIGHT = 5.0
PATCH, PAIRS = 40, 16
IN_LUNG = 12  # of PAIRS, patches centred in the lung; the others in the body
LEARNING_RATE = 3e-3

Grey = NDArray[np.uint8]
Rows = NDArray[np.intp]


class Example(NamedTuple):
    """A slice: truth, pairs of noisy images with their noise levels, and where patches may be centred."""

    truth: Grey
    pairs: list[tuple[Grey, Grey, float, float]]
    lung: Rows
    body: Rows


def example(patient: int, level: float) -> Example:
    """One training slice, repeatable by (patient, level)."""
    rng = np.random.default_rng([SEED, patient, round(level * 1e6)])
    view = VIEWS[patient % len(VIEWS)]
    scan = scan_slice(make_patient(SEED, patient, view=view), level, size=SIZE, dose=0.02)
    sinogram = line_integrals(scan.truth, window_hu=WINDOW_HU, pixel_mm=scan.pixel_mm)
    inside = scan.regions != Code.PADDING
    pairs = []
    for kernel in KERNELS:
        dose = float(np.exp(rng.uniform(*np.log(DOSES))))
        scanner = Scanner(photons=NORMAL_PHOTONS, electronic=ELECTRONIC_NOISE, kernel=kernel)
        noisy = []
        for _ in range(2):
            noise = noise_image(
                sinogram, shape=scan.truth.shape, pixel_mm=scan.pixel_mm, scanner=scanner, dose=dose, rng=rng
            )
            grey = scan.truth + np.where(inside, noise, 0) * (255 / (WINDOW_HU[1] - WINDOW_HU[0]))
            noisy.append(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
        pairs.append((noisy[0], noisy[1], noise_level.noise_level(noisy[0]), noise_level.noise_level(noisy[1])))
    half = PATCH // 2 + MARGIN
    centre = np.zeros(scan.truth.shape, bool)
    centre[half : SIZE - half, half : SIZE - half] = True
    lung = erode(scan.regions == Code.LUNG, 2) & centre
    body = (scan.regions == Code.BODY) & centre
    return Example(scan.truth, pairs, np.argwhere(lung), np.argwhere(body))


def batch(examples: list[Example], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy patches (2 PAIRS, 1, PATCH + 2 MARGIN, ...) and their truth, both in units of the noise level."""
    noisy: list[NDArray[np.float32]] = []
    truth: list[NDArray[np.float32]] = []
    wide = PATCH // 2 + MARGIN
    for number in range(PAIRS):
        chosen = examples[rng.integers(len(examples))]
        first, second, *sigmas = chosen.pairs[rng.integers(len(chosen.pairs))]
        where = chosen.lung if number < IN_LUNG else chosen.body
        row, column = where[rng.integers(len(where))]
        turns, flip = int(rng.integers(4)), int(rng.integers(2))
        for image, sigma in zip((first, second), sigmas, strict=True):
            for patches, source, half in ((noisy, image, wide), (truth, chosen.truth, PATCH // 2)):
                patch = source[row - half : row + half, column - half : column + half].astype(np.float32) / sigma
                patches.append(np.rot90(patch[:, ::-1] if flip else patch, turns)[None].copy())
    return torch.from_numpy(np.stack(noisy)), torch.from_numpy(np.stack(truth))


def network() -> torch.nn.Sequential:
    """LAYERS convolutions of 3 x 3 without padding, rectified between."""
    widths = [1, *[CHANNELS] * (LAYERS - 1), 1]
    parts: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        parts += [torch.nn.Conv2d(inputs, outputs, 3), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def train(examples: list[Example], *, steps: int, bias_weight: float) -> tuple[torch.nn.Sequential, float, float]:
    """The trained network, with the mean variance and squared bias of its last 100 steps (units: noise level^2)."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng([SEED, steps])
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    history = []
    for step in range(steps):
        noisy, truth = batch(examples, rng)
        error = noisy[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN] - net(noisy) - truth
        first, second = error[0::2], error[1::2]
        variance, bias = ((first - second) ** 2).mean() / 2, (first * second).mean()
        optimizer.zero_grad()
        (variance + bias_weight * bias).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append((variance.item(), bias.item()))
        if step % 100 == 99:
            print(f"step {step + 1}: variance {variance.item():.4f}, squared bias {bias.item():.4f}", flush=True)
    last = np.mean(history[-100:], axis=0)
    return net, float(last[0]), float(last[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("harness/imaging/denoise"))
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)

    start = time.perf_counter()
    examples = map_slices(example, [(p, level) for p in range(PATIENTS) for level in levels(SLICES)])
    print(f"{len(examples)} slices in {time.perf_counter() - start:.0f} s", flush=True)
    start = time.perf_counter()
    net, variance, bias = train(examples, steps=options.steps, bias_weight=BIAS_WEIGHT)
    print(f"{options.steps} steps in {time.perf_counter() - start:.0f} s")

    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    path = options.out / "cnn.safetensors"
    write_bytes(path, save(tensors))
    write_json(
        options.out / "cnn.json",
        {
            "sha256": digest_file(path),
            "parameters": sum(tensor.size for tensor in tensors.values()),
            "command": f"python benchmarks/train_cnn.py --steps {options.steps}",
            "data": {
                "phantom": {"seed": SEED, "patients": PATIENTS, "slices": SLICES, "size": SIZE, "views": list(VIEWS)},
                "noise": {
                    "doses": list(DOSES),
                    "kernels": list(KERNELS),
                    "photons": NORMAL_PHOTONS,
                    "electronic": ELECTRONIC_NOISE,
                },
                "digest": digest_bytes(
                    *(e.truth.tobytes() + b"".join(n.tobytes() for p in e.pairs for n in p[:2]) for e in examples)
                ),
            },
            "training": {
                "seed": SEED,
                "steps": options.steps,
                "pairs": PAIRS,
                "patch": PATCH,
                "bias_weight": BIAS_WEIGHT,
                "learning_rate": LEARNING_RATE,
                "torch": str(torch.__version__),
            },
            "last_100_steps": {"variance": round(variance, 5), "squared_bias": round(bias, 5)},
        },
    )
    print(f'SHA256 = "{digest_file(path)}"')


if __name__ == "__main__":
    main()
