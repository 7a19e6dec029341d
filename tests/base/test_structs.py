"""What a stranger writes as YAML or JSON is read, or refused by the file's name; it never raises anything else."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.base.errors import UsageError
from harness.base.files import read_regular
from harness.base.structs import Strict, read_json, read_yaml


class Thing(Strict, frozen=True, kw_only=True):
    name: str
    count: float = 1


def test_another_encoding_is_said(tmp_path: Path) -> None:
    path = tmp_path / "thing.yaml"
    path.write_bytes("name: Pérez".encode("latin-1"))
    with pytest.raises(UsageError, match="not plain YAML") as caught:
        read_yaml(path, Thing)
    assert caught.value.fix == "save the file as UTF-8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("count: " + "1" * 5000, "is no number"),
        ("count: 0b_", "is no number"),
        ("count: 0x" + "f" * 6000, "is no number"),
        ("count: " + "59:" * 3000 + "1", "is no number"),
        ("count: " + "1:" * 300 + "1.5", "is no number"),
        ("name: !!int x", "the tag 'tag:yaml.org,2002:int' is not allowed"),
        ("name: !!timestamp x", "is not allowed"),
        (r'name: "\ud800"', r"the character '\ud800' is not allowed"),
        (r'name: "a\0b"', r"the character '\x00' is not allowed"),
        (r'name: "\e[2J"', r"the character '\x1b' is not allowed"),
        (r'"x\n::stop-commands::t": 1', r"key 'x\n::stop-commands::t' cannot be shown"),
        (r'"x\u202ey": 1', r"key 'x\u202ey' cannot be shown"),
    ],
)
def test_text_is_checked_at_the_door(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "thing.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_yaml(path, Thing)
    assert said in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize("date", ["2024-13-45", "2024-01-02", "2024-01-02 03:04:05"])
def test_a_date_is_text(tmp_path: Path, date: str) -> None:
    (tmp_path / "thing.yaml").write_text(f"name: {date}\n")
    assert read_yaml(tmp_path / "thing.yaml", Thing).name == date


def test_a_character_in_two_escapes_is_one(tmp_path: Path) -> None:
    (tmp_path / "thing.yaml").write_text(r'name: "\ud83d\ude00"')
    assert read_yaml(tmp_path / "thing.yaml", Thing).name == "\U0001f600"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=40) | st.text(st.sampled_from("name:cout![]{}\"'\\&*|>-?%@ \n\t0b_1.e+x\ud800"), max_size=30))
@example("count: 190:20:30.15")
@example("name: !!bool maybe")
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    for read in (read_yaml, read_json):
        with contextlib.suppress(UsageError):
            read(path, Thing)


def test_only_a_regular_file_of_a_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("fifo", "link", "."):
        for read in (read_yaml, read_json):
            with pytest.raises(UsageError, match="is not a regular file"):
                read(tmp_path / name, Thing)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(3 << 30)
    for read in (read_yaml, read_json):
        with pytest.raises(UsageError, match="has 3221225472 bytes, at most"):
            read(tmp_path / "sparse", Thing)
    (tmp_path / "some").write_bytes(b"12345")
    assert read_regular(tmp_path / "some", at_most=5) == b"12345"
    with pytest.raises(UsageError, match="at most 4"):
        read_regular(tmp_path / "some", at_most=4)
