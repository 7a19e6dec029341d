"""What a hostile run is set in: slices with marked labels, the real engine watched, submissions, what must be gone."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import ipaddress
import json
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness.base.slices import write_grey
from harness.dataset.cases import Case as Slice
from harness.dataset.cases import Dataset, FurtherKind, FurtherSlice
from harness.engines import BASE_IMAGE, Engine, Exit
from harness.engines._owner import OWNER, owner_labels
from harness.engines.docker import DockerEngine
from harness.engines.podman import PodmanEngine
from harness.sandbox import ContainerPlan

if TYPE_CHECKING:
    from tests.containers.cases import Case

IMAGE = Path(__file__).with_name("image")
CANARY = "canary-label"
MARK = "ipv2-harness.hostile"  # a label of all that one case builds


def make_dataset(folder: Path) -> Dataset:
    """Three noisy slices of 64 x 48 pixels beside labels that no container may ever read: each holds the canary."""
    rng = np.random.default_rng(1)
    marked = PngInfo()
    marked.add_text("Comment", CANARY)
    cases = []
    for name in ("p1-s1", "p1-s2", "p2-s1"):
        noisy, clean = rng.integers(0, 256, (2, 64, 48), dtype=np.uint8)
        write_grey(folder / "lq" / f"{name}.png", noisy)
        (folder / "gt").mkdir(exist_ok=True)
        Image.fromarray(clean).save(folder / "gt" / f"{name}.png", pnginfo=marked)
        lq, gt = (str(folder / kind / f"{name}.png") for kind in ("lq", "gt"))
        cases.append(Slice(name=name, patient=name[:2], lq=lq, gt=gt))
    return Dataset(cases=tuple(cases), window_hu=(-1024, 1200), digest="three slices")


def make_submission(
    folder: Path, behaviour: str, *arguments: str, dockerfile: str = "", manifest: str = "", image: str = "{build: .}"
) -> Path:
    """A submission folder whose container shows one behaviour of image/behave.py."""
    shutil.copytree(IMAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "Dockerfile").open("a") as file:
        command = ", ".join(f'"{word}"' for word in ("python3", "/behave.py", behaviour, *arguments))
        file.write(f"{dockerfile}\nCMD [{command}]\n")
    (folder / "submission.yaml").write_text(
        f'schema: 1\nname: Test\nversion: "1"\nauthors: [Test]\nimage: {image}\n{manifest}\n'
    )
    return folder


def client_of(engine: Engine) -> Any:
    assert isinstance(engine, DockerEngine)
    return engine.client


def of_this_process(engine: Engine) -> list[str]:
    """The containers and volumes that this process has made and that still exist."""
    client = client_of(engine)
    ours = {"label": f"{OWNER}={owner_labels(lifetime_s=0)[OWNER]}"}
    containers = [one["Names"][0] for one in client.containers(all=True, filters=ours)]
    return containers + [one["Name"] for one in client.volumes(filters=ours)["Volumes"] or ()]


class Watching(DockerEngine):
    """A real engine, which also notes of each run what was planned and how it ended."""

    plan: ContainerPlan | None = None
    ended: Exit | None = None

    @contextlib.contextmanager
    def start(self, plan: ContainerPlan) -> Iterator[Any]:
        self.plan = plan
        with super().start(plan) as container:
            ends = container.exit

            def exit() -> Exit:
                self.ended = ends()
                return self.ended

            container.exit = exit  # type: ignore[method-assign]
            yield container


class WatchedPodman(Watching, PodmanEngine):
    pass


class World:
    """One case's folder, engine and marks."""

    def __init__(self, folder: Path, engine: Watching) -> None:
        self.folder = folder
        self.engine = engine
        self.dataset = make_dataset(folder / "data")
        self.mark = uuid.uuid4().hex
        self.base = engine.find_image(BASE_IMAGE)
        # as harness.labels.label_set keeps them: beside the cache folders that a run stages from
        kept = folder / "cache" / "labels" / "0123"
        kept.mkdir(parents=True)
        shutil.copy(self.dataset.cases[0].gt, kept / "p1-s1.png")

    def with_further(self) -> Dataset:
        """The slices with more images of the first plane, two, and of the second, one; a plane's have a pixel size of
        its own."""
        sizes = {one.name: 0.5 + number for number, one in enumerate(self.dataset.cases)}
        cases = tuple(replace(one, pixel_mm=sizes[one.name]) for one in self.dataset.cases)
        first, second, _ = cases
        kinds: tuple[tuple[Slice, FurtherKind], ...] = ((first, "plus"), (first, "minus"), (second, "lesions"))
        further = tuple(
            FurtherSlice(name=f"{one.name}-{kind}", lq=one.lq, pixel_mm=one.pixel_mm, of=one.name, kind=kind)
            for one, kind in kinds
        )
        return replace(self.dataset, cases=cases, further=further, digest="three slices and more")

    def arguments(self, case: Case) -> list[str]:
        """What behave.py is told of the host."""
        if case.arguments == "reachable":
            return [self.reachable()]
        labels = [self.dataset.cases[0].gt, str(self.folder / "cache")]
        return {"": [], "label": labels[:1], "labels": labels}[case.arguments]

    def built(self) -> list[str]:
        """Images and layers that this case's builds made and that are still there."""
        found = client_of(self.engine).images(all=True, filters={"label": f"{MARK}={self.mark}"})
        return sorted(one["Id"] for one in found)

    def containers(self) -> list[str]:
        """Containers of this case's images, the builder's own included."""
        found = client_of(self.engine).containers(all=True, filters={"label": f"{MARK}={self.mark}"})
        return [one["Id"] for one in found]

    def clear(self) -> None:
        """Remove the images of the case; the layers below them go along."""
        while found := self.built():
            for image in found:
                with contextlib.suppress(docker.errors.APIError):  # others stand on it, or it went along already
                    client_of(self.engine).remove_image(image, force=True)
            assert self.built() != found, f"cannot be removed: {found}"

    def reachable(self) -> str:
        """host:port that a container on this engine's bridge has reached just now; the proof that a refusal is ours."""
        client = client_of(self.engine)
        try:
            configuration = client.inspect_network("bridge")["IPAM"]["Config"][0]
        except docker.errors.NotFound:
            pytest.skip("the engine has no bridge: a refusal would prove nothing")
        # where none is written down the engine takes the first address
        host = configuration.get("Gateway") or str(next(ipaddress.ip_network(configuration["Subnet"]).hosts()))
        with socket.create_server((host, 0)) as server:
            port = server.getsockname()[1]
            greeter = threading.Thread(target=lambda: server.accept()[0].close(), daemon=True)
            greeter.start()
            probe = f"import socket; socket.create_connection(({host!r}, {port}), 10)"
            control = client.create_container(
                image=BASE_IMAGE,
                command=["python3", "-c", probe],
                labels={MARK: self.mark},
                host_config=client.create_host_config(network_mode="bridge"),
            )["Id"]
            try:
                client.start(control)
                assert client.wait(control)["StatusCode"] == 0, client.logs(control)
            finally:
                client.remove_container(control, force=True)
            greeter.join(5)
        return f"{host}:{port}"

    @contextlib.contextmanager
    def registry(self, *, layer_bytes: int) -> Iterator[str]:
        """A reference to an image in a registry that promises a layer of so many bytes and sends a part a second:
        a byte of a small layer, a megabyte of a large one."""
        config = json.dumps(
            {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode()

        def part(kind: str, data: bytes, size: int) -> dict[str, object]:
            media = f"application/vnd.docker.{kind}"
            return {"mediaType": media, "size": size, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}"}

        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": part("container.image.v1+json", config, len(config)),
                "layers": [part("image.rootfs.diff.tar.gzip", self.mark.encode(), layer_bytes)],
            }
        ).encode()
        ended = threading.Event()

        class Registry(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = b"{}"
                if "/manifests/" in self.path:
                    data = manifest
                elif self.path.endswith(hashlib.sha256(config).hexdigest()):
                    data = config
                slow = "/blobs/" in self.path and data == b"{}"
                self.send_response(200)
                self.send_header("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
                self.send_header("Content-Length", str(layer_bytes if slow else len(data)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)
                while slow and not ended.wait(1):
                    with contextlib.suppress(OSError):
                        self.wfile.write(bytes(max(1, layer_bytes // 30_000)))

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                del format, args  # quiet

        # loopback is the one place that an engine talks to without TLS
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"127.0.0.1:{server.server_port}/evil@sha256:{hashlib.sha256(manifest).hexdigest()}"
            finally:
                ended.set()
                server.shutdown()
