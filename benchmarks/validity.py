"""Does a metric measure anything? Every metric and region of a protocol against two truths: error and detectability.

    .venv/bin/python -m benchmarks.validity [-p phantom] [--patients 8] [--slices 6] [--size 512] [--seed 2937]

On the phantom the truth is known, and lesions can be planted. A battery of denoisers, some of which hallucinate or
erase on purpose, is ranked by each metric, against the purified label as a board does and against the noise-free truth;
by the true error; and by how well two model observers see the lesions. Kendall's tau says how far these rankings are
the same, with the jackknife's 95 % interval over patients. Then the truth itself is spoilt in graded steps: a metric
that is any good gets worse with every step.

The population belongs to no protocol and served no choice. Everything is kept in the cache folder, `validity/`: killed,
the same command goes on where it stopped; after training, only the learned networks denoise again. Prints markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.battery import DENOISERS
from benchmarks.observer import measure
from benchmarks.spoils import SPOILS, STEPS
from benchmarks.validity_images import Planes, denoised, output_path, population, seen
from benchmarks.validity_tables import Scored, Study, print_battery, print_ladders, print_ranks
from harness.base.code_digest import digest_code
from harness.base.digests import digest_file, digest_json
from harness.base.files import cache_root
from harness.base.progress import Progress
from harness.base.slices import read_grey, write_grey
from harness.base.structs import read_json, write_json
from harness.features import Extractor
from harness.labels.label_set import LabelSet, build_labels
from harness.protocol import Metric, PhantomData, Protocol, load_protocol
from harness.scoring.score import load_extractors, score

SEED = 2937
CLIP_KID = Metric(name="CLIP-KID", metric="kernel", features="clip-random")  # beside the protocol's own
MINUTES = {"scan": 0.05, "denoise": 0.26, "label": 0.04, "card": 0.0145, "rung": 0.009}
"""Processor minutes for one plane of 512 x 512: two scans; the battery on both; its label; a scorecard; a rung."""


class Scorer:
    """Scores sets of images of one population by one protocol, once each."""

    def __init__(self, protocol: Protocol, planes: Planes, labels: LabelSet, extractors: Sequence[Extractor]) -> None:
        self.protocol, self.planes, self.labels, self.extractors = protocol, planes, labels, extractors
        code = digest_code("harness.scoring.score")
        weights = {one.name: one.digest for one in extractors}
        self._recipe = [labels.digest, protocol.metrics, protocol.regions, protocol.seed, weights, code]

    def scored(self, outputs: Mapping[str, Path]) -> Scored:
        """Against the label and against the truth."""

        def fresh() -> Scored:
            card = score(outputs, self.planes.dataset, self.labels, self.protocol, extractors=self.extractors)
            return Scored(label=card.label, truth=card.truth or {})

        return self._once("both", outputs, fresh)

    def against_truth(self, outputs: Mapping[str, Path]) -> Scored:
        """Against the truth alone, in the time of one reference: the truth takes the place of the label."""

        def fresh() -> Scored:
            with TemporaryDirectory() as folder:
                (Path(folder) / "labels").mkdir()
                for case in self.planes.dataset.cases:
                    (Path(folder) / "labels" / f"{case.name}.png").symlink_to(str(case.truth))
                truths = LabelSet(folder=folder, digest=self.planes.dataset.digest, consensus=None)
                unknown = tuple(msgspec.structs.replace(case, truth=None) for case in self.planes.dataset.cases)
                dataset = msgspec.structs.replace(self.planes.dataset, cases=unknown)
                card = score(outputs, dataset, truths, self.protocol, extractors=self.extractors)
            return Scored(label={}, truth=card.label)

        return self._once("truth", outputs, fresh)

    def _once(self, against: str, outputs: Mapping[str, Path], fresh: Callable[[], Scored]) -> Scored:
        images = {name: digest_file(path) for name, path in outputs.items()}
        key = digest_json([self._recipe, self.planes.dataset.digest, against, images])
        path = cache_root() / "validity" / "scores" / f"{key[:20]}.json"
        if not path.is_file():
            write_json(path, fresh())
        return read_json(path, Scored)


def scored_battery(scorer: Scorer, folders: Mapping[str, Path], progress: Progress | None) -> dict[str, Scored]:
    found = {}
    for number, (name, folder) in enumerate(folders.items(), start=1):
        found[name] = scorer.scored({case.name: output_path(folder, case) for case in scorer.planes.dataset.cases})
        if progress:
            progress(number, len(folders))
    return found


def scored_ladders(scorer: Scorer, progress: Progress | None) -> dict[str, list[Scored]]:
    """Kinds of damage -> the truth itself, which is scored against the label too, and the truth damaged in steps."""
    cases = scorer.planes.dataset.cases
    truth = scorer.scored({case.name: Path(str(case.truth)) for case in cases})
    found: dict[str, list[Scored]] = {kind: [truth] for kind in SPOILS}
    for number, (kind, step) in enumerate(((kind, step) for kind in SPOILS for step in range(1, STEPS + 1)), start=1):
        with TemporaryDirectory() as folder:
            outputs = {case.name: Path(folder) / f"{case.name}.png" for case in cases}
            for case in cases:
                write_grey(outputs[case.name], SPOILS[kind](read_grey(Path(str(case.truth))), case, step))
            found[kind].append(scorer.against_truth(outputs))
        if progress:
            progress(number, len(SPOILS) * STEPS)
    return found


def study(protocol: Protocol, data: PhantomData, names: Sequence[str]) -> Study:
    """Everything measured, or found in the cache."""
    planes = population(data, progress=shown("scans"))
    labels = build_labels(planes.dataset, protocol.purify, progress=shown("labels"))
    folders = denoised(planes, names, progress=shown("denoised planes"))
    scorer = Scorer(protocol, planes, labels, load_extractors(protocol, device="cpu"))
    battery = scored_battery(scorer, folders, shown("scored denoisers"))
    ladders = scored_ladders(scorer, shown("scored rungs"))
    owners = [case.patient for case in planes.dataset.cases]
    return Study(protocol=protocol, battery=battery, ladders=ladders, lesions=measure(seen(planes, folders), owners))


def shown(what: str) -> Progress:
    """Tells the standard error how far it is, and how much processor time that took."""

    def progress(done: int, total: int) -> None:
        seconds = sum(os.times()[:4])
        print(f"{what}: {done} of {total} ({seconds / 60:.1f} processor minutes so far)", file=sys.stderr, flush=True)

    return progress


def with_clip_kid(protocol: Protocol) -> Protocol:
    return msgspec.structs.replace(protocol, metrics=(*protocol.metrics, CLIP_KID))


def expected_minutes(planes: int, size: int) -> float:
    cards, rungs = len(DENOISERS) + 1, len(SPOILS) * STEPS
    one = MINUTES["scan"] + MINUTES["denoise"] + MINUTES["label"] + MINUTES["card"] * cards + MINUTES["rung"] * rungs
    return planes * one * (size / 512) ** 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-p", "--protocol", default="phantom")
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--slices", type=int, default=3, help="planes of each patient")
    parser.add_argument("--size", type=int, default=512, help="pixels, height and width")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    protocol = load_protocol(given.protocol)
    assert isinstance(protocol.data, PhantomData), "only the phantom's truth is known"
    data = PhantomData(
        patients=given.patients,
        slices=given.slices,
        nodule_slices=min(protocol.data.nodule_slices, given.slices),
        size=given.size,
        dose=protocol.data.dose,
        seed=given.seed,
    )
    minutes = expected_minutes(given.patients * given.slices, given.size)
    print(f"some {minutes:.0f} processor minutes where nothing is in the cache", file=sys.stderr)
    found = study(with_clip_kid(protocol), data, list(DENOISERS))
    print(
        f"{given.patients} patients x {given.slices} planes, seed {given.seed}; metrics of {protocol.identity}, "
        f"labels by {protocol.purify.weak_denoiser}; {len(found.battery)} denoisers\n"
    )
    print_battery(found)
    for reference in ("label", "truth"):
        print(f"\n## Against the {reference}\n")
        print_ranks(found, reference)
    print("\n## Graded damage\n")
    print_ladders(found)


if __name__ == "__main__":
    main()
