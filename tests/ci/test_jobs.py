"""The jobs of `harness ci` with the real engine: check, run apart and score; and what was tampered with in between.

All that needs the engine is in this file, which one worker runs: submissions of one name share a tag.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from harness.base.digests import digest_json
from harness.base.errors import HarnessError, UsageError
from harness.board.build import check_board
from harness.ci.jobs import submission_of
from harness.ci.pull_request import read_pull_request
from harness.ci.transfer import Images, TransferredRun, read_inputs, read_run
from harness.dataset.load import load_data
from harness.engines import BASE_IMAGE, Engine
from harness.protocol import Protocol, load_protocol
from harness.records.schema import about, submission_facts
from harness.records.store import read_records
from tests.clone import LABEL, SHOUTS, Clone
from tests.command import Done
from tests.containers.world import client_of
from tests.github import bash, script


@pytest.fixture(autouse=True)
def _images_go(engine: Engine) -> Iterator[None]:
    yield
    client = client_of(engine)
    for image in client.images(filters={"label": LABEL}):
        with contextlib.suppress(docker.errors.APIError):  # another worker's container may stand on the same layers
            client.remove_image(image["Id"], force=True)


@pytest.mark.engine
def test_good_and_failing_submissions_get_their_verdicts(
    engine: Engine, clone: Clone, check: Callable[[], Done]
) -> None:
    assert engine.find_image(BASE_IMAGE)
    clone.submission("ci-good")
    clone.submission("ci-shouts", SHOUTS)
    clone.submission("ci-unread").joinpath("submission.yaml").write_text('schema: 1\n"::error::": x\n')
    clone.submission("ci-linked").joinpath("link").symlink_to("/etc/passwd")
    clone.pull_request()
    done = check()
    assert done.returncode == 20, done.stderr  # before 2: WORST_FIRST
    assert "**`ci-good`**: valid\n\n    1 slice in" in done.stdout
    assert "**`ci-shouts`**: failed, exit status 20" in done.stdout
    assert "**`ci-unread`**: failed, exit status 2" in done.stdout
    assert "is a symbolic link" in done.stdout
    assert "error::mine" in done.stdout  # what it said, but no command
    for line in (done.stdout + done.stderr).splitlines():
        assert not line.lstrip().startswith("::")
        assert "##[" not in line
        if "@everyone" in line or "<b>" in line:
            assert line.startswith("    ")
    assert "root:" not in done.stdout


# -------------------------------------------------------------------------------- run apart
def run_and_score_apart(clone: Clone, folder: Path) -> None:
    """Run the scripts of score.yml on two machines: each has a cache of its own, below `folder`."""
    job = partial(
        bash,
        cwd=clone.folder,
        GITHUB_SHA=clone.git("rev-parse", "main"),
        HEAD=clone.git("rev-parse", "theirs"),
        PROTOCOL="tiny",
        RUNNER_TEMP=str(folder),
        GITHUB_RUN_ID="1",
        GITHUB_RUN_ATTEMPT="1",
    )
    assert job(script("score.yml", "Run"), HEAD="theirs").returncode == 2  # a branch moves
    ran = job(script("score.yml", "Run"), INPUTS=str(folder / "inputs"), HARNESS_CACHE=str(folder / "gpu"))
    assert ran.returncode == 0, ran.stderr
    # the machine that runs containers never had a label, a normal-dose slice or the truth
    assert {path.name for path in (folder / "gpu").iterdir()} & {"data", "labels", "features"} == set()
    assert sorted(path.name for path in (folder / "handover-1-1").iterdir()) == ["ci-good", "ci-shouts"]

    key = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, text=True, check=True)
    scored = job(script("score.yml", "Score"), KEY=key.stdout, SECRET="", HARNESS_CACHE=str(folder / "cache"))
    assert scored.returncode == 20, scored.stderr
    assert "[/b]" in scored.stdout
    assert list(folder.glob("private.*")) == []


def check_records(apart: Path, whole: Path) -> None:
    """The leaderboard of runs scored apart is sound, signed, and has the records of the one of `harness run`."""
    assert len(list(apart.rglob("signature.json"))) == 2
    expected = {record.id: record for record in read_records(whole)}
    found = {record.id: record for record in read_records(apart)}
    assert set(found) == set(expected)
    assert len(found) == 2
    for name, record in found.items():
        assert record.result == expected[name].result
        assert not record.result.self_reported
        if record.result.status == "scored":
            assert record.observed.files == expected[name].observed.files
            assert record.observed.times is not None
            assert record.observed.image is not None
            assert record.observed.image.startswith("sha256:")
    check_board(apart)


def reader(clone: Clone, protocol: Protocol) -> Callable[[Path], tuple[TransferredRun, Images]]:
    """`read_run` for what the machine that scores knows itself of ci-good."""
    pull = read_pull_request(clone.folder, base="main", head="theirs")
    with submission_of(clone.folder, pull, "ci-good") as submission:
        facts, words, takes = submission_facts(submission), about(submission), submission.manifest.takes
    return partial(read_run, submission=facts, about=words, takes=takes, dataset=load_data(protocol), protocol=protocol)


class Tampered:
    """The folders of transferred runs and of noisy slices, in the hands of somebody who changes them."""

    def __init__(self, runs: Path, given: Path) -> None:
        self.runs, self.folder, self.moved = runs, runs / "ci-good", runs.parent / "moved"
        self.run_json, self.outputs = self.folder / "run.json", sorted((self.folder / "outputs").iterdir())
        self.noisy = sorted((given / "lq").iterdir())
        self.sound = {path: path.read_bytes() for path in [*runs.rglob("*.*"), *self.noisy] if path.is_file()}

    def restore(self) -> None:
        (self.folder / "extra").unlink(missing_ok=True)
        if (self.folder / "outputs").is_symlink():
            (self.folder / "outputs").unlink()
            self.moved.rename(self.folder / "outputs")
        for path, data in self.sound.items():
            path.unlink(missing_ok=True)
            path.write_bytes(data)

    def alter(self, **changes: Any) -> None:
        """Change fields of run.json and digest it anew, as somebody would who knows how."""
        fields = json.loads(self.run_json.read_text()) | changes | {"digest": ""}
        self.run_json.write_text(json.dumps(fields | {"digest": digest_json(fields)}))

    def swap_outputs(self) -> None:
        self.outputs[0].write_bytes(self.sound[self.outputs[1]])
        self.outputs[1].write_bytes(self.sound[self.outputs[0]])

    def link_output(self) -> None:
        self.outputs[0].unlink()
        self.outputs[0].symlink_to(self.noisy[0])

    def move_and_link(self) -> None:
        (self.folder / "outputs").rename(self.moved)
        (self.folder / "outputs").symlink_to(self.moved)

    def ways(self) -> dict[str, Callable[[], object]]:
        """What can be done to a run, by what the refusal says."""
        alter, run_json = self.alter, self.run_json
        fields = json.loads(run_json.read_text())
        submission, protocol, observed = fields["submission"], fields["protocol"], fields["observed"]
        failure = json.loads((self.runs / "ci-shouts" / "run.json").read_text())["failure"]
        return {
            "run.json: digest: expected": lambda: run_json.write_text(run_json.read_text().replace('"cpu"', '"cuda"')),
            "run.json: submission: expected": lambda: alter(submission=submission | {"family": [], "anchor": True}),
            "run.json: about: expected": lambda: alter(observed=observed | {"about": None}),
            "run.json: protocol: expected": lambda: alter(protocol=protocol | {"version": 2}),
            "run.json: data: expected": lambda: alter(data="0" * 64),
            "run.json: slices: expected": lambda: alter(slices="0" * 64),
            "digest of the outputs: expected": self.swap_outputs,
            "CI commands": lambda: alter(observed=observed | {"log": "::error::x"}),
            "unknown field": lambda: alter(labels="yes"),
            "is not a regular file": self.link_output,
            "missing": self.outputs[0].unlink,
            "found ['outputs']": run_json.unlink,
            "found ['extra', 'outputs', 'run.json']": (self.folder / "extra").touch,
            "files of a failed run": lambda: alter(failure=failure, outputs=None, device=None),
            "expected a folder": self.move_and_link,
            "failure: expected": lambda: alter(failure=failure | {"exit_status": 50}, outputs=None, device=None),
            "numbers below 2^63": lambda: alter(observed=observed | {"peak_memory_bytes": 2**63}),
        }


def score_tampered(ci: Callable[..., Done], tampered: Tampered, board: Path) -> None:
    """What was tampered with gets no record, the others get theirs; a folder that belongs to nobody stops all."""
    scoring = ("ci", "score", str(tampered.runs), "--base", "main", "--head", "theirs", "-p", "tiny")
    tampered.swap_outputs()
    refused = ci(*scoring, "--leaderboard", str(board), "--json")
    assert refused.returncode == 20
    rows = {row["submission"]: row for row in json.loads(refused.stdout)}
    assert (rows["ci-good"]["exit"], rows["ci-good"]["record"]) == (2, "")
    assert "digest of the outputs" in rows["ci-good"]["outcome"]
    assert {record.result.submission.slug for record in read_records(board)} == {"ci-shouts"}
    tampered.restore()
    (tampered.runs / "nobodys").mkdir()
    assert "found ['ci-good', 'ci-shouts', 'nobodys']" in ci(*scoring).stderr


@pytest.mark.engine
def test_what_is_run_apart_gets_the_record_of_harness_run(
    engine: Engine,
    clone: Clone,
    ci: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One test, since its containers take most of the time: run, score, then refuse by name whatever was changed."""
    assert engine.find_image(BASE_IMAGE)
    clone.submission("ci-good")
    clone.submission("ci-shouts", SHOUTS)
    clone.commit()
    board = tmp_path / "whole"
    whole = ci("run", "submissions/ci-good", "submissions/ci-shouts", "-p", "tiny", "--leaderboard", str(board))
    assert whole.returncode == 20, whole.stderr
    assert "[/b]" in whole.stdout  # no markup of the table's
    clone.git("checkout", "--quiet", "main")

    given = tmp_path / "inputs" / "tiny"
    assert ci("ci", "inputs", "-p", "tiny", "-o", str(given)).returncode == 0
    assert {path.name for path in given.iterdir()} == {"inputs.json", "lq"}
    run_and_score_apart(clone, tmp_path)
    check_records(clone.folder / "leaderboard", board)

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    protocol = load_protocol(str(clone.folder / "protocols" / "tiny.yaml"))
    read, tampered = reader(clone, protocol), Tampered(tmp_path / "handover-1-1", given)
    assert read(tampered.folder)[0].outputs in {record.result.outputs for record in read_records(board)}
    for said, tamper in tampered.ways().items():
        tamper()
        with pytest.raises(HarnessError, match=re.escape(said)):
            read(tampered.folder)
        tampered.restore()
    score_tampered(ci, tampered, tmp_path / "refused")
    tampered.noisy[0].write_bytes(tampered.sound[tampered.noisy[1]])
    with pytest.raises(UsageError, match="digest of the slices"):
        read_inputs(given, protocol)
