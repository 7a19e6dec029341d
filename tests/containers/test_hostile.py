"""Every case of `tests.containers.cases` against the real engine: its end, its bound, and that nothing is left."""

from __future__ import annotations

import json
import os
import re
import resource
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import HarnessError
from harness.base.slices import read_grey
from harness.engines import BASE_IMAGE, Engine, Exit, connect
from harness.engines.podman import open_client as open_podman
from harness.run.execute import Run, run_submission
from harness.submission.manifest import load_submission
from tests.containers import makers
from tests.containers.cases import ALL, ALONE, DOCUMENT, ENDS, Case, documented
from tests.containers.world import (
    CANARY,
    IMAGE,
    MARK,
    WatchedPodman,
    Watching,
    World,
    client_of,
    make_submission,
    of_this_process,
)

pytestmark = pytest.mark.engine
# On other engines than Docker: what every bound of a run and of a build rests on, and what reads /output.
TELLING = {
    *("good", "nothing", "link to label", "fifo", "unix socket"),
    *("disk fill", "inode flood", "sparse file", "huge file", "volume fill", "memory hog", "fork bomb"),
    *("sleeps for ever", "holds its init", "log flood", "looks everywhere", "finds what is there", "looks around"),
    *("environment", "engine socket", "setuid", "kernel doors", "tag clobber"),
    *("build endless", "build fork bomb", "build memory hog", "build many layers"),
}
PODMANS_WORDS = {"tag clobber": "failed to exec pid1", "build fork bomb": "exit status 1"}
OTHERS = [replace(case, said=PODMANS_WORDS.get(case.name, case.said)) for case in ALL if case.name in TELLING]
HOST_BYTES = 64 * 2**20  # that one case may add to this process, whatever it hands us
KILLED_WITHIN_S = 10  # after the deadline; the kernel's part of it is milliseconds


@pytest.fixture(scope="module")
def watched(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    """A connection of a user whose configuration names a proxy and its password: the SDK likes to pass these on."""
    configured = tmp_path_factory.mktemp("docker-config")
    proxy = {"httpProxy": "http://user:password@proxy.invalid:3128", "noProxy": "localhost"}
    (configured / "config.json").write_text(json.dumps({"proxies": {"default": proxy}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(configured))
        plain = connect(engine.name)  # as `engine` did, which made sure that there is one
        assert plain.machine == engine.machine
        client = client_of(plain)
        assert client._proxy_configs.http, "the configuration was not read: the case would be vacuous"
        # every case copies the same file: its layer stays, or a case that ends takes it from one that is built just now
        kept = f"ipv2-harness/hostile:{os.getpid()}"
        plain.build(IMAGE, tag=kept, arguments={"BASE_IMAGE": BASE_IMAGE})
        with WatchedPodman(client, reopen=open_podman) if engine.name == "podman" else Watching(client) as found:
            yield found
        client.remove_image(kept)


@pytest.fixture
def world(watched: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The setting of a case; whatever of the case is left anywhere when it ends is an error."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(watched, "plan", None)
    monkeypatch.setattr(watched, "ended", None)
    world = World(tmp_path, watched)
    yield world
    world.clear()
    assert world.built() == []


def submission_of(case: Case, world: World) -> Path:
    """The case's folder; its name, the slug, is a name of its own in the engine."""
    folder = world.folder / f"hostile-{world.mark[:8]}"
    label = f"LABEL {MARK}={world.mark}\n"
    if case.kind == "archive":
        make_submission(folder, "good", image="{archive: image.tar}")
        makers.write_archive(folder / "image.tar", case.function, world)
        return folder
    if case.kind == "manifest":
        return make_submission(folder, "good", manifest=case.manifest, image=case.behaviour or "{build: .}")
    if case.kind == "build":
        assert world.base is not None
        make_submission(folder, "good")
        text = f"{makers.START}{label}{case.dockerfile.replace('BASE12', world.base[7:19])}"
        if "REACHABLE" in text:
            text = text.replace("REACHABLE", world.reachable())
        if "SYNTAX" in text:
            text = "# syntax=example.org/builder\n" + text.replace("SYNTAX", "")
        (folder / "Dockerfile").write_text(text)
        if case.behaviour:
            getattr(makers, case.behaviour)(folder, world)
        return folder
    arguments = world.arguments(case)
    return make_submission(
        folder, case.function, *arguments, dockerfile=label + case.dockerfile, manifest=case.manifest
    )


def attempt(case: Case, world: World) -> Run | HarnessError:
    try:
        if case.kind == "pull":
            with world.registry(layer_bytes=case.pulls) as reference:
                folder = make_submission(world.folder / "hostile-pull", "good", image=f'{{ref: "{reference}"}}')
                return run_submission(
                    load_submission(folder), world.dataset, case.limits, seed=7, engine=world.engine, build=case.policy
                )
        submission = load_submission(submission_of(case, world))
        return run_submission(submission, world.dataset, case.limits, seed=7, engine=world.engine, build=case.policy)
    except HarnessError as error:
        return error


def attempt_and_check(case: Case, world: World, monkeypatch: pytest.MonkeyPatch) -> Exit | None:
    """Let a case happen and see that it ended as it must and that nothing is left; how its container ended."""
    if case.name == "preload with gpu":  # the check comes before anything is started, so a GPU in name is enough
        monkeypatch.setattr(world.engine, "machine", msgspec.structs.replace(world.engine.machine, gpus=("GPU-0",)))
    if case.name == "oversize layer":
        monkeypatch.setattr("harness.engines._images.MAX_IMAGE_BYTES", 10**6)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    end = attempt(case, world)

    # how it ended
    texts = [(world.folder / "cache" / "logs").rglob("*"), (world.folder / "cache" / "runs").rglob("*")]
    written = b"".join(path.read_bytes() for paths in texts for path in paths if path.is_file())
    if isinstance(end, HarnessError):
        assert (end.exit_code, end.stage, end.party) == (case.status, *ENDS[case.status]), end.message
        assert case.said in end.message
        assert end.fix or case.status == 2
        said = end.message + end.fix
        assert not (world.folder / "cache" / "runs").exists(), "of a run that failed nothing is kept"
    else:
        assert case.status == 0
        said = end.log
        for one in world.dataset.cases:
            if case.name != "good":
                continue
            assert (read_grey(Path(end.outputs[one.name])) == read_grey(Path(one.lq))).all()
        assert all(getattr(end.limits, name) <= getattr(case.limits, name) for name in case.limits.__struct_fields__)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|^\s*(::|##\[)", said, re.MULTILINE), "text is made harmless"
    assert CANARY not in said
    assert CANARY.encode() not in written
    if case.name != "finds what is there":
        assert "label seen" not in said

    # which bound held
    if case.held is not None:
        count = re.search(r"held (\d+)", said)
        assert count is not None, said
        assert case.held[0] <= int(count[1]) <= case.held[1]
    ended, plan = world.engine.ended, world.engine.plan
    if plan is not None:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", plan.image), "by id: tags move"
        assert (Path(plan.input).parent.parent, plan.model) == (world.folder / "cache" / "staging", None)
    if ended is not None and plan is not None:
        assert ended.seconds < plan.wall_s + KILLED_WITHIN_S
        assert (ended.peak_memory_bytes or 0) <= plan.memory_bytes
        assert len(ended.log.encode()) <= 3 * 64 * 1024  # what is not UTF-8 grows threefold
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < HOST_BYTES

    # what is left
    assert of_this_process(world.engine) == []
    assert world.containers() == []
    if isinstance(end, HarnessError) and end.stage in ("build", "setup") and case.kind != "run":
        assert world.built() == [], "an image that was refused, or layers of a build that failed"
    assert world.engine.find_image(BASE_IMAGE) == world.base
    assert list((world.folder / "tmp").iterdir()) == []
    assert list(world.folder.rglob("*.part")) == []
    assert list((world.folder / "cache").glob("staging/*")) == []
    assert not Path("/tmp/pwned").exists()
    return ended


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name.replace(" ", "-"))
def test_a_hostile_submission(
    case: Case, world: World, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    ended = attempt_and_check(case, world, monkeypatch)
    took = "" if ended is None else f"{ended.seconds:.1f} s, {(ended.peak_memory_bytes or 0) / 1e6:.0f} MB"
    record_property("hostile", [case.name, case.status, *ENDS[case.status], case.bound, took])


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name.replace(" ", "-"))
def test_a_hostile_submission_on_another_engine(case: Case, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt_and_check(case, world, monkeypatch)


def test_names_are_told_apart() -> None:
    assert len({case.name for case in ALL}) == len(ALL)
    assert {case.name for case in ALL} >= TELLING | ALONE


def test_the_documents_table_is_the_suites() -> None:
    text = DOCUMENT.read_text()
    assert documented(text) == text, "python tests/containers/cases.py writes it anew"
