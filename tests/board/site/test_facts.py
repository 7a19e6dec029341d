from __future__ import annotations

from pathlib import Path

import msgspec

from harness.base.structs import write_json
from harness.board.site.facts import commands, unrepeatable
from harness.protocol import FolderData, PhantomData
from tests.board_records import PROTOCOL, scored

SECRET = "sha256:" + "0" * 64


def test_a_command_is_shown_only_where_it_works(tmp_path: Path) -> None:
    record = scored("tv", 1.0)
    assert unrepeatable(tmp_path, PROTOCOL, record) == ""
    assert f"harness run submissions/tv -p {PROTOCOL.name}" in commands(PROTOCOL, record)[-1]
    handed_in = msgspec.structs.replace(record, result=msgspec.structs.replace(record.result, self_reported=True))
    assert "handed in" in unrepeatable(tmp_path, PROTOCOL, handed_in)
    patients = msgspec.structs.replace(PROTOCOL, data=FolderData(path="${ULDCT_DATA}"))
    assert "${ULDCT_DATA}" in unrepeatable(tmp_path, patients, record)


def test_a_secret_test_set_is_repeatable_once_it_is_disclosed(tmp_path: Path) -> None:
    assert isinstance(PROTOCOL.data, PhantomData)
    secret = msgspec.structs.replace(PROTOCOL, data=msgspec.structs.replace(PROTOCOL.data, seed=SECRET))
    assert "secret" in unrepeatable(tmp_path, secret, scored("tv", 1.0))
    write_json(tmp_path / "records" / secret.identity / "disclosed.json", {})
    assert unrepeatable(tmp_path, secret, scored("tv", 1.0)) == ""
