"""`harness ci` on temporary git repositories with the real engine: good, failing and cheating pull requests."""

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

from harness.base.digests import digest_folder, digest_json
from harness.base.errors import HarnessError, UsageError
from harness.board.build import check_board
from harness.ci.jobs import submission_of
from harness.ci.pull_request import MAX_FILES, PullRequest, extract, read_pull_request
from harness.ci.transfer import read_inputs, read_run
from harness.ci.verdicts import Verdict, as_markdown
from harness.dataset.load import load_data
from harness.engines import BASE_IMAGE, Engine
from harness.protocol import load_protocol
from harness.records.schema import about, submission_facts
from harness.records.store import read_records
from tests.clone import LABEL, Clone
from tests.command import Done, harness
from tests.containers.world import client_of
from tests.github import bash, script

SHOUTS = 'CMD ["sh", "-c", "echo \':: ::error::mine ##[add-mask]this @everyone <b> [/b]\' >&2; exit 1"]'


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path / "clone")
    made.git("checkout", "--quiet", "-b", "theirs")
    return made


@pytest.fixture
def ci(clone: Clone, tmp_path: Path) -> Callable[..., Done]:
    """`harness ...` in the clone, on its own cache and leaderboard."""
    return partial(harness, cwd=clone.folder, HARNESS_CACHE=str(tmp_path / "cache"), COLUMNS="200")


@pytest.fixture(autouse=True)
def _images_go(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "engine" in request.fixturenames:
        client = client_of(request.getfixturevalue("engine"))
        for image in client.images(filters={"label": LABEL}):
            with contextlib.suppress(docker.errors.APIError):  # another worker's container may stand on the same layers
                client.remove_image(image["Id"], force=True)


CHECK = ("ci", "check", "--base", "main", "--head", "theirs", "-p", "tiny", "--slices", "1")


# -------------------------------------------------------------------------------- what a pull request holds
def test_submissions_are_found_by_what_changed_since_the_branch_left(clone: Clone) -> None:
    clone.submission("newer")
    (clone.folder / "submissions" / "older" / "Dockerfile").unlink()
    (clone.folder / "submissions" / "older" / "submission.yaml").unlink()
    pull = clone.pull_request()
    assert (pull.changed, pull.removed) == (("newer",), ("older",))
    clone.submission("mains-own")  # what main does meanwhile is no part of it
    clone.commit()
    assert read_pull_request(clone.folder, base="main", head="theirs") == pull


def test_a_change_without_submissions_is_not_judged(clone: Clone, ci: Callable[..., Done]) -> None:
    clone.write("harness/judge.py", "judges better\n")
    assert clone.pull_request().changed == ()
    done = ci(*CHECK)
    assert done.returncode == 0, done.stderr
    assert "nothing to run" in done.stdout


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("leaderboard/records/tiny-1/mine/0123456789abcdef/record.json", "leaderboard/records/tiny-1/mine"),
        ("leaderboard/README.md", "leaderboard/README.md"),
        ("Leaderboard/README.md", "Leaderboard/README.md"),
        ("harness/judge.py", "harness/judge.py"),
        ("protocols/tiny.yaml", "protocols/tiny.yaml"),
        (".github/workflows/submission.yml", ".github/workflows/submission.yml"),
        (".gitattributes", ".gitattributes"),
        ("submissions/loose.py", "submissions/loose.py"),
    ],
)
def test_a_submission_comes_alone(clone: Clone, path: str, said: str) -> None:
    clone.submission("newer")
    clone.write(path, "theirs\n")
    with pytest.raises(UsageError, match=said):
        clone.pull_request()


def test_a_refusal_is_a_verdict_too(clone: Clone, ci: Callable[..., Done]) -> None:
    clone.submission("newer")
    clone.write("a\n::error::b", "theirs\n")
    clone.commit()
    done = ci(*CHECK)
    assert done.returncode == 2
    assert done.stdout.startswith("Refused:\n\n    the pull request changes submissions and ")
    assert r"'a\n::error::b'" in done.stdout
    assert not any(line.lstrip().startswith("::") for line in (done.stdout + done.stderr).splitlines())


def test_records_are_refused_without_a_submission_too(clone: Clone) -> None:
    clone.write("leaderboard/README.md", "first\n")
    with pytest.raises(UsageError, match="written by the harness alone"):
        clone.pull_request()


def test_unknown_and_misleading_revisions_are_refused(clone: Clone) -> None:
    for revision in ("no-such-branch", "--all", ""):
        with pytest.raises(UsageError, match="is not a commit"):
            read_pull_request(clone.folder, base="main", head=revision)
    clone.git("checkout", "--quiet", "--orphan", "elsewhere")
    clone.write("other.txt", "another history\n")
    clone.commit()
    with pytest.raises(UsageError, match="no commit in common"):
        read_pull_request(clone.folder, base="main", head="elsewhere")


# -------------------------------------------------------------------------------- its files
def test_files_are_extracted_as_they_were_committed(clone: Clone, tmp_path: Path) -> None:
    folder = clone.submission("newer")
    # each of these would change what a checkout or an archive holds
    clone.write(
        "submissions/newer/.gitattributes", "a.txt export-ignore\nb.txt text eol=crlf\nc.txt ident export-subst\n"
    )
    clone.write("submissions/newer/a.txt", "kept\n")
    clone.write("submissions/newer/b.txt", "one\ntwo\n")
    clone.write("submissions/newer/deep/er/c.txt", "$Id$ $Format:%H$\n")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    digest = digest_folder(folder)
    pull = clone.pull_request()
    made = extract(clone.folder, pull.head, "newer", tmp_path / "into")
    assert {path.name: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    assert digest_folder(made) == digest
    assert not folder.exists()  # nothing was checked out


def test_links_and_submodules_are_refused(clone: Clone, tmp_path: Path) -> None:
    folder = clone.submission("newer")
    (tmp_path / "label.png").write_text("an answer")
    (folder / "label.png").symlink_to(tmp_path / "label.png")
    pull = clone.pull_request()
    with pytest.raises(UsageError, match=r"'submissions/newer/label.png' is a symbolic link"):
        extract(clone.folder, pull.head, "newer", tmp_path / "into")
    assert not (tmp_path / "into").exists()
    clone.git("checkout", "--quiet", "theirs")
    clone.git("rm", "--quiet", "submissions/newer/label.png")
    clone.git("update-index", "--add", "--cacheinfo", f"160000,{pull.head},submissions/newer/sub")
    clone.git("commit", "--quiet", "-m", "a submodule")
    with pytest.raises(UsageError, match="is a submodule"):
        extract(clone.folder, "theirs", "newer", tmp_path / "into")


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "back\\slash", "new\nline"])
def test_names_that_git_itself_would_not_write_are_refused(clone: Clone, tmp_path: Path, name: str) -> None:
    """Trees are made up object by object, as an attacker does who does not use git."""
    blob = clone.git("hash-object", "-w", "protocols/tiny.yaml")
    tree = subprocess.run(
        ["git", "mktree", "-z"],
        cwd=clone.folder,
        input=f"100644 blob {blob}\t{name}\0",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for parent in ("evil", "submissions"):
        made = f"040000 tree {tree}\t{parent}\n"
        tree = subprocess.run(
            ["git", "mktree"], cwd=clone.folder, input=made, capture_output=True, text=True, check=True
        ).stdout.strip()
    commit = clone.git("commit-tree", tree, "-m", "evil")
    with pytest.raises(UsageError, match="this name cannot be used"):
        extract(clone.folder, commit, "evil", tmp_path / "into")
    assert not list(tmp_path.rglob("into/**/*"))


def test_what_is_extracted_is_bounded(clone: Clone, tmp_path: Path) -> None:
    folder = clone.submission("newer")
    for number in range(MAX_FILES):
        (folder / str(number)).touch()
    pull = clone.pull_request()
    with pytest.raises(UsageError, match=f"at most {MAX_FILES}"):
        extract(clone.folder, pull.head, "newer", tmp_path / "into")


# -------------------------------------------------------------------------------- the verdict
def test_a_verdict_quotes_strangers_as_code() -> None:
    pull = PullRequest(base="b" * 40, head="h" * 40, changed=("x",), removed=("y`<b>",))
    text = as_markdown(pull, [Verdict(slug="x", exit_status=20, message="one\n::stop::\n\n# @all ```\n" + "z" * 9000)])
    lines = text.splitlines()
    at = lines.index("    one")
    assert lines[at + 1 : at + 4] == ["    stop::", "    ", "    # @all ```"]
    assert len(text) < 3000
    assert "**`y'<b>`**: removed" in text


@pytest.mark.engine
def test_good_and_failing_submissions_get_their_verdicts(engine: Engine, clone: Clone, ci: Callable[..., Done]) -> None:
    assert engine.find_image(BASE_IMAGE)
    clone.submission("ci-good")
    clone.submission("ci-shouts", SHOUTS)
    clone.submission("ci-unread").joinpath("submission.yaml").write_text('schema: 1\n"::error::": x\n')
    clone.submission("ci-linked").joinpath("link").symlink_to("/etc/passwd")
    clone.pull_request()
    done = ci(*CHECK)
    assert done.returncode == 20, done.stderr  # before 2: WORST_FIRST
    assert "**`ci-good`**: valid\n\n    1 slices in" in done.stdout
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


# -------------------------------------------------------------------------------- handed over
def altered(file: Path, **changes: Any) -> None:
    """Change fields of a run.json and digest it anew, as somebody would who knows how."""
    fields = json.loads(file.read_text()) | changes | {"digest": ""}
    file.write_text(json.dumps(fields | {"digest": digest_json(fields)}))


@pytest.mark.engine
def test_what_is_run_apart_gets_the_record_of_harness_run(
    engine: Engine,
    clone: Clone,
    ci: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert engine.find_image(BASE_IMAGE)
    clone.submission("ci-good")
    clone.submission("ci-shouts", SHOUTS)
    clone.commit()
    board = tmp_path / "whole"
    whole = ci("run", "submissions/ci-good", "submissions/ci-shouts", "-p", "tiny", "--leaderboard", str(board))
    assert whole.returncode == 20, whole.stderr
    assert "[/b]" in whole.stdout  # no markup of the table's
    clone.git("checkout", "--quiet", "main")

    # ---- as the workflow does it: its scripts, on two machines
    given, out, apart = tmp_path / "inputs" / "tiny", tmp_path / "handover-1-1", clone.folder / "leaderboard"
    assert ci("ci", "inputs", "-p", "tiny", "-o", str(given)).returncode == 0
    assert {path.name for path in given.iterdir()} == {"inputs.json", "lq"}
    job = partial(
        bash,
        cwd=clone.folder,
        GITHUB_SHA=clone.git("rev-parse", "main"),
        HEAD=clone.git("rev-parse", "theirs"),
        PROTOCOL="tiny",
        RUNNER_TEMP=str(tmp_path),
        GITHUB_RUN_ID="1",
        GITHUB_RUN_ATTEMPT="1",
    )
    assert job(script("score.yml", "Run"), HEAD="theirs").returncode == 2  # a branch moves
    ran = job(script("score.yml", "Run"), INPUTS=str(tmp_path / "inputs"), HARNESS_CACHE=str(tmp_path / "gpu"))
    assert ran.returncode == 0, ran.stderr
    # the machine that runs containers never had a label, a normal-dose slice or the truth
    assert {path.name for path in (tmp_path / "gpu").iterdir()} & {"data", "labels", "features"} == set()
    assert sorted(path.name for path in out.iterdir()) == ["ci-good", "ci-shouts"]

    key = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, text=True, check=True)
    scored = job(script("score.yml", "Score"), KEY=key.stdout, SECRET="", HARNESS_CACHE=str(tmp_path / "cache"))
    assert scored.returncode == 20, scored.stderr
    assert "[/b]" in scored.stdout
    assert list(tmp_path.glob("private.*")) == []
    assert len(list(apart.rglob("signature.json"))) == 2
    expected = {record.id: record for record in read_records(board)}
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

    # ---- and what was touched on the way is refused by name
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    protocol = load_protocol(str(clone.folder / "protocols" / "tiny.yaml"))
    dataset, pull = load_data(protocol), read_pull_request(clone.folder, base="main", head="theirs")
    with submission_of(clone.folder, pull, "ci-good") as submission:
        facts, words = submission_facts(submission), about(submission)
    read = partial(read_run, submission=facts, about=words, dataset=dataset, protocol=protocol)
    assert read(out / "ci-good")[0].outputs in {record.result.outputs for record in expected.values()}
    noisy = sorted((given / "lq").iterdir())
    sound = {path: path.read_bytes() for path in [*out.rglob("*.*"), *noisy] if path.is_file()}

    def restore() -> None:
        for path, data in sound.items():
            path.unlink(missing_ok=True)
            path.write_bytes(data)

    run_json, outputs = out / "ci-good" / "run.json", sorted((out / "ci-good" / "outputs").iterdir())
    failed_json = out / "ci-shouts" / "run.json"
    fields = json.loads(run_json.read_text())
    failure = json.loads(failed_json.read_text())["failure"]
    observed = fields["observed"]

    def swap_outputs() -> None:
        outputs[0].write_bytes(sound[outputs[1]])
        outputs[1].write_bytes(sound[outputs[0]])

    def move_and_link() -> None:
        (out / "ci-good" / "outputs").rename(tmp_path / "moved")
        (out / "ci-good" / "outputs").symlink_to(tmp_path / "moved")

    def link(path: Path, target: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    tampering: dict[str, Callable[[], object]] = {
        "run.json: digest: expected": lambda: run_json.write_text(run_json.read_text().replace('"cpu"', '"cuda"')),
        "run.json: submission: expected": lambda: altered(
            run_json, submission=fields["submission"] | {"family": [], "anchor": True}
        ),
        "run.json: about: expected": lambda: altered(run_json, observed=observed | {"about": None}),
        "run.json: protocol: expected": lambda: altered(run_json, protocol=fields["protocol"] | {"version": 2}),
        "run.json: data: expected": lambda: altered(run_json, data="0" * 64),
        "run.json: slices: expected": lambda: altered(run_json, slices="0" * 64),
        "digest of the outputs: expected": swap_outputs,
        "CI commands": lambda: altered(run_json, observed=observed | {"log": "::error::x"}),
        "unknown field": lambda: altered(run_json, labels="yes"),
        "is not a regular file": lambda: link(outputs[0], noisy[0]),
        "missing": outputs[0].unlink,
        "found ['outputs']": run_json.unlink,
        "found ['extra', 'outputs', 'run.json']": (out / "ci-good" / "extra").touch,
        "files of a failed run": lambda: altered(run_json, failure=failure, outputs=None, device=None),
        "expected a folder": move_and_link,
    }
    for said, tamper in tampering.items():
        tamper()
        with pytest.raises(HarnessError, match=re.escape(said)):
            read(out / "ci-good")
        (out / "ci-good" / "extra").unlink(missing_ok=True)
        if (out / "ci-good" / "outputs").is_symlink():
            (out / "ci-good" / "outputs").unlink()
            (tmp_path / "moved").rename(out / "ci-good" / "outputs")
        restore()

    swap_outputs()
    scoring = ("ci", "score", str(out), "--base", "main", "--head", "theirs", "-p", "tiny")
    refused = ci(*scoring, "--leaderboard", str(tmp_path / "refused"), "--json")
    assert refused.returncode == 20
    rows = {row["submission"]: row for row in json.loads(refused.stdout)}
    assert (rows["ci-good"]["exit"], rows["ci-good"]["record"]) == (2, "")
    assert "digest of the outputs" in rows["ci-good"]["outcome"]
    assert {record.result.submission.slug for record in read_records(tmp_path / "refused")} == {"ci-shouts"}
    restore()
    (out / "nobodys").mkdir()
    assert "found ['ci-good', 'ci-shouts', 'nobodys']" in ci(*scoring).stderr
    noisy[0].write_bytes(sound[noisy[1]])
    with pytest.raises(UsageError, match="digest of the slices"):
        read_inputs(given, protocol)
