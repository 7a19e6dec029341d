from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from harness.base.errors import UsageError
from harness.base.structs import read_json, write_json
from harness.records.encoding import encode
from harness.records.schema import make_record
from harness.records.signing import VARIABLE, Signature, public_key, read_signature, read_signers, signing_key
from harness.records.store import read_record, read_records, sign_record, unsigned_records, write_record
from tests.board_records import observed, scored, table

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def pem(key: Ed25519PrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "private" / "key.pem"
    path.parent.mkdir()
    path.write_bytes(pem(KEY))
    path.chmod(0o600)
    return path


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    folder, _ = write_record(tmp_path / "board", scored("tv", 1.0), {"slices.csv.gz": b"rows"}, key=KEY)
    return folder


# -------------------------------------------------------------------------------- keys
def test_without_a_key_nothing_is_signed(tmp_path: Path) -> None:
    assert signing_key({}) is None
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {})
    assert read_signature(folder) is None
    assert [path.name for path in folder.iterdir()] == ["record.json"]


def test_a_key_as_openssl_writes_it_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True)
    path.chmod(0o600)
    key = signing_key({VARIABLE: str(path)})
    assert key is not None
    told = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER"], check=True, capture_output=True
    )
    assert told.stdout.hex().endswith(public_key(key))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.chmod(0o644), "mode 644"),
        (lambda path: path.write_bytes(b"a key"), "expected an unencrypted Ed25519 private key"),
        (lambda path: path.write_bytes(pem(KEY, b"password")), "expected an unencrypted Ed25519 private key"),
        (lambda path: (path.parent / ".git").mkdir(), "lies in the repository"),
        (lambda path: (path.parent.parent / "submission.yaml").touch(), "lies in the submission"),
    ],
)
def test_a_key_that_cannot_sign_is_named(key_file: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(key_file)
    with pytest.raises(UsageError, match=said) as caught:
        signing_key({VARIABLE: str(key_file)})
    assert "key.pem" in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize(("options", "found"), [(["RSA"], "RSA"), (["X25519"], "X25519"), (["ed448"], "Ed448")])
def test_a_key_of_another_kind_is_named(tmp_path: Path, options: list[str], found: str) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", *options, "-out", str(path)], check=True, stderr=subprocess.DEVNULL
    )
    path.chmod(0o600)
    with pytest.raises(UsageError, match=f"private key, found {found}"):
        signing_key({VARIABLE: str(path)})


# -------------------------------------------------------------------------------- records
def test_a_signature_is_over_the_bytes_of_the_record(signed: Path, tmp_path: Path) -> None:
    """Checked by openssl, as anybody can; `pkeyutl` wants the key as a file and the message unhashed."""
    signature = read_json(signed / "signature.json", Signature)
    assert signature.key == public_key(KEY)
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature.signature))
    (tmp_path / "key.pem").write_bytes(pem(KEY))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-inkey", str(tmp_path / "key.pem")]
    command += ["-sigfile", str(tmp_path / "signature"), "-in", str(signed / "record.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_record(signed).result == scored("tv", 1.0).result


def alter_circumstances(folder: Path) -> None:
    """What no digest covers: the record still reads as whole, by its id."""
    path = folder / "record.json"
    path.write_text(path.read_text().replace("2026-01-01", "2025-01-01"))


def alter_signature(folder: Path) -> None:
    signature = read_json(folder / "signature.json", Signature)
    first = "1" if signature.signature[0] == "0" else "0"
    write_json(folder / "signature.json", Signature(key=signature.key, signature=f"{first}{signature.signature[1:]}"))


def claim_another_key(folder: Path) -> None:
    signature = read_json(folder / "signature.json", Signature)
    write_json(folder / "signature.json", Signature(key=public_key(OTHER), signature=signature.signature))


def claim_no_key(folder: Path) -> None:
    signature = read_json(folder / "signature.json", Signature)
    write_json(folder / "signature.json", Signature(key="f" * 64, signature=signature.signature))


def truncate_signature(folder: Path) -> None:
    path = folder / "signature.json"
    path.write_bytes(path.read_bytes()[:90])


@pytest.mark.parametrize(
    "damage", [alter_circumstances, alter_signature, claim_another_key, claim_no_key, truncate_signature]
)
def test_a_wrong_signature_is_refused_by_name(signed: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(signed)
    with pytest.raises(UsageError, match=rf"{signed.name}.signature\.json"):
        list(read_records(tmp_path / "board"))


def test_a_record_digested_anew_does_not_keep_its_signature(signed: Path) -> None:
    """Whoever makes a better result can give it its digests and folder, but not the organiser's signature."""
    better = make_record(scored("tv", 0.5).result, observed())
    folder, _ = write_record(signed.parents[3], better, {})
    (folder / "signature.json").write_bytes((signed / "signature.json").read_bytes())
    with pytest.raises(UsageError, match=better.id):
        read_record(folder)


def test_better_values_of_the_same_outputs_have_its_id_and_not_its_signature(signed: Path) -> None:
    record = read_record(signed)
    better = make_record(msgspec.structs.replace(record.result, metrics=table(0.5)), record.observed)
    assert better.id == record.id
    (signed / "record.json").write_bytes(encode(better))
    with pytest.raises(UsageError, match=r"signature\.json: does not match"):
        read_record(signed)


def test_records_are_signed_later_once(tmp_path: Path) -> None:
    folders = [write_record(tmp_path, scored(slug, 1.0), {})[0] for slug in ("a", "b")]
    before = (folders[0] / "record.json").read_bytes()
    sign_record(folders[0], KEY)
    assert (folders[0] / "record.json").read_bytes() == before
    assert unsigned_records(tmp_path) == [folders[1]]
    signature = (folders[0] / "signature.json").read_bytes()
    sign_record(folders[0], KEY)
    with pytest.raises(UsageError, match="already signed by the key"):
        sign_record(folders[0], OTHER)
    assert (folders[0] / "signature.json").read_bytes() == signature


def test_a_repeated_run_signs_nothing_that_others_wrote(tmp_path: Path) -> None:
    write_record(tmp_path, scored("tv", 1.0), {})
    folder, new = write_record(tmp_path, scored("tv", 1.0, date="2026-01-02T00:00:00Z"), {}, key=KEY)
    assert not new
    assert read_signature(folder) is None


def test_a_damaged_record_is_not_signed(tmp_path: Path) -> None:
    folder, _ = write_record(tmp_path, scored("tv", 1.0), {"slices.csv.gz": b"rows"})
    (folder / "slices.csv.gz").write_bytes(b"better rows")
    with pytest.raises(UsageError, match=r"slices\.csv\.gz"):
        sign_record(folder, KEY)
    assert read_signature(folder) is None


# -------------------------------------------------------------------------------- signers
def test_signers_are_read_and_mistakes_named(tmp_path: Path) -> None:
    assert read_signers(tmp_path) is None
    path = tmp_path / "signers.yaml"
    path.write_text(f"signers:\n  - {{name: The chair, key: {public_key(KEY)}}}\n")
    assert read_signers(tmp_path) == {public_key(KEY): "The chair"}
    for text, said in (
        ("signers: [{name: A, key: abc}]", "key"),
        (f"signers: [{{name: A, key: {'a' * 64}}}, {{name: B, key: {'a' * 64}}}]", "twice"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=said) as caught:
            read_signers(tmp_path)
        assert "signers.yaml" in caught.value.message


def test_records_without_signatures_load_no_cryptography() -> None:
    """Nobody who signs nothing waits for it."""
    code = (
        "import sys; from pathlib import Path; from harness.records.store import read_records\n"
        "assert list(read_records(Path('leaderboard')))\nassert 'cryptography' not in sys.modules"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
