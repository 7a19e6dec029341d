from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.base.errors import BuildError, ContainerError, InfrastructureError, UsageError
from harness.base.private_files import installation_secret
from harness.base.slices import read_grey, write_grey
from harness.base.structs import write_json
from harness.dataset.cases import Case, Dataset
from harness.engines import Engine
from harness.run.cache import cached_outputs
from harness.run.execute import run_submission
from harness.run.result import Costs, Repeat, Run, Times, digest_outputs
from harness.run.staging import opaque_names
from harness.run.weights import fetch_weights, weights_of
from harness.sandbox import Limits
from harness.submission import manifest
from harness.submission.manifest import Weights, load_submission

LIMITS = Limits(wall_s=60, memory_gb=0.5, cpus=2, shm_gb=0.01, tmp_gb=0.05, pids=60)
SUBMISSIONS = Path(__file__).resolve().parents[2] / "submissions"
# writes the manifest that it was given into its log, then the inputs as outputs
TELLTALE = """
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}
CMD ["sh", "-c", "cat /input/manifest.json; cp /input/*.png /output; echo secret words >&2; exit $(cat /exit)"]
RUN echo STATUS > /exit
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six noisy slices of a smooth disc, of two sizes."""
    rng = np.random.default_rng(3)
    cases = []
    for number in range(6):
        height, width = (96, 80) if number < 4 else (64, 64)
        rows, columns = np.mgrid[:height, :width]
        disc = 60.0 + 90.0 * ((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 3) ** 2)
        noisy = disc + rng.normal(0, 15, (height, width))
        for kind, image in (("lq", noisy), ("gt", disc)):
            write_grey(tmp_path / kind / f"s{number}.png", np.clip(image, 0, 255).astype(np.uint8))
        paths: dict[str, Any] = {kind: str(tmp_path / kind / f"s{number}.png") for kind in ("lq", "gt")}
        cases.append(Case(name=f"s{number}", patient="p", pixel_mm=0.5 + number, **paths))
    return Dataset(cases=tuple(cases), window_hu=(-1024.0, 1200.0), digest="discs")


def telltale(folder: Path, *, status: int = 0) -> Path:
    folder.mkdir()
    (folder / "Dockerfile").write_text(TELLTALE.replace("STATUS", str(status)))
    (folder / "submission.yaml").write_text('schema: 1\nname: T\nversion: "1"\nauthors: [T]\nimage: {build: .}\n')
    return folder


def error_of(run: Run, dataset: Dataset) -> float:
    """Mean squared error against the disc, over all slices."""
    return float(
        np.mean(
            [
                np.mean((read_grey(Path(run.outputs[case.name])).astype(float) - read_grey(Path(case.gt))) ** 2)
                for case in dataset.cases
            ]
        )
    )


@pytest.mark.engine
def test_the_shipped_submissions_run_and_denoise(dataset: Dataset, engine: Engine) -> None:
    errors = {}
    for name in ("identity", "median", "tv", "nlm", "template"):
        run = run_submission(load_submission(SUBMISSIONS / name), dataset, LIMITS, seed=1, engine=engine)
        errors[name] = error_of(run, dataset)
        times = run.costs.times
        assert times.seconds_per_slice == pytest.approx(times.run_s / 6)
    # the noise has a variance of 15^2; what is clipped at 0 takes little of it
    assert 0.9 * 225 < errors["identity"] < 1.1 * 225
    assert all(errors[name] < errors["identity"] / 2 for name in ("median", "tv", "nlm", "template"))


@pytest.mark.engine
def test_names_are_opaque_and_the_input_holds_pixels_only(tmp_path: Path, dataset: Dataset, engine: Engine) -> None:
    told = PngInfo()
    told.add_text("PatientName", "Doe^Jane")
    first = dataset.cases[0]
    Image.fromarray(read_grey(Path(first.lq))).save(first.lq, pnginfo=told)
    run = run_submission(load_submission(telltale(tmp_path / "t")), dataset, LIMITS, seed=1, engine=engine)
    manifest = json.loads(run.log.replace("secret words", ""))  # the engine may note either stream first
    assert manifest["window_hu"] == [-1024.0, 1200.0]
    listed = manifest["cases"]
    assert [case["name"] for case in listed] == sorted(case["name"] for case in listed)
    assert [case["pixel_mm"] for case in listed] != [case.pixel_mm for case in dataset.cases]  # shuffled (1 in 720)
    for case in listed:
        assert len(case["name"]) == 16
        assert case["file"] == case["name"] + ".png"
        (origin,) = (one for one in dataset.cases if one.pixel_mm == case["pixel_mm"])
        assert (case["height"], case["width"]) == read_grey(Path(origin.lq)).shape
        np.testing.assert_array_equal(read_grey(Path(run.outputs[origin.name])), read_grey(Path(origin.lq)))
    # the container copied its files as they were: nothing but pixels in them
    assert "PatientName" not in Image.open(run.outputs[first.name]).info


@pytest.mark.engine
def test_a_run_is_kept_and_found_again_unless_something_changed(
    tmp_path: Path, dataset: Dataset, engine: Engine
) -> None:
    submission = load_submission(telltale(tmp_path / "t"))

    def again(*, seed: int = 1, fresh: bool = False, data: Dataset = dataset, limits: Limits = LIMITS) -> Run:
        return run_submission(submission, data, limits, seed=seed, engine=engine, fresh=fresh)

    first = again()
    assert not first.reused
    second = again()
    assert second == msgspec.structs.replace(first, reused=True)
    assert not again(seed=2).reused
    assert not again(data=msgspec.structs.replace(dataset, digest="other")).reused
    fresh = again(fresh=True)
    assert not fresh.reused
    assert fresh.outputs_digest == first.outputs_digest
    # a damaged cache is not believed
    path = Path(first.outputs["s1"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    mended = again()
    assert not mended.reused
    assert mended.outputs_digest == first.outputs_digest
    write_grey(path, np.zeros((96, 80), np.uint8))
    assert not again().reused


@pytest.mark.engine
def test_repeated_runs_say_by_how_much_they_differ(tmp_path: Path, dataset: Dataset, engine: Engine) -> None:
    """The inputs as they are, but for one random pixel in two of them."""
    folder = telltale(tmp_path / "t")
    program = (
        "import os; from pathlib import Path; import numpy as np; from PIL import Image\n"
        "for number, path in enumerate(sorted(Path('/input').glob('*.png'))):\n"
        "    pixels = np.array(Image.open(path))\n"
        "    if number < 2: pixels[0, 0] = os.urandom(1)[0]\n"
        "    Image.fromarray(pixels).save(Path('/output') / path.name)\n"
    )
    (folder / "denoise.py").write_text(program)
    (folder / "Dockerfile").write_text(
        'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY denoise.py /\nCMD ["python3", "/denoise.py"]\n'
    )
    submission = load_submission(folder)
    run = run_submission(submission, dataset, LIMITS, seed=1, engine=engine, repeat=4)
    assert run.repeat is not None
    assert run.repeat.runs == 4
    assert run.repeat.differing_slices == 2  # by chance less once in 10 million times
    assert 1 <= run.repeat.largest_difference <= 255
    kept = run_submission(submission, dataset, LIMITS, seed=1, engine=engine)
    assert kept == msgspec.structs.replace(run, reused=True)  # the first run's outputs, and what was found of them
    same = run_submission(load_submission(SUBMISSIONS / "identity"), dataset, LIMITS, seed=1, engine=engine, repeat=2)
    assert same.repeat == Repeat(runs=2, differing_slices=0, largest_difference=0)


@pytest.mark.engine
def test_the_first_output_is_timed_from_outside(tmp_path: Path, dataset: Dataset, engine: Engine) -> None:
    """A program that starts for a second, sets its files' own time to long ago, and ends a second after them."""
    folder = telltale(tmp_path / "t")
    (folder / "Dockerfile").write_text(
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"
        'CMD ["sh", "-c", "sleep 1; cp /input/*.png /output; touch -d 2001-01-01 /output/*; sleep 1"]\n'
    )
    run = run_submission(load_submission(folder), dataset, LIMITS, seed=1, engine=engine)
    times = run.costs.times
    assert times.first_output_s is not None
    # the engine notes a start milliseconds after the program began, and a file's time is the kernel's last tick
    assert 0.9 <= times.first_output_s < times.run_s - 0.9
    assert run.build is not None
    assert run.build.network == "none"


@pytest.mark.engine
def test_messages_quote_the_container_only_where_logs_may_be_published(
    tmp_path: Path, cache: Path, dataset: Dataset, engine: Engine
) -> None:
    submission = load_submission(telltale(tmp_path / "t", status=3))
    with pytest.raises(ContainerError) as caught:
        run_submission(submission, dataset, LIMITS, seed=1, engine=engine)
    assert caught.value.message == "the container ended with exit status 3: secret words"
    with pytest.raises(ContainerError) as caught:
        run_submission(submission, dataset, LIMITS, seed=1, engine=engine, publish_logs=False)
    assert caught.value.message.startswith("the container ended with an error; this protocol publishes nothing")
    assert "secret words" not in caught.value.message + caught.value.fix
    assert "secret words" in (cache / "logs" / "t.log").read_text()


@pytest.mark.engine
def test_a_folder_without_a_dockerfile_is_named(tmp_path: Path, dataset: Dataset, engine: Engine) -> None:
    folder = telltale(tmp_path / "t")
    (folder / "Dockerfile").unlink()
    with pytest.raises(UsageError, match="without a Dockerfile"):
        run_submission(load_submission(folder), dataset, LIMITS, seed=1, engine=engine)


@pytest.mark.engine
def test_a_dockerfile_that_is_no_text_does_not_build(tmp_path: Path, dataset: Dataset, engine: Engine) -> None:
    folder = telltale(tmp_path / "t")
    (folder / "Dockerfile").write_bytes(b"FROM scratch\n\xff\n")
    with pytest.raises(BuildError, match="not UTF-8"):
        run_submission(load_submission(folder), dataset, LIMITS, seed=1, engine=engine)


@pytest.mark.engine
def test_a_build_error_is_the_submissions(tmp_path: Path, dataset: Dataset, engine: Engine) -> None:
    folder = telltale(tmp_path / "t")
    with (folder / "Dockerfile").open("a") as file:
        file.write("RUN echo what went wrong && exit 9\n")
    with pytest.raises(BuildError) as caught:
        run_submission(load_submission(folder), dataset, LIMITS, seed=1, engine=engine)
    assert "returned a non-zero code: 9" in caught.value.message
    assert "what went wrong" in caught.value.message


def test_the_secret_is_made_once_and_private(cache: Path) -> None:
    secret = installation_secret()
    assert len(secret) == 32
    assert installation_secret() == secret
    assert stat.S_IMODE((cache / "secret").stat().st_mode) == 0o600
    assert [path.name for path in cache.iterdir()] == ["secret"]


def test_another_installation_gives_other_names_in_another_order(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = opaque_names(dataset)
    assert list(opaque_names(dataset).items()) == list(here.items())
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(
        "harness.base.private_files.secrets.token_bytes", lambda count: bytes(count)
    )  # any secret but the first
    there = opaque_names(dataset)
    assert not here.keys() & there.keys()
    assert [case.name for case in there.values()] != [case.name for case in here.values()]  # 1 in 720 by chance


# -------------------------------------------------------------------------------- weights
def test_cached_weights_need_no_network(cache: Path) -> None:
    path = cache / "weights" / ("a" * 64)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert fetch_weights(Weights(url="https://example.invalid/w.bin", sha256="a" * 64)) == path


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("http://example.org/w.bin", UsageError, "only https"),
        ("file:///etc/passwd", UsageError, "only https"),
        ("https://127.0.0.1/w.bin", UsageError, "not a public address"),
        ("https://[::1]/w.bin", UsageError, "not a public address"),
        ("https://169.254.169.254/latest", UsageError, "not a public address"),
        ("https://10.0.0.1:8443/w.bin", UsageError, "not a public address"),
        ("https://no-such-host.invalid/w.bin", InfrastructureError, "no-such-host.invalid"),
    ],
)
def test_weights_come_by_https_from_public_addresses_only(
    cache: Path, url: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        fetch_weights(Weights(url=url, sha256="a" * 64))
    assert not (cache / "weights").exists() or not any((cache / "weights").iterdir())


@pytest.mark.parametrize(
    "urls",
    [
        ("https://a/w", "https://b/w"),
        ("https://a/w.bin", "https://b/w%2Ebin?x=1"),
        ("https://a/W", "https://b/w"),
        ("https://a/e%CC%81", "https://b/%C3%A9"),  # e with an accent in two Unicode forms
        ("https://a/",),
        ("https://[",),
        ("https://a/..",),
        ("https://a/%00",),
        ("https://a/%0A::x",),
        ("https://a/" + "w" * 201,),
        tuple(f"https://a/{number}" for number in range(17)),
    ],
)
def test_weights_have_names_of_files_each_its_own(cache: Path, urls: tuple[str, ...]) -> None:
    said = manifest.Manifest(
        schema=1,
        name="a",
        version="1",
        authors=("a",),
        image=manifest.Image(build="."),
        weights=tuple(Weights(url=url, sha256="a" * 64) for url in urls),
    )
    with pytest.raises(UsageError, match="weights: "):
        weights_of(manifest.Submission(slug="a", folder=".", manifest=said, digest="d"))
    assert not (cache / "weights").exists()


def test_cached_outputs_are_found_by_digest_and_other_runs_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    digests = {}
    for name in ("ours", "theirs"):
        folder = tmp_path / "runs" / name
        write_grey(folder / "outputs" / f"{name}.png", image)
        digests[name] = digest_outputs({name: image})
        run = Run(
            image="sha256:1", outputs={}, outputs_digest=digests[name], device="cpu", seed=1, limits=Limits(),
            lowered=(), engine="test", costs=Costs(times=Times(build_s=0, run_s=1, seconds_per_slice=1)), log="",
        )  # fmt: skip
        write_json(folder / "run.json", run)
    dataset = Dataset(cases=(Case(name="ours", patient="p", lq="", gt=""),), window_hu=None, digest="d")
    assert cached_outputs(dataset, digests["ours"]) == {"ours": tmp_path / "runs/ours/outputs/ours.png"}
    assert cached_outputs(dataset, "another") is None
    assert (tmp_path / "runs" / "theirs" / "outputs" / "theirs.png").is_file()
