"""Signing: an Ed25519 signature over the bytes of `record.json`, which holds the digests of the record's files.

A digest reveals damage, but whoever alters a record can compute a new one. Only the organiser can make a signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.base.errors import UsageError
from harness.base.files import read_regular
from harness.base.private_files import read_private
from harness.base.structs import Strict, read_json, read_yaml, write_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


VARIABLE = "HARNESS_SIGNING_KEY"

SIGNATURE = "signature.json"

SIGNERS = "signers.yaml"

PublicKey = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Signature(Strict, frozen=True, kw_only=True):
    """`signature.json` beside `record.json`: the public key (32 bytes, hex) and its signature (64 bytes, hex)."""

    algorithm: Literal["ed25519"] = "ed25519"
    key: PublicKey
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z")]


class Signer(Strict, frozen=True, kw_only=True):
    """Somebody whose signature counts, by name and public key (hex)."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    key: PublicKey


class Signers(Strict, frozen=True, kw_only=True):
    """`signers.yaml` of a leaderboard."""

    signers: tuple[Signer, ...]

    def __post_init__(self) -> None:
        keys = [signer.key for signer in self.signers]
        if len(set(keys)) != len(keys):
            raise ValueError("a key is listed twice among the signers")


def signing_key(environment: Mapping[str, str]) -> Ed25519PrivateKey | None:
    """The organiser's key that `$HARNESS_SIGNING_KEY` names; None where it is not set.

    UsageError where the file is missing, is no unencrypted Ed25519 key in PEM (PKCS 8), lies in a repository or
    a submission, or others may use it.
    """
    if not environment.get(VARIABLE):
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = Path(environment[VARIABLE]).expanduser()
    made_by = "make one with: (umask 077; openssl genpkey -algorithm ed25519 -out key.pem)"
    try:
        key = load_pem_private_key(read_private(path, named_by=VARIABLE), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{VARIABLE}={path}: expected an unencrypted Ed25519 private key in PEM, found none", fix=made_by
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        found = type(key).__name__.removeprefix("_").removesuffix("PrivateKey")
        raise UsageError(f"{VARIABLE}={path}: expected an Ed25519 private key, found {found}", fix=made_by)
    return key


def public_key(key: Ed25519PrivateKey) -> str:
    """The public key (hex) of a private one, as `signers.yaml` takes it."""
    return key.public_key().public_bytes_raw().hex()


def write_signature(folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign the `record.json` in a folder and write `signature.json` beside it."""
    signature = key.sign((folder / "record.json").read_bytes()).hex()
    write_json(folder / SIGNATURE, Signature(key=public_key(key), signature=signature))


def read_signature(folder: Path) -> Signature | None:
    """The signature of the record in a folder, verified against its own key; None where there is none.

    UsageError where the file is damaged or the signature does not match the bytes of `record.json`.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        return None
    signature = read_json(path, Signature)

    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        key.verify(bytes.fromhex(signature.signature), read_regular(folder / "record.json"))
    except (InvalidSignature, ValueError) as error:
        raise UsageError(
            f"{path}: does not match {folder / 'record.json'} under the key {signature.key}: "
            "the record, the signature or the key is damaged or altered",
            fix="restore both from version control, or remove the record's folder",
        ) from error
    return signature


def read_signers(leaderboard: Path) -> dict[str, str] | None:
    """Whose signatures count in a leaderboard: public key -> name; None where it has no `signers.yaml`."""
    path = leaderboard / SIGNERS
    if not path.is_file():
        return None
    return {signer.key: signer.name for signer in read_yaml(path, Signers).signers}
