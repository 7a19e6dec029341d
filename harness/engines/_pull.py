"""A pull within bounds of time and bytes: the SDK's own waits for ever."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import docker.auth
import docker.errors
import requests

import docker
from harness.base.errors import BuildError, ImagePolicyError
from harness.base.text import sanitise
from harness.sandbox import BuildPolicy

# The words of Docker and Podman for a registry that they cannot reach. What a registry answers never begins so.
UNREACHABLE = re.compile(
    r"((Error response from daemon|failed to do request|"
    r"(initializing source|pinging container registry|failed to resolve reference) \S+): )*"
    r"(Get|Head) \"?https?://[^\s\"]+\"?: .*"
    r"(lookup |dial tcp|i/o timeout|TLS handshake|Client\.Timeout|connection (refused|reset))"
)

# All that is told of a registry's answer: the engine quotes what it sends, and a reference, or a registry, may name an
# address of this machine's own network.
TOLD = re.compile(
    r"manifest unknown|name unknown|manifest invalid|no matching manifest|not found"
    r"|denied|unauthorized|authentication required|toomanyrequests|HTTP status: [0-9]{3}\b|certificate|EOF"
)


def pull(client: Any, reference: str, policy: BuildPolicy) -> None:
    """Pull `reference` within the policy's time and (compressed) bytes.

    BuildError, ImagePolicyError; docker.errors.APIError or requests.RequestException where the registry or the engine
    cannot be reached.
    """
    deadline = time.monotonic() + policy.wall_s
    try:
        _pull(client, reference, policy, deadline)
    except requests.RequestException:  # the SDK has several timeouts
        if time.monotonic() < deadline:
            raise
        raise BuildError(
            f"{reference}: not pulled within {policy.wall_s:g} s", fix="submit an archive, or pull it first"
        ) from None


def _pull(client: Any, reference: str, policy: BuildPolicy, deadline: float) -> None:
    repository, _, digest = reference.partition("@")
    registry, _ = docker.auth.resolve_repository_name(repository)
    header = docker.auth.get_config_header(client, registry)
    sizes: dict[str, int] = {}
    with client.post(
        f"{client.base_url}/v{client.api_version}/images/create",
        params={"fromImage": repository, "tag": digest},
        headers={"X-Registry-Auth": header} if header else {},
        stream=True,
        timeout=policy.wall_s,
    ) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            message = sanitise(event.get("error") or event.get("message") or "")
            if UNREACHABLE.match(message) or (registry == docker.auth.INDEX_NAME and "toomanyrequests" in message):
                raise docker.errors.APIError(message)
            if message:
                told = TOLD.search(message)
                raise BuildError(
                    f"{reference}: cannot be pulled: {told[0] if told else 'its registry does not serve it'}",
                    fix=f"check name and digest: docker pull {reference} says more",
                )
            sizes[event.get("id", "")] = (event.get("progressDetail") or {}).get("total") or 0
            if sum(sizes.values()) > policy.disk_bytes:
                raise ImagePolicyError(
                    f"{reference}: is larger than the {policy.disk_bytes / 1e9:g} GB that are allowed",
                    fix="leave out what it does not need, and declare weights in submission.yaml",
                )
            if time.monotonic() > deadline:
                raise requests.Timeout
