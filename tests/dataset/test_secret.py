from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import UsageError
from harness.base.structs import read_json, write_json
from harness.dataset.cases import Dataset
from harness.dataset.load import load_data
from harness.dataset.secret import VARIABLE, Secret, disclose, disclosed_file, find_secret, new_secret
from harness.protocol import PhantomData, Protocol, load_protocol
from harness.records.store import keep_protocol
from harness.run.staging import opaque_names

FIXED = Secret(protocol="phantom-mini-3", secret="07" * 32)


def committed_to(secret: Secret) -> Protocol:
    data = PhantomData(patients=2, slices=1, size=64, seed=secret.commitment)
    return msgspec.structs.replace(load_protocol("phantom-mini"), version=3, data=data)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "private" / "secret.json"
    path.parent.mkdir()
    write_json(path, FIXED)
    path.chmod(0o600)
    return path


def test_the_commitment_is_what_the_documents_say() -> None:
    """docs/cheating.md states the formula; it is computed here without the harness."""
    parts = (b"ipv2-harness secret of a protocol, 1", b"phantom-mini-3", bytes([7] * 32))
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert FIXED.commitment == f"sha256:{hashlib.sha256(message).hexdigest()}"
    assert msgspec.structs.replace(FIXED, protocol="phantom-mini-4").commitment != FIXED.commitment
    assert msgspec.structs.replace(FIXED, secret="08" * 32).commitment != FIXED.commitment


def test_seed_and_names_key_say_nothing_of_each_other() -> None:
    assert FIXED.seed != int.from_bytes(FIXED.names_key, "big")
    assert FIXED.seed.bit_length() > 200  # 1 in 2^56 by chance
    assert FIXED.secret not in f"{FIXED.seed:x} {FIXED.names_key.hex()}"


def test_a_new_secret_is_private_never_the_same_and_never_overwritten(tmp_path: Path) -> None:
    protocol = load_protocol("phantom-mini")
    path = tmp_path / "deep" / "secret.json"
    made = new_secret(protocol, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_json(path, Secret) == made
    assert new_secret(protocol, tmp_path / "other.json").secret != made.secret
    with pytest.raises(UsageError, match=r"secret\.json: already exists"):
        new_secret(protocol, path)
    assert read_json(path, Secret) == made


def test_a_secret_never_lies_in_a_repository(tmp_path: Path, secret_file: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(UsageError, match="lies in the repository"):
        new_secret(load_protocol("phantom-mini"), tmp_path / "deep" / "secret.json")
    assert not (tmp_path / "deep").exists()
    with pytest.raises(UsageError, match="lies in the repository"):
        find_secret(committed_to(FIXED), tmp_path, {VARIABLE: str(secret_file)})


def test_protocols_without_a_secret_want_none(tmp_path: Path) -> None:
    for name in ("phantom", "patient-uldct"):
        assert find_secret(load_protocol(name), tmp_path, {VARIABLE: "/no/such/file"}) is None
    with pytest.raises(UsageError, match="has no secret seed"):
        disclose(load_protocol("phantom"), tmp_path, {})


def test_a_missing_secret_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its seed is secret") as caught:
        find_secret(committed_to(FIXED), tmp_path, {})
    assert VARIABLE in caught.value.fix
    assert "--leaderboard" in caught.value.fix
    with pytest.raises(UsageError, match=f"{VARIABLE}=/no/such/file: no such file"):
        find_secret(committed_to(FIXED), tmp_path, {VARIABLE: "/no/such/file"})


def test_a_wrong_secret_is_refused_with_both_digests_and_stays_untold(tmp_path: Path, secret_file: Path) -> None:
    other = msgspec.structs.replace(FIXED, secret="08" * 32)
    with pytest.raises(UsageError) as caught:
        find_secret(committed_to(other), tmp_path, {VARIABLE: str(secret_file)})
    assert FIXED.commitment in caught.value.message
    assert other.commitment in caught.value.message
    assert FIXED.secret not in caught.value.message + caught.value.fix
    newer = msgspec.structs.replace(committed_to(FIXED), version=4)
    with pytest.raises(
        UsageError, match="expected the secret of protocol phantom-mini-4, found that of phantom-mini-3"
    ):
        find_secret(newer, tmp_path, {VARIABLE: str(secret_file)})


@pytest.mark.parametrize("text", ["", "seed", '{"protocol": "phantom-mini-3", "secret": "07"}', '{"seed": 3}'])
def test_what_is_no_secret_is_named(tmp_path: Path, secret_file: Path, text: str) -> None:
    secret_file.write_text(text)
    with pytest.raises(UsageError, match=r"secret\.json: expected a secret as"):
        find_secret(committed_to(FIXED), tmp_path, {VARIABLE: str(secret_file)})


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, secret_file: Path) -> None:
    secret_file.chmod(0o640)
    with pytest.raises(UsageError, match="mode 640") as caught:
        find_secret(committed_to(FIXED), tmp_path, {VARIABLE: str(secret_file)})
    assert "chmod 600" in caught.value.fix


def test_a_disclosed_secret_serves_everybody_and_an_altered_one_nobody(tmp_path: Path, secret_file: Path) -> None:
    protocol = committed_to(FIXED)
    path = disclose(protocol, tmp_path, {VARIABLE: str(secret_file)})
    assert path == disclosed_file(tmp_path, protocol)
    assert find_secret(protocol, tmp_path, {}) == FIXED
    assert disclose(protocol, tmp_path, {}) == path  # once more, from what is there
    write_json(path, msgspec.structs.replace(FIXED, secret="08" * 32))
    with pytest.raises(UsageError, match=r"disclosed\.json: does not match the commitment"):
        find_secret(protocol, tmp_path, {VARIABLE: str(secret_file)})


@pytest.fixture
def load(tmp_path: Path, secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Protocol, str], Dataset]:
    def load(protocol: Protocol, cache: str) -> Dataset:
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / cache))
        return load_data(protocol, leaderboard=tmp_path)

    monkeypatch.setenv(VARIABLE, str(secret_file))
    return load


def test_data_names_and_order_follow_the_secret_alone(
    tmp_path: Path, load: Callable[[Protocol, str], Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = committed_to(FIXED)
    here = load(protocol, "here")
    names = opaque_names(here)
    disclose(protocol, tmp_path, {VARIABLE: str(tmp_path / "private" / "secret.json")})
    monkeypatch.delenv(VARIABLE)
    there = load(protocol, "elsewhere")  # another installation, which reads what was disclosed
    assert there.digest == here.digest
    assert [(name, case.name) for name, case in opaque_names(there).items()] == [
        (name, case.name) for name, case in names.items()
    ]
    public = load(load_public(), "here")
    assert public.digest != here.digest
    assert public.names_key is None


def load_public() -> Protocol:
    data = PhantomData(patients=2, slices=1, size=64)
    return msgspec.structs.replace(load_protocol("phantom-mini"), data=data)


def test_what_is_kept_does_not_hold_the_seed(tmp_path: Path, load: Callable[[Protocol, str], Dataset]) -> None:
    """Neither the leaderboard before disclosure nor the cache; a digest of either is of 256 unknown bits."""
    protocol = committed_to(FIXED)
    load(protocol, "cache")
    keep_protocol(tmp_path / "board", protocol)
    told = {"data": json.loads((tmp_path / "board/records/phantom-mini-3/protocol.json").read_text())["data"]["seed"]}
    assert told == {"data": FIXED.commitment}
    for path in (*(tmp_path / "board").rglob("*"), *(tmp_path / "cache").rglob("*")):
        held = path.read_bytes() if path.is_file() else b""
        for text in (FIXED.secret, str(FIXED.seed), f"{FIXED.seed:x}", FIXED.names_key.hex()):
            assert text.encode() not in held, path
            assert text not in path.name
