"""Secret: a phantom's seed that only the organiser knows until it is disclosed, and the commitment that fixes it.

An organiser draws 32 random bytes. The protocol states their commitment in place of a seed; both the phantom's seed and
the key of the case names that containers see are derived from them. Once they are disclosed beside the records, anybody
can check the commitment and repeat every run, names and order of the cases included. docs/cheating.md says what this
prevents.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness.base.digests import digest_bytes
from harness.base.errors import UsageError
from harness.base.private_files import read_private, refuse_shared_folder
from harness.base.structs import Strict, canonical_json, read_json, write_json
from harness.protocol import PhantomData, Protocol

DISCLOSED = "disclosed.json"  # beside protocol.json: the secret, once everybody may know it
VARIABLE = "HARNESS_SECRET_FILE"

DOMAIN = b"ipv2-harness secret of a protocol, 1"

SECRET_BYTES = 32  # too many to try them all against a published digest of data, labels or outputs


class Secret(Strict, frozen=True, kw_only=True):
    """The content of a secret's file and of `disclosed.json`: the protocol it belongs to, and 32 bytes in hex."""

    schema: Literal[1] = 1
    protocol: str
    secret: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

    @property
    def commitment(self) -> str:
        """`sha256:` and the SHA-256 (hex) of domain, protocol and secret, each after its length (8 bytes, big)."""
        return f"sha256:{digest_bytes(DOMAIN, self.protocol.encode(), bytes.fromhex(self.secret))}"

    @property
    def seed(self) -> int:
        """The phantom's seed: 256 bits, by HMAC-SHA-256."""
        return int.from_bytes(self._derived("seed"), "big")

    @property
    def names_key(self) -> bytes:
        """The key of the case names that containers see."""
        return self._derived("names")

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(bytes.fromhex(self.secret), purpose.encode(), "sha256")


def new_secret(protocol: Protocol, path: Path) -> Secret:
    """Draw a secret for a protocol and write it to `path`, readable by its owner only.

    UsageError if `path` exists or lies in a repository or a submission.
    """
    refuse_shared_folder(path)
    secret = Secret(protocol=protocol.identity, secret=secrets.token_hex(SECRET_BYTES))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path}: already exists, and a secret is never overwritten", fix="name a file that does not exist yet"
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(canonical_json(secret))
    return secret


def find_secret(protocol: Protocol, leaderboard: Path, environment: Mapping[str, str]) -> Secret | None:
    """The secret of a protocol: as disclosed in the leaderboard, else from the file that HARNESS_SECRET_FILE names.

    None for a protocol without a secret. UsageError if it is not available, or does not match the commitment.
    """
    if not isinstance(protocol.data, PhantomData) or isinstance(protocol.data.seed, int):
        return None
    disclosed = disclosed_file(leaderboard, protocol)
    if disclosed.is_file():
        return _checked(read_json(disclosed, Secret), protocol, protocol.data.seed, str(disclosed))
    if not environment.get(VARIABLE):
        raise UsageError(
            f"protocol {protocol.identity}: its seed is secret ({protocol.data.seed}), "
            f"and {disclosed} does not exist: it is not disclosed",
            fix=f"organisers: export {VARIABLE}=/path/to/the/secret; others: wait until it is disclosed, or name the "
            "leaderboard that discloses it with --leaderboard",
        )
    path = Path(environment[VARIABLE]).expanduser()
    try:
        secret = msgspec.json.decode(read_private(path, named_by=VARIABLE), type=Secret)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{VARIABLE}={path}: expected a secret as `harness secret new` writes it: {error}",
            fix=f"correct {VARIABLE}",
        ) from error
    return _checked(secret, protocol, protocol.data.seed, f"{VARIABLE}={path}")


def disclose(protocol: Protocol, leaderboard: Path, environment: Mapping[str, str]) -> Path:
    """Write the secret of a protocol beside its records, once it matches the commitment; returns the file's path.

    UsageError if the protocol has no secret, or as `find_secret`.
    """
    secret = find_secret(protocol, leaderboard, environment)
    if secret is None:
        raise UsageError(f"protocol {protocol.identity}: has no secret seed", fix="name a protocol with a secret seed")
    path = disclosed_file(leaderboard, protocol)
    write_json(path, secret)
    return path


def disclosed_file(leaderboard: Path, protocol: Protocol) -> Path:
    """Where a leaderboard keeps the secret of a protocol once it is disclosed."""
    return leaderboard / "records" / protocol.identity / DISCLOSED


def _checked(secret: Secret, protocol: Protocol, commitment: str, where: str) -> Secret:
    if secret.protocol != protocol.identity:
        raise UsageError(
            f"{where}: expected the secret of protocol {protocol.identity}, found that of {secret.protocol}",
            fix="name the secret of this protocol; each protocol and version has its own",
        )
    if secret.commitment != commitment:
        raise UsageError(
            f"{where}: does not match the commitment of protocol {protocol.identity}: "
            f"expected {commitment}, found {secret.commitment}",
            fix="name the file that `harness secret new` wrote when it printed the protocol's commitment",
        )
    return secret
