"""The learned baselines: their networks, the command that trains them, and what is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from benchmarks import baselines as measuring
from benchmarks import train as training
from benchmarks.train import MODELS, SETTINGS, Pairs, Task, Trained, batch, load_network, load_trained, train
from harness.base.digests import digest_file, digest_json
from harness.base.errors import UsageError
from harness.base.slices import read_grey, write_grey
from harness.base.structs import read_json
from harness.dataset.fingerprints import fingerprints, read_fingerprints
from harness.dataset.load import load_data
from harness.imaging.regions import Code
from harness.protocol import PhantomData, Protocol, load_protocol
from harness.submission.manifest import load_submission

SUBMISSIONS = Path(__file__).resolve().parent.parent / "submissions"
TINY = SETTINGS["tiny"]
TEST = PhantomData(patients=1, slices=1, size=64, seed=1)
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for the module, in which the protocols' test sets are small ones."""
    monkeypatch.setenv("HARNESS_CACHE", str(cache))

    def load(name: str) -> Protocol:
        return msgspec.structs.replace(load_protocol(name), data=TEST)

    monkeypatch.setattr(training, "load_protocol", load)


# -------------------------------------------------------------------------------- networks
def network_of(model: str, size: str = "tiny") -> Any:
    torch.manual_seed(1)
    return load_network(model, SETTINGS[size].networks[model]).eval()


@every_model
@pytest.mark.parametrize("shape", [(64, 64), (37, 50)])
def test_what_comes_out_has_the_size_of_what_went_in(model: str, shape: tuple[int, int]) -> None:
    noisy = torch.rand(2, 1, *shape)
    with torch.inference_mode():
        assert network_of(model).denoise(noisy).shape == noisy.shape


@pytest.mark.parametrize("model", ["unet", "flow"])
def test_untrained_it_returns_its_input(model: str) -> None:
    noisy = torch.rand(1, 1, 24, 24)
    with torch.inference_mode():
        torch.testing.assert_close(network_of(model).denoise(noisy), noisy)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_euler_steps_along_a_straight_flow_arrive_whatever_their_number(steps: int) -> None:
    flow = load_network("flow", {"width": 4, "levels": 1, "steps": steps})
    start, end = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    flow.forward = lambda *_: end - start
    torch.testing.assert_close(flow.denoise(start), end)
    assert float(flow.loss(start, end)) == 0


@pytest.mark.parametrize(("steps", "expected"), [(1, {0.0}), (2, {0.0, 0.5}), (4, {0.0, 0.25, 0.5, 0.75})])
def test_a_flow_can_learn_from_the_times_at_which_it_denoises(steps: int, expected: set[float]) -> None:
    flow = load_network("flow", {"width": 4, "levels": 1, "steps": steps, "times": steps})
    asked: list[torch.Tensor] = []

    def forward(values: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        asked.append(time)
        return torch.zeros_like(values)

    flow.forward = forward
    torch.manual_seed(0)
    flow.loss(torch.rand(200, 1, 2, 2), torch.rand(200, 1, 2, 2))
    learnt = set(asked.pop().tolist())
    flow.denoise(torch.rand(1, 1, 2, 2))
    assert learnt == {float(time) for time in asked} == expected


@pytest.mark.parametrize(("model", "parameters"), [("dncnn", 556_097), ("redcnn", 1_848_865)])
def test_the_full_size_is_the_papers(model: str, parameters: int) -> None:
    """DnCNN: 17 layers of 64 (its convolutions and, in the 15 between, two numbers a channel); RED-CNN: 10 of 96."""
    assert sum(one.numel() for one in network_of(model, "full").parameters()) == parameters


# -------------------------------------------------------------------------------- training
def task(model: str, strategy: str = "ipv1") -> Task:
    return Task(model, strategy, "published", 0, "tiny")


@every_model
def test_training_that_was_killed_ends_with_the_same_weights(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(task(model))
    expected = digest_file(whole / "weights.safetensors")
    for path in whole.iterdir():
        path.unlink()

    def killed(pairs: Pairs, setting: Any, *, seed: int, step: int) -> Any:
        if step == 7:
            raise KeyboardInterrupt
        return batch(pairs, setting, seed=seed, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_EVERY", 5)
        patch.setattr(training, "batch", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task(model))
    assert [path.name for path in whole.iterdir()] == ["checkpoint.pt"]
    folder = train(task(model))
    assert folder == whole
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors", "recipe.json", "loss.svg", "trained_on.txt",
    }  # fmt: skip
    recipe = read_json(folder / "recipe.json", Trained)
    assert recipe.sha256 == digest_file(folder / "weights.safetensors") == expected
    assert len(recipe.loss) == TINY.steps


def test_the_loss_falls() -> None:
    rng = np.random.default_rng(0)
    clean = np.repeat(np.repeat(rng.integers(80, 160, (4, 8, 8), dtype=np.uint8), 8, 1), 8, 2)
    noisy = np.clip(clean + rng.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
    network = load_network("unet", {"width": 8, "levels": 2})
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss = network.loss(*batch(Pairs(noisy, clean, ""), TINY, seed=0, step=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


def test_strategies_differ_in_their_inputs_alone() -> None:
    dataset = training.training_set(TINY)
    sets = {name: training.load_pairs(TINY, dataset, name, "published") for name in ("none", "ipv1", "ipv2")}
    for one in sets.values():
        np.testing.assert_array_equal(one.clean, sets["none"].clean)
    assert len({one.digest for one in sets.values()}) == 3
    np.testing.assert_array_equal(sets["none"].noisy[0], read_grey(Path(dataset.cases[0].lq)))


def test_patches_of_input_and_target_are_of_one_place() -> None:
    image = np.arange(40 * 40, dtype=np.uint16).reshape(40, 40).astype(np.uint8)
    noisy, clean = batch(Pairs(image[None], 255 - image[None], ""), TINY, seed=0, step=0)
    assert noisy.shape == (TINY.batch, 1, TINY.patch, TINY.patch)
    torch.testing.assert_close(noisy, 1 - clean)


def test_patches_are_centred_in_the_lung_where_the_setting_says_so() -> None:
    """Every pixel says where it is; the lung is one row, so that a patch's middle row tells."""
    size, height, width, lung_row = 8, 40, 50, 20
    rows = np.repeat(np.arange(height, dtype=np.uint8)[:, None], width, 1)
    lung = np.arange(lung_row * width, (lung_row + 1) * width)
    setting = msgspec.structs.replace(TINY, batch=6, patch=size, in_lung=4)
    pairs = Pairs(np.stack([rows, rows]), np.stack([rows, rows]), "", (lung, lung))
    anywhere = msgspec.structs.replace(setting, in_lung=0)
    for step in range(20):
        middles = np.sort((batch(pairs, setting, seed=0, step=step)[0] * 255).numpy().reshape(6, -1).mean(1))
        spread = np.sort((batch(pairs, anywhere, seed=0, step=step)[0] * 255).numpy().reshape(6, -1).mean(1))
        # a patch's rows run from 4 above its centre to 3 below
        assert np.isclose(middles, lung_row - 0.5, atol=1e-3).sum() >= 4
        assert np.isclose(spread, lung_row - 0.5, atol=1e-3).sum() < 4


def test_a_lung_at_the_border_or_none_at_all_still_gives_whole_patches() -> None:
    image = np.arange(40 * 40, dtype=np.uint16).reshape(1, 40, 40).astype(np.uint8)
    setting = msgspec.structs.replace(TINY, in_lung=TINY.batch)
    for lung in (np.array([0]), np.array([40 * 40 - 1]), np.array([], np.intp)):
        noisy, clean = batch(Pairs(image, 255 - image, "", (lung,)), setting, seed=0, step=0)
        assert noisy.shape == (TINY.batch, 1, TINY.patch, TINY.patch)
        torch.testing.assert_close(noisy, 1 - clean)


def test_the_lung_of_a_pair_is_that_of_its_region_map() -> None:
    dataset = training.training_set(TINY)
    setting = msgspec.structs.replace(TINY, in_lung=1)
    pairs = training.load_pairs(setting, dataset, "none", "published")
    assert training.load_pairs(TINY, dataset, "none", "published").lung == ()
    assert len(pairs.lung) == len(pairs.noisy) == len(dataset.cases)
    for case, places in zip(dataset.cases, pairs.lung, strict=True):
        codes = read_grey(Path(str(case.regions))).ravel()
        assert len(places) == np.isin(codes, (Code.LUNG, Code.NODULE)).sum() > 0
        assert set(codes[places]) <= {Code.LUNG, Code.NODULE}


def test_settings_of_the_reproduction_keep_their_digest() -> None:
    """Of before `in_lung` was added: their networks' folders in the cache are named by it."""
    assert digest_json(SETTINGS["reduced"]) == "3e2b7dba437dc54ebef687aa13cf8bb8c2ec366312754e34f37ceda542269638"
    assert digest_json(SETTINGS["full"]) == "fbafea0a8c87f8fff7b2820a52930f453e0f6974736d615e8b6e99b0f1e92e7c"


@pytest.mark.parametrize("protocol", ["phantom", "phantom-mini", "phantom-fov"])
def test_patients_of_every_protocol_are_refused(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one protocol tests with the patients that are trained on."""

    def load(name: str) -> Protocol:
        data = TEST if name == protocol else msgspec.structs.replace(TEST, seed=2)
        return msgspec.structs.replace(load_protocol(name), data=data)

    monkeypatch.setattr(training, "load_protocol", load)
    with pytest.raises(UsageError, match="the training set holds"):
        training.training_set(msgspec.structs.replace(TINY, data=TEST))


# -------------------------------------------------------------------------------- what is shipped
def test_one_program_runs_them_all() -> None:
    """A submission's folder is all that its build sees, so that each has a copy."""
    assert len({(SUBMISSIONS / model / "denoise.py").read_text() for model in MODELS}) == 1


@every_model
def test_shipped_weights_are_those_of_the_recipe(model: str) -> None:
    folder = SUBMISSIONS / model
    recipe = read_json(folder / "recipe.json", Trained)
    assert (recipe.model, recipe.strategy, recipe.variant, recipe.setting) == (model, "ipv2", "corrected", "baseline")
    assert recipe.sha256 == digest_file(folder / "weights.safetensors")
    setting = SETTINGS["baseline"]
    assert recipe.training.networks[model] == recipe.size == setting.networks[model]
    # the other networks' sizes, which do not matter to this one, may be those of an earlier day
    assert msgspec.structs.replace(recipe.training, networks=setting.networks) == setting
    with safe_open(folder / "weights.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["network"]) == recipe.size
    tensors = load_file(folder / "weights.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) == recipe.parameters
    noisy = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert not torch.equal(load_trained(folder).denoise(noisy), noisy)


def test_shipped_weights_are_small() -> None:
    assert all((SUBMISSIONS / model / "weights.safetensors").stat().st_size < 2e6 for model in MODELS)


# -------------------------------------------------------------------------------- what they are worth
def test_an_output_one_grey_level_off_errs_by_one_grey_level_everywhere(tmp_path: Path) -> None:
    dataset = training.training_set(TINY)
    assert dataset.window_hu is not None
    for case in dataset.cases:
        truth = read_grey(Path(str(case.truth))).astype(int)
        write_grey(tmp_path / f"{case.name}.png", np.where(truth < 255, truth + 1, 254).astype(np.uint8))
    found = measuring.errors(dataset, tmp_path)
    assert found.keys() >= {"lung", "body", "whole"}
    hu = (dataset.window_hu[1] - dataset.window_hu[0]) / 255
    assert list(found.values()) == pytest.approx([hu] * len(found))


def test_the_noisy_input_and_a_blur_are_measured_by_their_own_programs() -> None:
    first, second = measuring.measure(training.training_set(TINY), ["identity", "gaussian"])
    assert (first[0], second[0]) == ("gaussian", "identity")
    assert float(first[3]) < float(second[3])


def test_a_program_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="gaussian: exit status 1"):
        measuring.apply("gaussian", tmp_path / "missing", tmp_path / "outputs")


@pytest.mark.parametrize("patients", ["development patients", "phantom"])
def test_the_document_shows_every_learned_baseline_below_every_classical_denoiser(patients: str) -> None:
    text = (SUBMISSIONS.parent / "docs" / "baselines.md").read_text()
    table = text.split(f"\n{patients}, ", 1)[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    lung = {row[0]: float(row[3]) for row in rows}
    assert lung.keys() == {*MODELS, *measuring.CLASSICAL, *measuring.OTHERS}
    assert max(lung[model] for model in MODELS) < min(lung[name] for name in measuring.CLASSICAL)
    assert {row[0]: (row[1], row[2]) for row in rows if row[1]} == {one: measuring.trained(one) for one in MODELS}


@every_model
def test_no_shipped_network_saw_a_test_slice(model: str) -> None:
    submission = load_submission(SUBMISSIONS / model)
    assert submission.manifest.trained_on is not None
    seen = read_fingerprints(SUBMISSIONS / model / submission.manifest.trained_on)
    data = SETTINGS["baseline"].data
    assert len(seen) == data.patients * data.slices * 4 + data.patients
    assert not set(seen) & set(fingerprints(load_data(load_protocol("phantom-mini"))))
