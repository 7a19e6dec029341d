"""Further slices: how they are shared out among runs of the container, and what such runs see, keep and cost."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import ContainerError
from harness.base.slices import read_grey, write_grey
from harness.base.structs import write_json
from harness.dataset.cases import Case, Dataset, FurtherKind, FurtherSlice, Inputs, NoisySlice, first_cases
from harness.engines import Engine
from harness.run.cache import cached_outputs
from harness.run.execute import LOG_BYTES, joined_logs, run_submission
from harness.run.result import Costs, Repeat, Run, Times, digest_outputs
from harness.run.staging import opaque_names, rounds_of
from harness.sandbox import Limits
from harness.submission.manifest import Submission, load_submission

LIMITS = Limits(wall_s=60, memory_gb=0.5, cpus=2, shm_gb=0.01, tmp_gb=0.05, pids=60)
KINDS: tuple[FurtherKind, ...] = ("lesions", "again", "plus", "minus")
# Ends badly if it sees a plane twice, something of an earlier run, or fewer slices than it is told to expect.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image
kept = [Path("/tmp/kept"), Path("/dev/shm/kept")]
assert not any(path.exists() for path in kept) and not any(Path("/output").iterdir()), "something was kept"
for path in kept:
    path.write_text("here")
cases = json.loads(Path("/input/manifest.json").read_text())["cases"]
files = {path.name for path in Path("/input").iterdir()}
assert files == {case["file"] for case in cases} | {"manifest.json"}, "files that no case names"
images = [np.array(Image.open(Path("/input") / case["file"])) for case in cases]
planes = [int(image[0, 0]) for image in images]
assert len(set(planes)) == len(planes), "a plane is shown twice"
if len(images) < int(sys.argv[1]):
    sys.exit("too few slices")
print("saw", *sorted(int(image[0, 1]) for image in images))
for case, image in zip(cases, images):
    Image.fromarray(image).save(Path("/output") / case["file"])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def inputs_of(counts: list[int], key: bytes) -> Inputs:
    """Planes with so many images each, without files."""
    cases = tuple(NoisySlice(name=f"p{plane}", lq="") for plane in range(len(counts)))
    further = tuple(
        FurtherSlice(name=f"p{plane}-{number}", lq="", of=f"p{plane}", kind=KINDS[number % 4])
        for plane, count in enumerate(counts)
        for number in range(count - 1)
    )
    return Inputs(cases=cases, further=further, window_hu=None, digest="d", names_key=key)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.binary(min_size=32, max_size=32))
def test_every_slice_is_shown_once_and_no_plane_twice_in_a_run(counts: list[int], key: bytes) -> None:
    inputs = inputs_of(counts, key)
    rounds = rounds_of(inputs)
    assert len(rounds) == max(counts)
    shown = [one.name for each in rounds for one in each.values()]
    assert sorted(shown) == sorted(one.name for one in inputs.shown)
    for each in rounds:
        assert each
        assert max(Counter(one.plane for one in each.values()).values()) == 1
        assert list(each) == sorted(each)
    assert {name: one for each in rounds for name, one in each.items()} == opaque_names(inputs)
    assert len(opaque_names(inputs)) == len(inputs.shown)
    assert rounds_of(inputs) == rounds
    # planes of few images fill the first runs
    assert all({a.plane for a in one.values()} >= {b.plane for b in other.values()} for one, other in pairwise(rounds))
    alone = msgspec.structs.replace(inputs, further=())
    assert rounds_of(alone) == [opaque_names(alone)]
    # complete runs show every plane, and a slice for the first time in the run that it had anyway
    complete, seen = rounds_of(inputs, complete=True), set[str]()
    assert len(complete) == len(rounds)
    for each, own in zip(complete, rounds, strict=True):
        assert sorted(one.plane for one in each.values()) == sorted(case.name for case in inputs.cases)
        assert list(each) == sorted(each)
        assert {name for name in each if name not in seen} == set(own)
        seen |= set(each)


def test_the_secret_decides_which_kind_a_run_shows() -> None:
    def cases_first(key: bytes) -> set[str]:
        return {one.name for one in rounds_of(inputs_of([2] * 64, key))[0].values() if not hasattr(one, "of")}

    one, other = cases_first(b"1" * 32), cases_first(b"2" * 32)
    # binomial of 64 and 1/2: 5 standard deviations are 20
    assert 12 <= len(one) <= 52
    assert 12 <= len(one ^ other) <= 52


def test_a_check_shows_no_further_slices(tmp_path: Path) -> None:
    assert first_cases(dataset_of(tmp_path), 2).further == ()
    assert len(rounds_of(first_cases(dataset_of(tmp_path), 2))) == 1


def test_joined_logs_are_bounded_and_say_whose_they_are() -> None:
    assert joined_logs(["as it is"]) == "as it is"
    assert joined_logs(["one\n", "two"]) == "[run 1 of 2]\none\n[run 2 of 2]\ntwo\n"
    long = joined_logs(["ä" * LOG_BYTES, "end", "日本" * LOG_BYTES])
    assert LOG_BYTES * 2 // 3 - 10 < len(long.encode()) <= LOG_BYTES
    assert "�" not in long


# -------------------------------------------------------------------------------- in containers
def dataset_of(folder: Path) -> Dataset:
    """Planes with one, two and four images: pixel (0, 0) is that of the plane, pixel (0, 1) that of the image."""
    rng = np.random.default_rng(5)
    cases, further = [], []
    for plane, count in enumerate((1, 2, 4)):
        for number in range(count):
            image = rng.integers(2, 256, (20, 30 + plane), dtype=np.uint8)
            image[0, :2] = 50 + plane, 10 * plane + number
            name = f"s{plane}" + (f"-{KINDS[number]}" if number else "")
            path = folder / "lq" / f"{name}.png"
            write_grey(path, image)
            if number == 0:
                cases.append(Case(name=name, patient="p", lq=str(path), gt=str(path)))
            else:
                further.append(FurtherSlice(name=name, lq=str(path), of=f"s{plane}", kind=KINDS[number]))
    return Dataset(cases=tuple(cases), further=tuple(further), window_hu=None, digest="planes", names_key=b"k" * 32)


def submission(folder: Path, *, at_least: int) -> Submission:
    folder.mkdir()
    (folder / "denoise.py").write_text(PROGRAM)
    (folder / "Dockerfile").write_text(
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY denoise.py /\n"
        f'CMD ["python3", "/denoise.py", "{at_least}"]\n'
    )  # fmt: skip
    (folder / "submission.yaml").write_text('schema: 1\nname: T\nversion: "1"\nauthors: [T]\nimage: {build: .}\n')
    return load_submission(folder)


@pytest.mark.engine
def test_each_run_is_a_fresh_container_and_the_sum_is_one_run(tmp_path: Path, cache: Path, engine: Engine) -> None:
    dataset, seen = dataset_of(tmp_path), submission(tmp_path / "rounds", at_least=1)
    told: list[tuple[int, int]] = []
    run = run_submission(
        seen, dataset, LIMITS, seed=1, engine=engine, repeat=2, progress=lambda *done: told.append(done)
    )
    assert set(run.outputs) == {one.name for one in dataset.shown}
    for one in dataset.shown:
        np.testing.assert_array_equal(read_grey(Path(run.outputs[one.name])), read_grey(Path(one.lq)))
    images = {one.name: read_grey(Path(one.lq)) for one in dataset.shown}
    assert run.outputs_digest == digest_outputs(images)
    assert run.repeat == Repeat(runs=2, differing_slices=0, largest_difference=0)
    # the log tells what each run saw
    expected = [
        "saw " + " ".join(str(number) for number in sorted(images[one.name][0, 1] for one in each.values()))
        for each in rounds_of(dataset)
    ]
    assert [len(line.split()) - 1 for line in expected] == [3, 2, 1, 1]
    assert run.log.splitlines() == [line for n in range(4) for line in (f"[run {n + 1} of 4]", expected[n])]
    # all slices count, of both repetitions
    assert {total for _, total in told} == {7}
    counts = [done for done, _ in told]
    back = [(before, after) for before, after in pairwise(counts) if after < before]
    assert [before for before, _ in back] == [7]  # the second repetition begins
    assert counts[-1] == 7
    assert set(counts) >= {3, 5, 6, 7}
    times = run.costs.times
    assert times.seconds_per_slice == pytest.approx(times.run_s / 7)
    assert times.first_output_s is None or times.first_output_s < times.run_s
    assert list((cache / "staging").iterdir()) == []

    again = run_submission(seen, dataset, LIMITS, seed=1, engine=engine)
    assert again == msgspec.structs.replace(run, reused=True)
    assert cached_outputs(dataset, run.outputs_digest) == {name: Path(path) for name, path in run.outputs.items()}
    # the cases alone are another run, as they were before there were further slices
    alone = msgspec.structs.replace(dataset, further=())
    cases = run_submission(seen, alone, LIMITS, seed=1, engine=engine)
    assert not cases.reused
    assert set(cases.outputs) == {"s0", "s1", "s2"}
    assert cases.log.startswith("saw ")


@pytest.mark.engine
def test_a_later_run_that_fails_is_named_and_nothing_is_kept(tmp_path: Path, cache: Path, engine: Engine) -> None:
    with pytest.raises(ContainerError) as caught:
        run_submission(submission(tmp_path / "fails", at_least=3), dataset_of(tmp_path), LIMITS, seed=1, engine=engine)
    assert caught.value.message == "run 2 of 4: the container ended with exit status 1: too few slices"
    assert (caught.value.exit_code, caught.value.fix != "") == (20, True)
    assert "too few slices" in (cache / "logs" / "fails.log").read_text()
    assert not (cache / "runs").exists()


# -------------------------------------------------------------------------------- kept runs
def test_a_kept_run_that_lacks_a_further_slice_is_not_believed(tmp_path: Path, cache: Path) -> None:
    dataset = dataset_of(tmp_path)
    images = {one.name: read_grey(Path(one.lq)) for one in dataset.shown}
    folder = cache / "runs" / "one"
    for name, image in images.items():
        write_grey(folder / "outputs" / f"{name}.png", image)
    digest = digest_outputs(images)
    run = Run(
        image="sha256:1", outputs={}, outputs_digest=digest, device="cpu", seed=1, limits=Limits(),
        lowered=(), engine="test", costs=Costs(times=Times(build_s=0, run_s=1, seconds_per_slice=1)), log="",
    )  # fmt: skip
    write_json(folder / "run.json", run)
    found = cached_outputs(dataset, digest)
    assert found is not None
    assert set(found) == set(images)
    (folder / "outputs" / "s1-again.png").unlink()
    assert cached_outputs(dataset, digest) is None
