"""Let a case of `tests.containers.cases` happen, and check how it ended, which bound held and what is left."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import HarnessError
from harness.base.slices import read_grey
from harness.engines import BASE_IMAGE, Exit
from harness.run.execute import run_submission
from harness.run.result import Run
from harness.submission.manifest import load_submission
from tests.containers import makers
from tests.containers.cases import ENDS, Case
from tests.containers.world import CANARY, MARK, World, make_submission, of_this_process

HOST_BYTES = 64 * 2**20  # that one case may add to this process, whatever it hands us
KILLED_WITHIN_S = 10  # after the deadline; the kernel's part of it is milliseconds


def submission_of(case: Case, world: World) -> Path:
    """The case's folder; its name, the slug, is a name of its own in the engine."""
    folder = world.folder / f"hostile-{world.mark[:8]}"
    label = f"LABEL {MARK}={world.mark}\n"
    if case.kind == "archive":
        make_submission(folder, "good", image="{archive: image.tar}")
        makers.write_archive(folder / "image.tar", case, world)
        return folder
    if case.kind == "manifest":
        make_submission(folder, "good", manifest=case.manifest, image=case.behaviour or "{build: .}")
        if case.maker:
            getattr(makers, case.maker)(folder, world)
        return folder
    if case.kind == "build":
        assert world.base is not None
        make_submission(folder, "good")
        text = f"{makers.START}{label}{case.dockerfile.replace('BASE12', world.base[7:19])}"
        if "REACHABLE" in text:
            text = text.replace("REACHABLE", world.reachable())
        if "SYNTAX" in text:
            text = "# syntax=example.org/builder\n" + text.replace("SYNTAX", "")
        (folder / "Dockerfile").write_text(text)
        if case.maker:
            getattr(makers, case.maker)(folder, world)
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
        dataset = world.with_further() if case.further else world.dataset
        return run_submission(submission, dataset, case.limits, seed=7, engine=world.engine, build=case.policy)
    except HarnessError as error:
        return error


def smaller_bounds(case: Case, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What spares a case the time, the disk or the GPU that the real bound asks for."""
    if case.name == "preload with gpu":  # the check comes before anything is started, so a GPU in name is enough
        monkeypatch.setattr(world.engine, "machine", msgspec.structs.replace(world.engine.machine, gpus=("GPU-0",)))
    if case.name in ("oversize layer", "layer named often"):
        monkeypatch.setattr("harness.engines._archives.MAX_IMAGE_BYTES", 10**6)
    if case.maker == "with_slow_names":
        monkeypatch.setattr("harness.engines._archives.MATCHED_WITHIN_S", 0.2)
    if case.maker == "with_many_files":
        monkeypatch.setattr("harness.base.files.MAX_FILES", 100)


def attempt_and_check(case: Case, world: World, monkeypatch: pytest.MonkeyPatch) -> Exit | None:
    """Let a case happen and see that it ended as it must and that nothing is left; how its container ended."""
    smaller_bounds(case, world, monkeypatch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    end = attempt(case, world)

    # how it ended
    texts = [(world.folder / "cache" / "logs").rglob("*"), (world.folder / "cache" / "runs").rglob("*")]
    written = b"".join(path.read_bytes() for paths in texts for path in paths if path.is_file())
    if isinstance(end, HarnessError):
        assert (end.exit_code, end.stage, end.party) == (case.status, *ENDS[case.status]), end.message
        assert case.said in end.message, end.message
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
