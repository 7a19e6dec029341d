from __future__ import annotations

from pathlib import Path

import pytest

from harness.base.errors import UsageError
from harness.submission.manifest import load_submission

GOOD = """\
schema: 1
name: Mine
version: "1.0.0"
authors: [A. Uthor]
image: {build: .}
"""
SHIPPED = sorted(path.parent for path in (Path(__file__).resolve().parents[2] / "submissions").glob("*/*.yaml"))


def write(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "submission.yaml").write_text(text)
    return folder


def test_a_good_one_is_read(tmp_path: Path) -> None:
    submission = load_submission(write(tmp_path / "my-model_2", GOOD))
    assert submission.slug == "my-model_2"
    assert submission.manifest.gpu == "none"
    assert not submission.manifest.anchor


def test_its_digest_follows_its_content(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", GOOD)
    before = load_submission(folder).digest
    (folder / "denoise.py").write_text("pass\n")
    assert load_submission(folder).digest != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("authors", "author"), "author"),
        (GOOD + "gpus: none\n", "unknown field `gpus`"),
        (GOOD + "gpu: maybe\n", "gpu: Invalid enum value 'maybe' (known: none, optional, required)"),
        (GOOD.replace('"1.0.0"', "1.0"), "version: Expected `str`, got `float`, 1.0"),
        (GOOD.replace("{build: .}", "{bild: .}"), "image: Object contains unknown field `bild` (known: build, archive"),
        (GOOD.replace("[A. Uthor]", "[]"), "authors"),
        (GOOD.replace("schema: 1", "schema: 2"), "schema"),
        (GOOD.replace("[A. Uthor]", '["\\u200b "]'), r"authors: nothing of '\u200b ' can be seen"),
        (GOOD + "name: Twice\n", "appears twice"),
        (GOOD.replace("{build: .}", "{build: ., archive: x.tar}"), "exactly one of build, archive, ref"),
        (GOOD.replace("{build: .}", "{}"), "exactly one of build, archive, ref"),
        (GOOD.replace("{build: .}", '{ref: "name:latest"}'), "image.ref must be"),
        (GOOD.replace("{build: .}", "{build: ..}"), "outside the submission's folder"),
        (GOOD.replace("{build: .}", "{archive: ../../x.tar}"), "outside the submission's folder"),
        (GOOD.replace("{build: .}", "{archive: x.tar}"), "does not exist"),
        (GOOD + "family: &a [nlm]\n", "anchors and aliases"),
        (GOOD + "description: !!python/object/apply:os.getcwd []\n", "not plain YAML"),
        (GOOD + "limits: {memory_gb: -1}\n", "memory_gb must be at least 0.01"),
        (GOOD + "weights: [{url: 'https://a/b', sha256: 'abc'}]\n", "sha256"),
        ("- a list\n", "Expected `object`"),
        ("name: [\n", "not plain YAML"),
        ("a: &b c\n", "\n  in line 1, column 4"),
        (GOOD + "description: " + "x" * 70_000, "at most 65536"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    folder = write(tmp_path / "a", text)
    with pytest.raises(UsageError) as caught:
        load_submission(folder)
    assert said in caught.value.message
    assert str(folder / "submission.yaml") in caught.value.message


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        (GOOD.replace('"1.0.0"', "1.0"), 'version: "1.0"'),
        (GOOD.replace("{build: .}", "pytorch:latest"), '{ref: "name@sha256:<64 hex digits>"}'),
        (GOOD.replace("[A. Uthor]", "A. Uthor"), "authors: [A. Uthor]"),
    ],
)
def test_what_people_tend_to_write_is_answered_with_what_to_write(tmp_path: Path, text: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_submission(write(tmp_path / "a", text))
    assert fix in caught.value.fix


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.tar").write_bytes(b"x")
    folder = write(tmp_path / "a", GOOD.replace("{build: .}", "{archive: x.tar}"))
    (folder / "x.tar").symlink_to(tmp_path / "secret.tar")
    with pytest.raises(UsageError, match="outside"):
        load_submission(folder)


@pytest.mark.parametrize("name", ["Upper", "a b", "a.b", "-a", "x" * 65, "ä"])
def test_a_folder_that_is_no_slug_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="slug"):
        load_submission(write(tmp_path / name, GOOD))


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no submission\.yaml"):
        load_submission(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        load_submission(tmp_path / "nothing")


def test_the_shipped_ones_are_good() -> None:
    found = {load_submission(folder).slug: load_submission(folder).manifest for folder in SHIPPED}
    assert found.keys() >= {"identity", "median", "tv", "nlm", "template"}
    assert found["identity"].anchor
    assert found["nlm"].family == ("nlm",)
