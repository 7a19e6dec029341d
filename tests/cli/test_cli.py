from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from harness.engines import BASE_IMAGE, Engine
from harness.protocol import protocol_path
from harness.records.store import keep_protocol, write_record
from harness.submission.manifest import load_submission
from tests.board_records import PROTOCOL, failed, scored
from tests.command import ROOT, Done, harness, harness_process
from tests.small import BY_TRUTH, small_protocol


def assert_refused(done: Done, *expected: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for text in expected:
        assert text in done.stderr


def test_mistakes_exit_with_2_and_say_what_to_do() -> None:
    mistaken = ("run", "submissions/tv", "-p", "phantm")
    for started in (harness, harness_process):
        assert_refused(started(*mistaken), "phantm", "phantom-mini", "harness list protocols")
    assert_refused(harness("run", "submissions/no-such"), "no-such", "harness new")
    assert_refused(harness("run"), "SUBMISSION")
    assert_refused(harness("labels", "--report", "-p", "no-such.yaml"), "no-such.yaml: no such file", "check the path")
    assert_refused(harness("audit", "no-such"), "no record with the id, slug or folder no-such", "harness list records")
    assert_refused(harness_process("no-such-verb"), "no-such-verb")
    assert_refused(harness("weights", "import", "no-such-file"), "no-such-file")


def test_the_command_in_this_process_is_the_one_that_a_user_starts() -> None:
    for arguments in (("list", "protocols"), ("run", "submissions/no-such"), ("labels", "--help"), ("--version",)):
        here, apart = harness(*arguments), harness_process(*arguments)
        assert (here.returncode, here.stdout, here.stderr) == (apart.returncode, apart.stdout, apart.stderr)


def test_a_misspelt_key_is_named_with_its_file(tmp_path: Path) -> None:
    text = protocol_path("phantom-mini").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("rank_by", "rank_with"))
    assert_refused(harness("run", "submissions/tv", "-p", str(tmp_path / "mine.yaml")), "mine.yaml", "rank_with")
    entry = tmp_path / "mine"
    shutil.copytree(ROOT / "submissions" / "template", entry)
    manifest = entry / "submission.yaml"
    manifest.write_text(manifest.read_text() + "gqu: none\n")
    assert_refused(harness("run", str(entry)), "submission.yaml", "gqu")


@pytest.mark.parametrize(("what", "expected"), [("protocols", "phantom-mini"), ("submissions", "tv")])
def test_list_shows_what_there_is(what: str, expected: str) -> None:
    assert expected in harness("list", what).stdout
    rows = json.loads(harness("list", what, "--json").stdout)
    assert any(expected in row.values() for row in rows)


def test_a_broken_manifest_is_a_row_of_the_list(tmp_path: Path) -> None:
    for slug in ("sound", "broken"):
        shutil.copytree(ROOT / "submissions" / "template", tmp_path / "submissions" / slug)
    (tmp_path / "submissions" / "broken" / "submission.yaml").write_text("gqu: none\n")
    done = harness("list", "submissions", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    broken, sound = json.loads(done.stdout)
    assert (broken["slug"], sound["slug"], sound["error"]) == ("broken", "sound", "")
    assert "gqu" in broken["error"]
    assert "gqu" in harness("list", "submissions", cwd=tmp_path).stdout


def test_board_and_list_work_from_records_alone(tmp_path: Path) -> None:
    keep_protocol(tmp_path / "lb", PROTOCOL)
    for record in (scored("tv", 1.0), failed("broken")):
        write_record(tmp_path / "lb", record, {})
    assert_refused(harness("board", "--check", "--leaderboard", "lb", cwd=tmp_path), "stale")
    assert re.search(r"files \(\d+ pages rendered\)", harness("board", "--leaderboard", "lb", cwd=tmp_path).stdout)
    assert "files (none changed)" in harness("board", "--leaderboard", "lb", cwd=tmp_path).stdout
    assert harness("board", "--check", "--leaderboard", "lb", cwd=tmp_path).returncode == 0
    assert "broken" in harness("list", "records", "--leaderboard", "lb", cwd=tmp_path).stdout


def test_a_record_is_withdrawn_by_its_id_with_a_reason(tmp_path: Path) -> None:
    keep_protocol(tmp_path / "lb", PROTOCOL)
    record = scored("tv", 1.0)
    write_record(tmp_path / "lb", record, {})
    there = ("--leaderboard", "lb")
    assert harness("board", *there, cwd=tmp_path).returncode == 0
    earned = [tmp_path / "lb" / "site" / PROTOCOL.identity / "tv" / name for name in ("badge.svg", "model-card.yaml")]
    assert all(path.is_file() for path in earned)
    assert_refused(harness("withdraw", record.id, *there, cwd=tmp_path), "--reason")
    assert_refused(harness("withdraw", "no-such", "--reason", "x", *there, cwd=tmp_path), "no-such")
    done = harness("withdraw", record.id, "--reason", "trained on the test set", *there, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not any(path.exists() for path in earned)
    for name in ("README.md", "site/index.html", "leaderboard.csv"):
        assert "withdrawn: trained on the test set" in (tmp_path / "lb" / name).read_text(), name
    assert harness("board", "--check", *there, cwd=tmp_path).returncode == 0
    assert "withdrawn" in harness("list", "records", *there, cwd=tmp_path).stdout


def test_weights_say_where_to_get_them(tmp_path: Path) -> None:
    done = harness("weights", "list", "--json", HARNESS_CACHE=str(tmp_path))
    rows = json.loads(done.stdout)
    assert {row["extractor"] for row in rows} == {"inception", "clip", "efficientnet-lite0"}
    (installed,) = (row for row in rows if row["here"] != "no")
    assert installed["extractor"] == "efficientnet-lite0"
    assert Path(installed["here"]).is_file()
    assert "installed with the harness" in installed["source"]
    assert all(row["source"].startswith("https://") for row in rows)


def test_labels_are_exported_once(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(small_protocol("patients: 1, slices: 2, size: 64"))
    arguments = ("labels", "-p", str(tmp_path / "small.yaml"), "-o", str(tmp_path / "out"))
    done = harness(*arguments, HARNESS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"lq", "gt_bar", "manifest.json"}
    assert len(list((tmp_path / "out" / "gt_bar").glob("*.png"))) == 2
    assert_refused(harness(*arguments, HARNESS_CACHE=str(tmp_path / "cache")), "already exists")


def test_a_folder_is_scored_and_its_record_audited(tmp_path: Path) -> None:
    """From `harness labels` to `harness audit`, as one who has outputs and no container."""
    mine = tmp_path / "mine.yaml"
    ssim = "  - {name: SSIM, metric: ssim}\n"  # the one that scikit-image computes, too
    mine.write_text(small_protocol().replace("metrics:\n", f"metrics:\n{ssim}"))
    cache = str(tmp_path / "cache")
    assert harness("labels", "-p", str(mine), "-o", str(tmp_path / "set"), HARNESS_CACHE=cache).returncode == 0
    scoring = ("score", str(tmp_path / "set" / "lq"), "-p", str(mine))
    assert_refused(harness(*scoring, "--record", "anchor-mine", HARNESS_CACHE=cache), "anchor-mine")
    assert_refused(harness(*scoring, "--only", "SIM", HARNESS_CACHE=cache), "no metric SIM", "SSIM")
    assert_refused(harness(*scoring, "--only", "SSIM", "--record", "mine", HARNESS_CACHE=cache), "--only")
    quick = harness(*scoring, "--only", "ssim", "-q", HARNESS_CACHE=cache)
    assert {"SSIM", "RMSE HU"} <= set(re.findall(r"│ (\S+(?: HU)?) ", quick.stdout))
    assert "GMSD" not in quick.stdout
    assert "done in" not in quick.stderr
    assert "2 of 2 outputs unchanged" in quick.stderr
    board = ("--leaderboard", str(tmp_path / "board"))
    done = harness(*scoring, "--record", "mine", *board, "--json", HARNESS_CACHE=cache)
    record = json.loads(done.stdout)
    assert record["result"]["self_reported"]
    assert "self-reported" in (tmp_path / "board" / "README.md").read_text()

    outputs = ("--outputs", str(tmp_path / "set" / "lq"))
    audited = harness("audit", record["id"], *board, *outputs, HARNESS_CACHE=cache)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "scikit-image" in audited.stdout


def test_one_thread_and_two_make_one_record(tmp_path: Path) -> None:
    """The order of a network's sums differs, and with it the last digits of what is computed from its features."""
    import torch

    mine = tmp_path / "mine.yaml"
    kid = "  - {name: KID, metric: kernel, features: inception-random}\n"
    mine.write_text(small_protocol("patients: 2, slices: 1, size: 64").replace("metrics:\n", f"metrics:\n{kid}"))
    cache, board = tmp_path / "cache", tmp_path / "board"
    labels = ("labels", "-p", str(mine), "-o", str(tmp_path / "set"))
    assert harness(*labels, HARNESS_CACHE=str(cache)).returncode == 0
    scoring = ("score", str(tmp_path / "set" / "lq"), "-p", str(mine), "--record", "mine", "--leaderboard", str(board))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            shutil.rmtree(cache / "features", ignore_errors=True)
            done = harness(*scoring, "--json", HARNESS_CACHE=str(cache))
            assert done.returncode == 0, done.stderr
            found.append(json.loads(done.stdout))
            assert f"torch {threads}," in found[-1]["observed"]["machine"]["threads"]
    finally:
        torch.set_num_threads(before)
    (folder,) = board.glob("records/*/mine/*")
    assert [one["id"] for one in found] == [folder.name] * 2


def test_a_report_says_whether_labels_are_any_good(tmp_path: Path) -> None:
    small = small_protocol("patients: 2, slices: 2, size: 128")
    (tmp_path / "small.yaml").write_text(small.replace(BY_TRUTH, "rank_by: {metric: RMSE, region: body}"))
    arguments = ("labels", "-p", str(tmp_path / "small.yaml"), "--report", "--json")
    done = harness(*arguments, HARNESS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [labels["weak"] for labels in report["labels"]] == ["cnn", "nlm", "tv"]
    assert set(report["truth"]) == {"RMSE lung", "RMSE body"}
    for labels in report["labels"]:
        assert -1 <= labels["rankings"]["RMSE body"]["tau"]["value"] <= 1
        assert sorted(labels["rankings"]["RMSE lung"]["ranks"].values()) == list(range(1, len(report["denoisers"]) + 1))


def test_a_full_disk_for_the_cache_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    done = harness("labels", "-p", "phantom-mini", "-o", str(tmp_path / "out"), HARNESS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 50, done.stderr
    assert "this machine, not the submission" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_new_submission_is_the_template_under_its_own_name(tmp_path: Path) -> None:
    done = harness("new", "my-model", "--name", 'A "quoted": name', "--author", "Jane Doe", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"harness check {tmp_path / 'my-model'}" in done.stdout
    made = load_submission(tmp_path / "my-model").manifest
    assert (made.description, made.license) == ("", "")
    assert (made.name, made.authors, made.version) == ('A "quoted": name', ("Jane Doe",), "1.0.0")
    assert {path.name for path in (tmp_path / "my-model").iterdir()} == {
        path.name for path in (ROOT / "submissions" / "template").iterdir() if path.name != "__pycache__"
    }
    (tmp_path / "my-model" / "denoise.py").write_text("mine")
    for slug, said in (
        ("my-model", "already exists"),
        ("My Model", "cannot be a slug"),
        ("anchor-x", "reference rows"),
    ):
        again = harness("new", slug, "--into", str(tmp_path))
        assert again.returncode == 2
        assert said in again.stderr
    assert (tmp_path / "my-model" / "denoise.py").read_text() == "mine"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache that tests of containers share."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A protocol of two slices that is scored by image metrics alone."""
    path = tmp_path / "small.yaml"
    path.write_text(small_protocol())
    return path


@pytest.mark.engine
@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        (
            "",
            0,
            ("valid: 2 slices", "limits: 600 s", "output less input: ", "checks/my-model.png", "next: harness run"),
        ),
        ("np.clip = lambda values, low, high: high - values", 0, ("looks wrong: 2 of 2 outputs inverted",)),
        ("import torch_geometry", 20, ("No module named 'torch_geometry'", "install the package", "Traceback")),
        ("import urllib.request as u; u.urlopen('https://example.org')", 20, ("the sandbox has no network", "logs/my")),
        ("open('/weights.bin', 'w')", 20, ("only /output and /tmp", "Read-only file system: '/weights.bin'")),
        ("import os; os.kill(os.getpid(), 11)", 20, ("exit status 139 (killed by SIGSEGV)",)),
        (
            "np.uint8 = np.uint16; print('saved as 16 bits')",
            30,
            ("2 wrong: ", ".png has 16 bits per channel", "(likewise ", "np.uint8(np.clip", "end of its log", "saved"),
        ),
        ("del manifest['cases'][0]", 30, ("1 missing: ", ".png", "per case")),
    ],
)
def test_a_check_says_in_plain_words_what_is_wrong(
    engine: Engine, cache: str, small: Path, tmp_path: Path, line: str, status: int, said: tuple[str, ...]
) -> None:
    assert engine.find_image(BASE_IMAGE)
    entry = tmp_path / "my-model"
    shutil.copytree(ROOT / "submissions" / "template", entry)
    program = (entry / "denoise.py").read_text()
    (entry / "denoise.py").write_text(program.replace("\nfor case", f"\n{line}\nfor case"))
    done = harness("check", str(entry), "-p", str(small), HARNESS_CACHE=cache)
    assert done.returncode == status, done.stderr
    for text in said:
        assert text in done.stdout + done.stderr


@pytest.mark.engine
def test_a_run_ends_with_where_it_stands_what_it_cost_and_where_its_page_is(
    engine: Engine, cache: str, small: Path, tmp_path: Path
) -> None:
    assert engine.find_image(BASE_IMAGE)
    board = tmp_path / "lb"
    options = ("-p", str(small), "--leaderboard", str(board))
    here = partial(harness, HARNESS_CACHE=cache)
    done = here("run", "tv", *options)  # by its slug
    assert done.returncode == 0, done.stderr
    (page,) = board.glob("site/phantom-mini-5/tv/*.html")
    (record,) = board.glob("records/phantom-mini-5/tv/*")
    panel = done.stdout[done.stdout.index("Total variation on phantom-mini-5 ─") :]
    assert "rank 1 of 1 (tier 1) by RMSE, lung, against the truth" in panel
    for said in ("2 slices in ", "; peak memory ", str(record), str(page)):
        assert said in panel
    assert "input, difference" in done.stdout
    again = here("run", "submissions/tv", "-p", str(small), HARNESS_LEADERBOARD=str(board)).stdout
    assert "(from the cache)" in again
    assert "exists already, same result" in again
    shutil.copytree(ROOT / "submissions" / "template", tmp_path / "broken")
    (tmp_path / "broken" / "denoise.py").write_text("raise SystemExit('no weights today')\n")
    failed = here("run", str(tmp_path / "broken"), *options)
    assert failed.returncode == 20
    (page,) = board.glob("site/phantom-mini-5/broken/*.html")
    assert "failed, not ranked: exit status 20" in failed.stdout
    assert "end of its log" in failed.stderr
    (row,) = json.loads(here("run", "tv", *options, "--json", "-q").stdout)
    assert (row["exit"], row["standing"], row["folder"]) == (0, "rank 1 of 1 (tier 1)", str(record))
    assert str(page) in failed.stdout
    by_label = tmp_path / "by_label.yaml"
    by_label.write_text(small.read_text().replace(BY_TRUTH, "rank_by: {metric: RMSE, region: lung}"))
    options = ("-p", str(by_label), "--leaderboard", str(tmp_path / "other"))
    circular = here("run", "submissions/cnn", *options).stdout
    assert "result not ranked: circular" in " ".join(circular.split())


def test_a_shell_completes_verbs_protocols_and_submissions(tmp_path: Path) -> None:
    def completed(*words: str, cwd: Path = ROOT) -> list[str]:
        """What the shell offers in the place of the last word."""
        asked = {
            "_HARNESS_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("harness", *words)),
            "COMP_CWORD": str(len(words)),
        }
        return harness_process(cwd=cwd, **asked).stdout.split()

    assert completed("aud") == ["plain,audit"]
    assert completed("run", "submissions/t") == [
        "plain,submissions/template",
        "plain,submissions/tv",
        "plain,submissions/tv-hu",
    ]
    assert completed("check", "submissions/tv", "-p", "phantom-") == [
        f"plain,phantom-{name}" for name in ("fov", "fov-train", "hu", "hu-train", "mini", "mini-train", "train")
    ]
    assert completed("run", "-p", "phantom-m", cwd=tmp_path) == [
        "plain,phantom-mini",  # those that come with it
        "plain,phantom-mini-train",
    ]
    assert completed("run", "/tmp/m") == ["file,/tmp/m"]  # the shell goes on with files
    assert completed("run", "-p", "mine", cwd=tmp_path) == ["file,mine"]
    for shell, mark in (("bash", "complete -o nosort"), ("zsh", "#compdef harness"), ("fish", "complete --no-files")):
        assert mark in harness_process(_HARNESS_COMPLETE=f"{shell}_source").stdout


@pytest.mark.engine
def test_the_doctor_says_what_is_there_and_what_to_do(engine: Engine, tmp_path: Path) -> None:
    assert engine.find_image(BASE_IMAGE)
    done = harness("doctor", "--json", HARNESS_CACHE=str(tmp_path / "cache"), ULDCT_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert found["engine"]["state"] == found["base image"]["state"] == found["data: phantom"]["state"] == "ok"
    assert engine.description in found["engine"]["found"]
    assert found["data: patient-uldct"]["found"] == str(tmp_path)
    assert found["weights: efficientnet-lite0"]["state"] == "ok"
    assert found["weights: inception"]["state"] == "limited"
    assert "harness weights" in found["weights: inception"]["fix"]
    assert list((tmp_path / "cache").glob("doctor*")) == []


def test_the_doctor_names_what_stops_the_main_job(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    done = harness("doctor", HARNESS_CACHE=str(tmp_path / "cache"), DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 50, done.stderr
    assert done.stdout.count("missing") == 2
    assert "harness engine start" in done.stdout
    assert "HARNESS_CACHE" in done.stdout


def test_an_organiser_keeps_a_seed_secret_and_signs_what_was_run(tmp_path: Path) -> None:
    """`harness secret new` to `harness board --check --signed`, as the README tells organisers to."""
    text = small_protocol("patients: 2, slices: 1, size: 64")
    mine, secret, key = tmp_path / "mine.yaml", tmp_path / "private" / "secret.json", tmp_path / "private" / "key.pem"
    mine.write_text(text)
    drawn = harness("secret", "new", "-p", str(mine), "-o", str(secret))
    assert drawn.returncode == 0, drawn.stderr
    line = drawn.stdout.strip()
    assert re.fullmatch(r'seed: "sha256:[0-9a-f]{64}"', line)
    mine.write_text(text.replace("seed: 2603", line))
    board = ("--leaderboard", str(tmp_path / "board"))
    scoring = ("anchors", "-p", str(mine), *board)
    anybody = partial(harness, HARNESS_CACHE=str(tmp_path / "cache"))
    assert_refused(anybody(*scoring), "its seed is secret", "HARNESS_SECRET_FILE")
    organiser = partial(anybody, HARNESS_SECRET_FILE=str(secret))
    assert_refused(organiser(*scoring, HARNESS_SIGNING_KEY=str(key)), "HARNESS_SIGNING_KEY", "key.pem: no such file")
    assert not list((tmp_path / "board").rglob("record.json"))
    assert organiser(*scoring).returncode == 0

    disclosed = organiser("secret", "disclose", "-p", str(mine), *board)
    assert disclosed.stdout.strip().endswith("disclosed.json")
    exported = ("labels", "-p", str(mine), *board, "-o", str(tmp_path / "set"))
    assert anybody(*exported).returncode == 0  # for anybody, from now on

    assert_refused(harness("sign", "--all", *board), "HARNESS_SIGNING_KEY is not set")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True)
    key.chmod(0o600)
    signer = partial(harness, HARNESS_SIGNING_KEY=str(key))
    public = signer("sign").stdout.removeprefix("public key:").strip()
    (tmp_path / "board" / "signers.yaml").write_text(f"signers: [{{name: The chair, key: {public}}}]\n")
    signed = signer("sign", "--all", *board)
    assert signed.stdout.count("signed: ") == len(list((tmp_path / "board").rglob("signature.json"))) > 0
    assert signer("sign", "--all", *board).stdout.count("signed: ") == 0
    assert harness("board", "--check", "--signed", *board).returncode == 0
    assert "The chair" in (tmp_path / "board" / "README.md").read_text()
