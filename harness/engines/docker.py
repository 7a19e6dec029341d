"""Docker, through its SDK: images, and the start of a run. Only this module and its helpers import the SDK."""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import docker.errors
import docker.types
import docker.utils
import msgspec
import requests

import docker
from harness.base.errors import BuildError, GpuRequiredError, ImagePolicyError, InfrastructureError
from harness.base.text import sanitise
from harness.engines import BASE_IMAGE
from harness.engines._archives import ImageConfig
from harness.engines._build import Watch, build
from harness.engines._classic import classic_build
from harness.engines._container import DockerContainer, engine_errors
from harness.engines._gpu import QUERY_IDS, GpuMemory, check_seen, gpus
from harness.engines._load import find_image, load
from harness.engines._owner import OWNER, forget_dead_owners, is_leftover, owner_labels
from harness.engines._pull import pull
from harness.engines._seccomp import seccomp_profile
from harness.sandbox import (
    INPUT,
    MODEL,
    OUTPUT,
    TMP,
    BuildPolicy,
    ContainerPlan,
    ImageFacts,
    Machine,
    Quota,
    chosen_runtime,
)

NAME = "ipv2-harness-"


def open_client() -> Any:
    """A connection to the engine of DOCKER_HOST or of the default socket."""
    return docker.APIClient(version="auto", timeout=60, **docker.utils.kwargs_from_env())


def connect() -> DockerEngine:
    """Connect to the engine of DOCKER_HOST or of the default socket."""
    try:
        return DockerEngine(open_client())
    except (docker.errors.DockerException, requests.RequestException) as error:
        where = os.environ.get("DOCKER_HOST") or "the default socket"
        raise InfrastructureError(
            f"no container engine answers at {where}: {error}",
            fix="harness engine start (as root on Debian or Ubuntu), or start Docker yourself",
        ) from error


class DockerEngine:
    """`harness.engines.Engine` for Docker 20.10 and later, classic builder."""

    name = "docker"
    builds = True
    container = DockerContainer

    def __init__(self, client: Any, *, reopen: Callable[[], Any] = open_client) -> None:
        self.client = client
        self.reopen = reopen
        self.seccomp = json.dumps(seccomp_profile())
        version = client.version()
        info = client.info()
        local = client.base_url.startswith("http+docker://")  # a Unix socket: this machine's GPUs are the engine's
        self.machine = Machine(
            cpus=info["NCPU"],
            memory_bytes=info["MemTotal"],
            os=version["Os"],
            architecture=version["Arch"],
            gpus=gpus() if local else (),
        )
        asked = chosen_runtime(os.environ)
        self.runtime = None if asked == info["DefaultRuntime"] else asked
        if self.runtime is not None:
            self._check_runtime(self.runtime, info)
        groups = info.get("CgroupVersion", "1")
        self.description = f"{self.name} {version['Version']}, {asked or info['DefaultRuntime']}, cgroup v{groups}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def _check_runtime(self, runtime: str, info: dict[str, Any]) -> None:
        if runtime not in info["Runtimes"]:
            raise InfrastructureError(
                f"HARNESS_RUNTIME: {self.name} has no runtime {runtime!r}, only {', '.join(sorted(info['Runtimes']))}",
                fix="unset it, or register the runtime with the engine (docs/engines.md)",
            )

    def sweep(self) -> list[str]:
        removed = []
        with engine_errors("removing what dead runs left behind"):
            for container in self.client.containers(all=True, filters={"label": OWNER}):
                name = container["Names"][0].lstrip("/")
                if name.startswith(NAME) and is_leftover(container["Labels"]):
                    self._remove_container(container["Id"])
                    removed.append(name)
            for volume in self.client.volumes(filters={"label": OWNER})["Volumes"] or ():
                if volume["Name"].startswith(NAME) and is_leftover(volume["Labels"]):
                    self._remove_volume(volume["Name"])
                    removed.append(volume["Name"])
        forget_dead_owners()
        return removed

    # ---------------------------------------------------------------------------- images
    def find_image(self, name: str) -> str | None:
        with engine_errors(f"looking for the image {name}"):
            return find_image(self.client, name)

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
        policy = policy or BuildPolicy()
        watch, begin = self._builder(policy, arguments=dict(arguments or {}), labels=dict(labels or {}))
        return build(self.client, folder, dockerfile=dockerfile, tag=tag, policy=policy, watch=watch, begin=begin)

    def _builder(
        self, policy: BuildPolicy, *, arguments: dict[str, str], labels: dict[str, str]
    ) -> tuple[Watch, Callable[[IO[bytes]], Generator[dict[str, Any]]]]:
        return classic_build(self.client, policy, arguments=arguments, labels=labels, reopen=self.reopen)

    def load(self, archive: Path, *, tag: str | None = None) -> str:
        with engine_errors(f"loading {archive}"):
            image = load(self.client, archive, self.machine)
            if tag is not None:
                self.client.tag(image, *tag.rsplit(":", 1))
        return image

    def resolve(self, reference: str, *, policy: BuildPolicy | None = None) -> str:
        image = self.find_image(reference)
        if image is not None:
            return image
        with engine_errors(f"pulling {reference}"):
            pull(self.client, reference, policy or BuildPolicy())
        image = self.find_image(reference)
        if image is None:
            raise BuildError(f"{reference}: was pulled, but the engine does not have it", fix="check name and digest")
        return image

    def inspect(self, image: str) -> ImageFacts:
        with engine_errors(f"inspecting {image}"):
            found = self.client.inspect_image(image)
        try:
            config = msgspec.convert(found.get("Config") or {}, ImageConfig)
        except msgspec.ValidationError as error:
            raise ImagePolicyError(f"the image's configuration: {error}", fix="build it anew") from error
        return config.facts(
            id=found["Id"], os=found["Os"], architecture=found["Architecture"], size=found.get("Size") or 0
        )

    def untag(self, name: str) -> None:
        # it may not exist, and another run may be using it
        with engine_errors(f"removing {name}"), contextlib.suppress(docker.errors.APIError):
            self.client.remove_image(name)

    def labels_of(self, image: str) -> dict[str, str]:
        """The labels of a local image."""
        with engine_errors(f"inspecting {image}"):
            return dict(self.client.inspect_image(image)["Config"].get("Labels") or {})

    def prune_images(self, *, label: str) -> None:
        """Remove untagged images that bear a label."""
        with engine_errors("removing untagged images"):
            self.client.prune_images(filters={"dangling": True, "label": label})

    # ---------------------------------------------------------------------------- runs
    @contextlib.contextmanager
    def start(self, plan: ContainerPlan) -> Iterator[DockerContainer]:
        holder_image = self.find_image(BASE_IMAGE)
        if holder_image is None:
            raise InfrastructureError(
                f"the engine has no image {BASE_IMAGE}", fix="harness engine build-base builds it"
            )
        run = NAME + uuid.uuid4().hex[:12]
        holder, main = f"{run}-holder", f"{run}-submission"
        labels = owner_labels(lifetime_s=plan.wall_s + 600)
        try:
            with engine_errors("starting the container"):
                if plan.gpu is not None:
                    self._check_gpu(plan, plan.gpu, name=f"{run}-gpu", image=holder_image, labels=labels)
                self._start_holder(holder, volume=run, image=holder_image, plan=plan, labels=labels)
                arguments = self._create_arguments(plan, name=main, volume=run, labels=labels)
                gpu_memory = GpuMemory(plan.gpu)
                try:
                    self.client.create_container(**arguments)
                    started = time.monotonic()
                    self.client.start(main)
                except docker.errors.APIError as refusal:
                    self._remove_container(main)
                    self._start_control(plan, name=main, volume=run, image=holder_image, labels=labels)
                    raise ImagePolicyError(
                        f"the image cannot be started: {sanitise(str(refusal.explanation))[-300:]}",
                        fix="correct what the engine names: WORKDIR, ENV and VOLUME lines, and what the image has at "
                        f"{INPUT}, {OUTPUT}, {MODEL} and {TMP}, where folders are mounted",
                    ) from refusal
            yield self.container(
                self.client,
                main=main,
                holder=holder,
                plan=plan,
                started=started,
                reopen=self.reopen,
                gpu_memory=gpu_memory,
            )
        finally:
            # after an engine error or a second Ctrl-C the next sweep does it
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                self._remove_container(main)
                self._remove_container(holder)
                self._remove_volume(run)

    def _start_control(
        self, plan: ContainerPlan, *, name: str, volume: str, image: str, labels: dict[str, str]
    ) -> None:
        """Start a trusted container as the one that the engine has just refused: what it does not refuse, too, is the
        image's fault and not the engine's."""
        own = msgspec.structs.replace(plan, image=image, tmpfs={TMP: plan.tmpfs[TMP]})
        arguments = self._create_arguments(own, name=name, volume=volume, labels=labels)
        self.client.create_container(**arguments, entrypoint=["true"], command=[])
        self.client.start(name)

    def _start_holder(self, name: str, *, volume: str, image: str, plan: ContainerPlan, labels: dict[str, str]) -> None:
        """Start a trusted container that keeps /output mounted: a memory volume is lost with its last container."""
        options = f"{self._volume_size(plan.quota)},nr_inodes={plan.quota.inodes},mode=1777,nosuid,nodev,noexec"
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
                security_opt=self._security(),
                pids_limit=32,
                mem_limit=256 * 2**20,
                ulimits=self._ulimits(nofile=256),
                mounts=[docker.types.Mount(OUTPUT, volume, type="volume", read_only=True, no_copy=True)],
            ),
        )
        self.client.start(name)

    def _check_gpu(self, plan: ContainerPlan, gpu: str, *, name: str, image: str, labels: dict[str, str]) -> None:
        """Check from inside a trusted container, under the submission's runtime, that the device request is met."""
        self.client.create_container(
            image=image,
            name=name,
            entrypoint=list(QUERY_IDS),
            command=[],
            user=plan.user,
            labels=labels,
            environment={"NVIDIA_VISIBLE_DEVICES": gpu},
            healthcheck={"test": ["NONE"]},
            use_config_proxy=False,
            host_config=self.client.create_host_config(
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                security_opt=self._security(),
                pids_limit=32,
                ulimits=self._ulimits(nofile=256),
                device_requests=_device_requests(gpu),
                runtime=plan.runtime,
            ),
        )
        try:
            self.client.start(name)
            self.client.wait(name)
            listing = self.client.logs(name, tail="all").decode(errors="replace")
        except docker.errors.APIError as error:  # without the driver's files the program does not exist
            listing = str(error.explanation)
            if "could not select device driver" in listing:
                raise GpuRequiredError(
                    "this machine has a GPU, but the engine cannot pass it to a container",
                    fix="install nvidia-container-toolkit and restart the engine",
                ) from error
        finally:
            self._remove_container(name)
        check_seen(gpu, listing=listing, engine=self.name)

    def _create_arguments(
        self, plan: ContainerPlan, *, name: str, volume: str, labels: dict[str, str]
    ) -> dict[str, Any]:
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
                security_opt=self._security(),
                init=True,
                ipc_mode="private",
                pids_limit=plan.pids,
                nano_cpus=round(plan.cpus * 1e9),
                mem_limit=plan.memory_bytes,
                memswap_limit=plan.memory_bytes,
                shm_size=plan.shm_bytes,
                oom_score_adj=500,
                ulimits=self._ulimits(nofile=plan.open_files, core=0, fsize=plan.file_bytes, cpu=plan.cpu_s),
                **self._mounts(plan, volume),
                log_config=docker.types.LogConfig(
                    type="json-file", config={"max-size": str(plan.log_bytes), "max-file": "1"}
                ),
                device_requests=_device_requests(plan.gpu),
                runtime=plan.runtime,
            ),
        }

    def _mounts(self, plan: ContainerPlan, volume: str) -> dict[str, Any]:
        mounts = [
            docker.types.Mount(INPUT, plan.input, type="bind", read_only=True),
            docker.types.Mount(OUTPUT, volume, type="volume", no_copy=True),
        ]
        if plan.model is not None:
            mounts.append(docker.types.Mount(MODEL, plan.model, type="bind", read_only=True))
        return {"mounts": mounts, "tmpfs": plan.tmpfs}

    def _volume_size(self, quota: Quota) -> str:
        return f"size={quota.bytes}"

    def _security(self) -> list[str]:
        return ["no-new-privileges:true", f"seccomp={self.seccomp}"]

    def _ulimits(self, **limits: int) -> list[docker.types.Ulimit]:
        return [docker.types.Ulimit(name=name, soft=limit, hard=limit) for name, limit in limits.items()]

    def _remove_container(self, name: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self.client.remove_container(name, force=True, v=True)

    def _remove_volume(self, name: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self.client.remove_volume(name, force=True)


# -------------------------------------------------------------------------------- helpers
def _device_requests(gpu: str | None) -> list[docker.types.DeviceRequest] | None:
    if gpu is None:
        return None
    return [docker.types.DeviceRequest(device_ids=[gpu], capabilities=[["gpu", "compute", "utility"]])]
