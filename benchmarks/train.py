"""Train a learned baseline on purified phantom pairs, and write its weights into its submission.

    .venv/bin/python -m benchmarks.train unet --strategy ipv2 [--variant corrected] [--seed 0] [--setting reduced]
        [--device cuda] [--amp] [--into submissions/unet]

Models: dncnn, redcnn, unet, flow (`submissions/<model>/model.py`). Strategies: `none` (the raw, misaligned pairs),
ipv1, rb, an, ipv2. Settings: `baseline` is what is shipped, `reduced` the reproduction study's (docs/reproduction.md).
The patients are procedural ones, none of any phantom protocol, which is checked. Whatever the model and the strategy,
it sees the same patches in the same order: a seed decides them, and the first weights.

Killed, the same command goes on at its last checkpoint; done, it does nothing. Everything lies in the cache folder,
`training/...`: weights.safetensors, recipe.json, loss.svg. A CPU trains in one thread: whatever its number of cores the
weights are the same, and two trainings side by side are faster than one in two threads.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from harness.base.digests import digest_bytes, digest_file, digest_json
from harness.base.files import atomic_file, cache_root, write_bytes, write_text
from harness.base.slices import read_grey
from harness.base.structs import Strict, read_json, write_json
from harness.dataset.cases import Dataset
from harness.dataset.fingerprints import TRAINED_ON, fingerprints, write_fingerprints
from harness.dataset.load import load_data
from harness.imaging.regions import Code
from harness.labels.training_pairs import write_pairs
from harness.protocol import PhantomData, Protocol, Purify, load_protocol
from harness.submission.overlap import refuse_shared

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("dncnn", "redcnn", "unet", "flow")
STRATEGIES = ("none", "ipv1", "rb", "an", "ipv2")
TEST_SETS = ("phantom", "phantom-mini", "phantom-fov")  # protocols whose patients are never trained on
Variant = Literal["published", "corrected"]
CHECKPOINT_EVERY = 100  # steps
RECIPE = 1  # to be raised when training changes: networks of another one are trained anew


class Setting(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """A budget: the training data, the steps, and the size of each network.

    What is left at its default is not written, so that settings keep their digests when a field is added.
    """

    data: PhantomData
    steps: int
    batch: int
    patch: int  # pixels, height and width
    learning_rate: float  # of Adam, falling to 0 as a cosine
    networks: dict[str, dict[str, int]]
    in_lung: int = 0  # of a batch, patches centred in the lung; the others lie anywhere


SETTINGS = {
    # what is shipped: two CPU cores, a quarter of an hour a network
    "baseline": Setting(
        data=PhantomData(patients=24, slices=6, nodule_slices=2, seed=2715),
        steps=4000,
        batch=8,
        patch=64,
        in_lung=6,
        learning_rate=1e-3,
        networks={
            "dncnn": {"width": 32, "depth": 8},
            "redcnn": {"width": 16},
            "unet": {"width": 16, "levels": 4},
            "flow": {"width": 16, "levels": 4, "steps": 2, "times": 2},
        },
    ),
    # the reproduction study's, for two CPU cores; so few steps need a larger rate than the papers' 1e-4
    "reduced": Setting(
        data=PhantomData(patients=12, slices=6, nodule_slices=2, seed=2711),
        steps=600,
        batch=8,
        patch=64,
        learning_rate=1e-3,
        networks={
            "dncnn": {"width": 24, "depth": 8},
            "redcnn": {"width": 16},
            "unet": {"width": 16, "levels": 3},
            "flow": {"width": 16, "levels": 3, "steps": 4},
        },
    ),
    # for one GPU, the sizes of the papers
    "full": Setting(
        data=PhantomData(patients=40, slices=12, nodule_slices=4, seed=2712),
        steps=2000,
        batch=16,
        patch=96,
        learning_rate=1e-4,
        networks={
            "dncnn": {"width": 64, "depth": 17},
            "redcnn": {"width": 96},
            "unet": {"width": 48, "levels": 3},
            "flow": {"width": 48, "levels": 3, "steps": 10},
        },
    ),
    # for the tests
    "tiny": Setting(
        data=PhantomData(patients=1, slices=3, size=128, seed=2713),
        steps=12,
        batch=2,
        patch=32,
        learning_rate=1e-3,
        networks={
            "dncnn": {"width": 4, "depth": 3},
            "redcnn": {"width": 4},
            "unet": {"width": 4, "levels": 2},
            "flow": {"width": 4, "levels": 2, "steps": 2},
        },
    ),
}


class Task(NamedTuple):
    """What is to be trained, on what, how."""

    model: str
    strategy: str
    variant: Variant
    seed: int
    setting: str
    device: str = "cpu"
    amp: bool = False


class Trained(Strict, frozen=True, kw_only=True):
    """How weights came about (`recipe.json`)."""

    model: str
    strategy: str
    variant: Variant
    seed: int
    setting: str
    size: dict[str, int]  # of the network
    parameters: int
    training: Setting
    pairs: int
    pairs_digest: str  # of names and pixels of inputs and targets
    device: str
    amp: bool
    torch: str
    seconds: float  # of the processor on a CPU, by the clock on a GPU
    loss: tuple[float, ...]  # the mean of every 1 % of the steps
    sha256: str  # of weights.safetensors
    command: str


# -------------------------------------------------------------------------------- pairs
class Pairs(NamedTuple):
    """Training pairs in memory: uint8 (n, height, width) each, their digest, and the lung's pixels of each pair.

    The pixels are places in the flattened slice, from the low-dose slice's true regions: the breathing states differ,
    which does not matter to where patches are centred.
    """

    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    digest: str
    lung: tuple[NDArray[np.intp], ...] = ()


def training_protocol(setting: Setting) -> Protocol:
    """The phantom's protocol with the training patients in the place of the test patients."""
    return msgspec.structs.replace(load_protocol("phantom"), data=setting.data)


def training_set(setting: Setting) -> Dataset:
    """The training patients' slices; UsageError if they share one, or a patient, with a phantom protocol's test set."""
    dataset = load_data(training_protocol(setting))
    own = fingerprints(dataset)
    for name in TEST_SETS:
        refuse_shared(own, load_data(load_protocol(name)), what="the training set")
    return dataset


def load_pairs(setting: Setting, dataset: Dataset, strategy: str, variant: Variant) -> Pairs:
    """The pairs of a strategy: `none` as they were scanned, others as `harness pairs` writes them, from the cache."""
    if strategy == "none":
        named = {case.name: (Path(case.lq), Path(case.gt)) for case in dataset.cases}
    else:
        protocol = training_protocol(setting)
        purify = Purify(strategy=strategy, variant=variant, noise=protocol.purify.noise)  # type: ignore[arg-type]
        folder = cache_root() / "training" / "pairs" / digest_json([dataset.digest, purify, protocol.seed])[:20]
        if not folder.exists():
            written = write_pairs(dataset, purify, folder, seed=protocol.seed, leave_out=True)
            print(f"{strategy} {variant}: {written.count} pairs, left out {list(written.left_out)}", flush=True)
        inputs = sorted((folder / "lq_bar").glob("*.png"))
        named = {path.stem: (path, folder / "gt" / path.name) for path in inputs}
    noisy, clean = (np.stack([read_grey(pair[kind]) for pair in named.values()]) for kind in (0, 1))
    digest = digest_bytes(*(name.encode() for name in named), noisy.tobytes(), clean.tobytes())
    regions = {case.name: case.regions for case in dataset.cases}
    lung = tuple(_lung(regions[name]) for name in named) if setting.in_lung else ()
    return Pairs(noisy, clean, digest, lung)


def _lung(regions: str | None) -> NDArray[np.intp]:
    """The flat indices of a region map's lung."""
    assert regions is not None  # the phantom's are known
    return np.flatnonzero(np.isin(read_grey(Path(regions)), (Code.LUNG, Code.NODULE)))


def batch(pairs: Pairs, setting: Setting, *, seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches (batch, 1, patch, patch), 0 to 1, of inputs and targets, turned and flipped.

    The first `in_lung` are centred in the lung, as far as the slice's border lets them; the others lie anywhere.
    """
    rng = np.random.default_rng([seed, step])
    size, (height, width) = setting.patch, pairs.noisy.shape[1:]
    chosen: list[NDArray[np.uint8]] = []
    for number in range(setting.batch):
        index, row = rng.integers(len(pairs.noisy)), rng.integers(height - size + 1)
        column, turns, flip = rng.integers(width - size + 1), int(rng.integers(4)), int(rng.integers(2))
        if number < setting.in_lung and len(pairs.lung[index]):
            place = np.unravel_index(rng.choice(pairs.lung[index]), (height, width))
            row, column = (
                np.clip(at - size // 2, 0, extent - size) for at, extent in zip(place, (height, width), strict=True)
            )
        for images in (pairs.noisy, pairs.clean):
            patch = images[index, row : row + size, column : column + size]
            chosen.append(np.rot90(patch[:, ::-1] if flip else patch, turns))
    both = torch.from_numpy(np.stack(chosen).astype(np.float32) / 255)[:, None]
    return both[0::2], both[1::2]


# -------------------------------------------------------------------------------- training
def clock(device: str) -> float:
    """Seconds: those of the processor, children included, on a CPU, which others may be using; else by the clock."""
    return sum(os.times()[:4]) if device == "cpu" else time.perf_counter()


def load_network(model: str, size: dict[str, int]) -> Any:
    """The network of a submission's `model.py`."""
    path = ROOT / "submissions" / model / "model.py"
    spec = importlib.util.spec_from_file_location(f"{model}_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Network(**size)


def train(task: Task) -> Path:
    """The folder of a trained network: found in the cache, or trained there from its last checkpoint on."""
    setting = SETTINGS[task.setting]
    dataset = load_data(training_protocol(setting))
    pairs = load_pairs(setting, dataset, task.strategy, task.variant)
    code = digest_file(ROOT / "submissions" / task.model / "model.py")
    key = digest_json([RECIPE, task, setting, pairs.digest, code, str(torch.__version__)])
    folder = cache_root() / "training" / f"{task.model}-{task.strategy}-{task.variant}-{task.seed}-{key[:12]}"
    if (folder / "recipe.json").exists():
        return folder
    training_set(setting)  # refuses patients of a test set
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=task.device != "cpu")
    torch.manual_seed(task.seed)
    size = setting.networks[task.model]
    network = load_network(task.model, size).to(task.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=setting.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.steps)
    losses: list[float] = []
    seconds = 0.0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        kept = torch.load(checkpoint, map_location=task.device, weights_only=True)
        for part, state in zip((network, optimizer, schedule), kept["states"], strict=True):
            part.load_state_dict(state)
        losses, seconds = kept["losses"], kept["seconds"]
        print(f"goes on at step {len(losses)}", flush=True)
    began = clock(task.device) - seconds
    for step in range(len(losses), setting.steps):
        noisy, clean = (one.to(task.device) for one in batch(pairs, setting, seed=task.seed, step=step))
        torch.manual_seed(task.seed * setting.steps + step)  # what a loss draws
        with torch.autocast(task.device, torch.bfloat16, enabled=task.amp):
            loss = network.loss(noisy, clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        seconds = clock(task.device) - began
        if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < setting.steps:
            left = seconds / (step + 1) * (setting.steps - step - 1)
            recent = float(np.mean(losses[-CHECKPOINT_EVERY:]))
            print(f"step {step + 1} of {setting.steps}: loss {recent:.6f}, {left:.0f} s left", flush=True)
            states = [part.state_dict() for part in (network, optimizer, schedule)]
            with atomic_file(checkpoint) as part_file:
                torch.save({"states": states, "losses": losses, "seconds": seconds}, part_file)
    _keep(folder, task, network, losses, seconds, pairs)
    write_fingerprints(folder / TRAINED_ON, fingerprints(dataset))
    checkpoint.unlink(missing_ok=True)
    return folder


def _keep(folder: Path, task: Task, network: Any, losses: list[float], seconds: float, pairs: Pairs) -> None:
    """Write weights, loss curve and, last, the recipe."""
    setting = SETTINGS[task.setting]
    size = setting.networks[task.model]
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = folder / "weights.safetensors"
    write_bytes(weights, save(tensors, metadata={"network": json.dumps(size)}))
    hundredths = tuple(float(np.mean(part)) for part in np.array_split(losses, min(100, len(losses))))
    write_text(folder / "loss.svg", curve(hundredths))
    options = f"--strategy {task.strategy} --variant {task.variant} --seed {task.seed} --setting {task.setting}"
    write_json(
        folder / "recipe.json",
        Trained(
            **{name: getattr(task, name) for name in Task._fields},
            size=size,
            parameters=sum(tensor.numel() for tensor in tensors.values()),
            training=setting,
            pairs=len(pairs.noisy),
            pairs_digest=pairs.digest,
            torch=str(torch.__version__),
            seconds=round(seconds, 1),
            loss=hundredths,
            sha256=digest_file(weights),
            command=f"python -m benchmarks.train {task.model} {options}",
        ),
    )


def curve(losses: tuple[float, ...]) -> str:
    """The loss over the steps as SVG, logarithmic."""
    values = np.log10(losses)
    low, high = float(values.min()), float(values.max())
    points = " ".join(
        f"{40 + 340 * index / max(len(values) - 1, 1):.1f},{150 - 130 * (value - low) / max(high - low, 1e-9):.1f}"
        for index, value in enumerate(values)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 170" font-family="sans-serif" font-size="10">\n'
        f'<text x="2" y="24">{10**high:.1e}</text><text x="2" y="154">{10**low:.1e}</text>'
        '<text x="200" y="166" text-anchor="middle">steps</text>\n'
        f'<polyline points="{points}" fill="none" stroke="#3b6ea5" stroke-width="1.5"/>\n</svg>\n'
    )


def load_trained(folder: Path, *, device: str = "cpu") -> Any:
    """The trained network of a folder of `train`, ready to denoise. Returns a torch module."""
    from safetensors.torch import load_file

    recipe = read_json(folder / "recipe.json", Trained)
    network = load_network(recipe.model, recipe.size)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.eval().to(device)


def tasks(setting: str, seeds: int, device: str, amp: bool) -> Iterator[Task]:
    """Every model on every strategy, one seed after the other."""
    recipes: list[tuple[str, Variant]] = [(name, "published") for name in STRATEGIES]
    recipes.append(("ipv2", "corrected"))
    for seed, (strategy, variant), model in itertools.product(range(seeds), recipes, MODELS):
        yield Task(model, strategy, variant, seed, setting, device, amp)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--strategy", choices=STRATEGIES, default="ipv2")
    parser.add_argument("--variant", choices=("published", "corrected"), default="published")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setting", choices=SETTINGS, default="reduced")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--amp", action="store_true", help="bfloat16 where it does no harm")
    parser.add_argument("--into", type=Path, help="a submission's folder that gets the weights")
    asked = parser.parse_args()
    folder = train(Task(**{name: getattr(asked, name) for name in Task._fields}))
    print(folder)
    if asked.into:
        for name in ("weights.safetensors", "recipe.json", TRAINED_ON):
            write_bytes(asked.into / name, (folder / name).read_bytes())


if __name__ == "__main__":
    main()
