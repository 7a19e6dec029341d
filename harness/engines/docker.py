"""Docker, through its SDK: images and the start of a run. Only this module and its helpers import the SDK."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import docker.auth
import docker.errors
import docker.types
import docker.utils
import msgspec
import requests

import docker
from harness import process
from harness.engines import BASE_IMAGE
from harness.engines._build import NETWORK, build
from harness.engines._container import DockerContainer, engine_errors
from harness.engines._images import ImageConfig, checked_archive
from harness.engines._owner import OWNER, forget_dead_owners, is_leftover, owner_labels
from harness.errors import BuildError, GpuRequiredError, ImagePolicyError, InfrastructureError
from harness.sandbox import INPUT, MODEL, OUTPUT, BuildPolicy, ContainerPlan, ImageFacts, Machine, sanitise

NAME = "ipv2-harness-"


def connect() -> DockerEngine:
    """Connect to the engine of DOCKER_HOST or of the default socket."""
    try:
        client = docker.APIClient(version="auto", timeout=60, **docker.utils.kwargs_from_env())
        return DockerEngine(client)
    except (docker.errors.DockerException, requests.RequestException) as error:
        where = os.environ.get("DOCKER_HOST") or "the default socket"
        raise InfrastructureError(
            f"no container engine answers at {where}: {error}",
            fix="docker/start-engine starts one (as root on Debian or Ubuntu), or start Docker yourself",
        ) from error


class DockerEngine:
    """`harness.engines.Engine` for Docker 20.10 and later, classic builder."""

    def __init__(self, client: Any) -> None:
        self.client = client
        version = client.version()
        info = client.info()
        local = client.base_url.startswith("http+docker://")  # a Unix socket: the GPUs here are the engine's
        self.machine = Machine(
            cpus=info["NCPU"],
            memory_bytes=info["MemTotal"],
            os=version["Os"],
            architecture=version["Arch"],
            gpus=_gpus() if local else (),
        )
        groups = info.get("CgroupVersion", "1")
        self.description = f"docker {version['Version']}, {info['DefaultRuntime']}, cgroup v{groups}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def sweep(self) -> list[str]:
        removed = []
        with engine_errors("clearing up what dead runs left behind"):
            for container in self.client.containers(all=True, filters={"label": OWNER, "name": f"^/{NAME}"}):
                if is_leftover(container["Labels"]):
                    self._remove_container(container["Id"])
                    removed.append(container["Names"][0].lstrip("/"))
            for volume in self.client.volumes(filters={"label": OWNER})["Volumes"] or ():
                if volume["Name"].startswith(NAME) and is_leftover(volume["Labels"]):
                    self._remove_volume(volume["Name"])
                    removed.append(volume["Name"])
        forget_dead_owners()
        return removed

    # ---------------------------------------------------------------------------- images
    def find_image(self, name: str) -> str | None:
        with engine_errors(f"looking for the image {name}"):
            try:
                return str(self.client.inspect_image(name)["Id"])
            except docker.errors.ImageNotFound:
                return None

    def build(
        self,
        folder: Path,
        *,
        dockerfile: str | None = None,
        tag: str | None = None,
        arguments: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        policy: BuildPolicy | None = None,
    ) -> str:
        return build(
            self.client,
            folder,
            dockerfile=dockerfile,
            tag=tag,
            arguments=arguments or {},
            labels=labels or {},
            policy=policy or BuildPolicy(),
        )

    def load(self, archive: Path, *, tag: str | None = None) -> str:
        with checked_archive(archive, machine=self.machine) as (digest, data), engine_errors(f"loading {archive}"):
            said = ""
            for event in self.client.load_image(data, quiet=True):
                if "error" in event:
                    raise BuildError(f"{archive}: {sanitise(event['error'])}", fix="write it anew with docker save")
                said += event.get("stream", "")
            # the digest of its configuration, or what an engine with another image store calls it
            named = re.search(r"Loaded image(?: ID)?: (sha256:[0-9a-f]{64})", said)
            image = self.find_image(digest) or (self.find_image(named[1]) if named is not None else None)
            if image is None:
                raise BuildError(f"{archive}: the engine loaded no image: {sanitise(said)[-300:]}")
            if tag is not None:
                self.client.tag(image, *tag.rsplit(":", 1))
        return image

    def resolve(self, reference: str, *, policy: BuildPolicy | None = None) -> str:
        image = self.find_image(reference)
        if image is not None:
            return image
        policy = policy or BuildPolicy()
        deadline = time.monotonic() + policy.wall_s
        with engine_errors(f"pulling {reference}"):
            try:
                self._pull(reference, policy, deadline)
            except requests.RequestException:  # the SDK has several for a silence that lasts too long
                if time.monotonic() < deadline:
                    raise
                raise BuildError(
                    f"{reference}: not pulled within {policy.wall_s:g} s", fix="hand it in by archive, or pull it first"
                ) from None
        image = self.find_image(reference)
        if image is None:
            raise BuildError(f"{reference} was pulled but is not there")
        return image

    def _pull(self, reference: str, policy: BuildPolicy, deadline: float) -> None:
        """Pull, bounded in time and in (compressed) bytes; the SDK's own pull waits for ever."""
        repository, _, digest = reference.partition("@")
        header = docker.auth.get_config_header(self.client, docker.auth.resolve_repository_name(repository)[0])
        sizes: dict[str, int] = {}
        with self.client.post(
            f"{self.client.base_url}/v{self.client.api_version}/images/create",
            params={"fromImage": repository, "tag": digest},
            headers={"X-Registry-Auth": header} if header else {},
            stream=True,
            timeout=policy.wall_s,
        ) as answer:
            for line in answer.iter_lines():
                event = json.loads(line)
                message = sanitise(event.get("error") or event.get("message") or "")
                if message and NETWORK.search(message):
                    raise docker.errors.APIError(message)
                if message:
                    raise BuildError(f"{reference} cannot be pulled: {message}")
                sizes[event.get("id", "")] = (event.get("progressDetail") or {}).get("total") or 0
                if sum(sizes.values()) > policy.disk_bytes:
                    raise ImagePolicyError(
                        f"{reference} is larger than the {policy.disk_bytes / 1e9:g} GB that are allowed",
                        fix="leave out what it does not need; weights are better declared in submission.yaml",
                    )
                if time.monotonic() > deadline:
                    raise requests.Timeout

    def inspect(self, image: str) -> ImageFacts:
        with engine_errors(f"inspecting {image}"):
            found = self.client.inspect_image(image)
        config = msgspec.convert(found.get("Config") or {}, ImageConfig)
        return config.facts(
            id=found["Id"], os=found["Os"], architecture=found["Architecture"], size=found.get("Size") or 0
        )

    # ---------------------------------------------------------------------------- runs
    @contextlib.contextmanager
    def start(self, plan: ContainerPlan) -> Iterator[DockerContainer]:
        holder_image = self.find_image(BASE_IMAGE)
        if holder_image is None:
            raise InfrastructureError(f"the image {BASE_IMAGE} is not there", fix="docker/build-base makes it")
        run = NAME + uuid.uuid4().hex[:12]
        holder, main = f"{run}-holder", f"{run}-submission"
        labels = owner_labels(lifetime_s=plan.wall_s + 600)
        try:
            with engine_errors("starting the container"):
                self._start_holder(holder, volume=run, image=holder_image, plan=plan, labels=labels)
                self.client.create_container(**self._create_arguments(plan, name=main, volume=run, labels=labels))
                started = time.monotonic()
                self._start_main(main)
            yield DockerContainer(self.client, main=main, holder=holder, plan=plan, started=started)
        finally:
            # at an error of the engine or an impatient second Ctrl-C the next start's sweep does it
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                self._remove_container(main)
                self._remove_container(holder)
                self._remove_volume(run)

    def _start_holder(self, name: str, *, volume: str, image: str, plan: ContainerPlan, labels: dict[str, str]) -> None:
        """Start a trusted container that keeps /output mounted: a memory volume vanishes with its last container."""
        options = f"size={plan.quota.bytes},nr_inodes={plan.quota.inodes},mode=1777,nosuid,nodev,noexec"
        self.client.create_volume(
            volume, driver="local", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": options}, labels=labels
        )
        self.client.create_container(
            image=image,
            name=name,
            entrypoint=["sleep", "infinity"],
            command=[],
            user=plan.user,
            labels=labels,
            healthcheck={"test": ["NONE"]},
            use_config_proxy=False,
            host_config=self.client.create_host_config(
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                pids_limit=32,
                mem_limit=256 * 2**20,
                mounts=[docker.types.Mount(OUTPUT, volume, type="volume", read_only=True, no_copy=True)],
            ),
        )
        self.client.start(name)

    def _create_arguments(
        self, plan: ContainerPlan, *, name: str, volume: str, labels: dict[str, str]
    ) -> dict[str, Any]:
        mounts = [
            docker.types.Mount(INPUT, plan.input, type="bind", read_only=True),
            docker.types.Mount(OUTPUT, volume, type="volume", no_copy=True),
        ]
        if plan.model is not None:
            mounts.append(docker.types.Mount(MODEL, plan.model, type="bind", read_only=True))
        gpu = [docker.types.DeviceRequest(device_ids=[plan.gpu], capabilities=[["gpu", "compute", "utility"]])]
        limit = docker.types.Ulimit
        return {
            "image": plan.image,
            "name": name,
            "hostname": "submission",
            "user": plan.user,
            "environment": plan.environment,
            "labels": labels,
            "healthcheck": {"test": ["NONE"]},
            "use_config_proxy": False,
            "host_config": self.client.create_host_config(
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                init=True,
                ipc_mode="private",
                pids_limit=plan.pids,
                nano_cpus=round(plan.cpus * 1e9),
                mem_limit=plan.memory_bytes,
                memswap_limit=plan.memory_bytes,
                shm_size=plan.shm_bytes,
                oom_score_adj=500,
                ulimits=[
                    limit(name="nofile", soft=plan.open_files, hard=plan.open_files),
                    limit(name="core", soft=0, hard=0),
                    limit(name="fsize", soft=plan.file_bytes, hard=plan.file_bytes),
                    limit(name="cpu", soft=plan.cpu_s, hard=plan.cpu_s),
                ],
                tmpfs=plan.tmpfs,
                mounts=mounts,
                log_config=docker.types.LogConfig(
                    type="json-file", config={"max-size": str(plan.log_bytes), "max-file": "1"}
                ),
                device_requests=gpu if plan.gpu is not None else None,
                runtime=plan.runtime,
            ),
        }

    def _start_main(self, name: str) -> None:
        try:
            self.client.start(name)
        except docker.errors.APIError as error:
            message = sanitise(str(error.explanation))
            if "could not select device driver" in message:
                raise GpuRequiredError(
                    "this machine has a GPU, but the engine cannot hand it to a container",
                    fix="install nvidia-container-toolkit and restart the engine",
                ) from error
            if "not a directory" in message:  # a file of the image stands where a folder is mounted
                raise ImagePolicyError(
                    f"the image cannot be started: {message[-300:]}",
                    fix=f"remove the files {INPUT}, {OUTPUT}, {MODEL} from the image; folders are mounted there",
                ) from error
            raise

    def _remove_container(self, name: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self.client.remove_container(name, force=True, v=True)

    def _remove_volume(self, name: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self.client.remove_volume(name, force=True)


# -------------------------------------------------------------------------------- helpers
@functools.cache
def _gpus() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    listing = process.run(["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"])
    return tuple(listing.stdout.split()) if listing.returncode == 0 else ()
