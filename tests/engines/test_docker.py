"""The Docker engine against a real daemon: images, archives, the sandbox as the daemon reports it, and no daemon."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import os
import socket
import tarfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from harness.base.digests import digest_folder
from harness.base.errors import BuildError, InfrastructureError
from harness.engines import BASE_IMAGE, Engine, connect
from harness.engines._archives import build_context
from harness.engines._owner import DEADLINE, OWNER, is_leftover, owner_labels
from harness.engines._pull import UNREACHABLE
from harness.engines._seccomp import seccomp_profile
from harness.engines.docker import DockerEngine
from harness.sandbox import BuildPolicy, Limits, output_quota, plan_container

BASE = {"BASE_IMAGE": BASE_IMAGE}
FROM = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"


@pytest.fixture
def docker(engine: Engine) -> DockerEngine:
    assert isinstance(engine, DockerEngine)
    return engine


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def context(folder: Path, dockerfile: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


class SocketProxy:
    """Forwards a Unix socket to the daemon's until it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.target = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.open = [self.listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.target)
                self.open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


# -------------------------------------------------------------------------------- no engine
@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
def test_without_an_engine_the_message_names_the_command_that_starts_one(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(InfrastructureError) as caught:
        connect()
    assert host in caught.value.message
    assert "harness engine start" in caught.value.fix


# -------------------------------------------------------------------------------- contexts
def test_a_context_is_the_same_whoever_made_the_files(tmp_path: Path) -> None:
    archives = []
    for number, mode in enumerate((0o600, 0o664)):
        folder = context(tmp_path / str(number), "FROM scratch\n")
        (folder / "a.py").write_text("pass")
        (folder / "a.py").chmod(mode)
        (folder / "run.sh").write_text("true")
        (folder / "run.sh").chmod(0o755)
        for hidden in (".git/config", "pkg/__pycache__/a.pyc", "big.bin"):
            (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
            (folder / hidden).write_text(str(number))
        (folder / ".dockerignore").write_text("# a comment\n*.bin\n")
        with build_context(folder, max_bytes=10**6) as file:
            archives.append(file.read())
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as tar:
        modes = {member.name: member.mode for member in tar if member.isfile()}
    assert modes == {"Dockerfile": 0o644, ".dockerignore": 0o644, "a.py": 0o644, "run.sh": 0o755}


def test_what_the_digest_says_of_a_folder_is_in_its_context(tmp_path: Path) -> None:
    """A file of two names is two files; who may run it is its owner."""
    plain, linked = (context(tmp_path / name, "FROM scratch\n") for name in ("plain", "linked"))
    for folder in (plain, linked):
        (folder / "a.py").write_text("pass")
        (folder / "b.py").write_text("pass")
        (folder / "a.py").chmod(0o644)
    (linked / "b.py").unlink()
    (linked / "b.py").hardlink_to(linked / "a.py")
    (linked / "a.py").chmod(0o655)
    (plain / "b.py").chmod(0o644)
    assert digest_folder(linked) == digest_folder(plain)
    with build_context(plain, max_bytes=10**6) as one, build_context(linked, max_bytes=10**6) as other:
        assert one.read() == other.read()


# -------------------------------------------------------------------------------- images
@pytest.mark.engine
def test_an_equal_folder_builds_the_same_image(docker: DockerEngine, tmp_path: Path) -> None:
    first = docker.build(context(tmp_path / "a", FROM + "COPY Dockerfile /x\n"), arguments=BASE)
    second = docker.build(context(tmp_path / "b", FROM + "COPY Dockerfile /x\n"), arguments=BASE)
    assert first == second
    assert docker.inspect(first).id == first
    assert docker.find_image("no/such:image") is None


@pytest.mark.engine
@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        (FROM + "RUN echo all is lost; exit 7\n", "non-zero code: 7\n  Step "),
        (FROM + "COPY missing.txt /\n", "missing.txt"),
        (FROM + "NOSUCH instruction\n", "NOSUCH"),
        ("", "empty"),
        (FROM + "RUN python3 -c 'import socket; socket.create_connection((\"1.1.1.1\", 53), 5)'\n", "unreachable"),
    ],
)
def test_what_does_not_build_is_named_with_the_end_of_its_log(
    docker: DockerEngine, tmp_path: Path, dockerfile: str, said: str
) -> None:
    with pytest.raises(BuildError) as caught:
        docker.build(context(tmp_path / "a", dockerfile), arguments=BASE)
    assert said in caught.value.message
    assert str(tmp_path / "a") in caught.value.message
    assert ("put the file there" in caught.value.fix) == ("COPY" in dockerfile)


@pytest.mark.engine
@pytest.mark.parametrize("endless", ["sleep 300", "while true; do echo; sleep 0.05; done"])
def test_an_endless_build_is_stopped(docker: DockerEngine, tmp_path: Path, endless: str) -> None:
    mark = uuid.uuid4().hex
    began = time.monotonic()
    with pytest.raises(BuildError, match="not finished within 2 s"):
        docker.build(
            context(tmp_path / "a", FROM + f"RUN : {mark}; {endless}\n"), arguments=BASE, policy=BuildPolicy(wall_s=2)
        )
    assert time.monotonic() - began < 20
    for _ in range(100):  # the engine removes the build's container a moment later
        if not any(mark in one["Command"] for one in docker.client.containers()):
            return
        time.sleep(0.1)
    pytest.fail("the build's container still runs")


# -------------------------------------------------------------------------------- archives
def archive_of(path: Path, *images: dict[str, object], extra: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in {"manifest.json": json.dumps(images).encode(), **(extra or {})}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def saved(docker: DockerEngine, image: str, path: Path) -> Path:
    with path.open("wb") as file:
        file.writelines(docker.client.get_image(image))
    return path


@pytest.mark.engine
def test_a_saved_image_is_loaded_under_its_id_and_moves_no_tag_of_ours(docker: DockerEngine, tmp_path: Path) -> None:
    ours = docker.find_image(BASE_IMAGE)
    image = docker.build(
        context(tmp_path / "a", f'FROM scratch\nCOPY Dockerfile /\nLABEL made={uuid.uuid4()}\nCMD ["/x"]\n')
    )
    archive = saved(docker, image, tmp_path / "image.tar")
    hostile = tmp_path / "hostile.tar"
    with tarfile.open(archive) as old, tarfile.open(hostile, "w") as new:
        for member in old:
            file = old.extractfile(member) if member.isfile() else None
            data = file.read() if file is not None else b""
            if member.name == "manifest.json":
                data = json.dumps([{**json.loads(data)[0], "RepoTags": [BASE_IMAGE]}]).encode()
                member.size = len(data)
            if member.name != "repositories":
                new.addfile(member, io.BytesIO(data))
    docker.client.remove_image(image, force=True)
    assert docker.find_image(image) is None
    assert docker.load(archive) == image
    assert docker.load(hostile) == image
    assert docker.find_image(BASE_IMAGE) == ours
    docker.client.remove_image(image)


@pytest.mark.engine
@pytest.mark.parametrize("kind", ["text", "truncated", "two images", "no image", "no manifest"])
def test_a_bad_archive_is_refused(docker: DockerEngine, tmp_path: Path, kind: str) -> None:
    one: dict[str, object] = {"Config": "c.json", "RepoTags": None, "Layers": []}
    path = tmp_path / "a.tar"
    if kind == "text":
        path.write_text("not a tar")
    elif kind == "truncated":
        archive_of(path, one, extra={"x": bytes(5000)})
        path.write_bytes(path.read_bytes()[:700])
    elif kind == "no manifest":
        with tarfile.open(path, "w"):
            pass
    else:
        archive_of(path, *([one, one] if kind == "two images" else []))
    with pytest.raises(BuildError, match=r"a\.tar"):
        docker.load(path)


# -------------------------------------------------------------------------------- the sandbox as the daemon sees it
@pytest.mark.engine
def test_the_daemon_confirms_every_bound_of_the_plan(docker: DockerEngine, tmp_path: Path) -> None:
    image = docker.build(
        context(tmp_path / "a", FROM + 'CMD ["sleep", "60"]\nUSER 0\nHEALTHCHECK CMD true\n'), arguments=BASE
    )
    (tmp_path / "input").mkdir()
    quota = output_quota([(64, 64)])
    plan = plan_container(
        docker.inspect(image),
        limits=Limits(wall_s=9, memory_gb=0.1, cpus=0.5, shm_gb=0.01, tmp_gb=0.02, pids=20),
        quota=quota,
        input_folder=str(tmp_path / "input"),
        model_folder=None,
        seed=1,
        gpu=None,
    )
    with docker.start(plan) as container:
        facts = docker.client.inspect_container(container.main)
    host, config = facts["HostConfig"], facts["Config"]
    assert facts["Image"] == image
    assert config["User"] == plan.user
    assert config["Healthcheck"]["Test"] == ["NONE"]
    assert not [entry for entry in config["Env"] if "proxy" in entry.lower()]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true", f"seccomp={json.dumps(seccomp_profile())}"]
    assert host["IpcMode"] == "private"
    assert host["PidsLimit"] == 20
    assert host["NanoCpus"] == 5 * 10**8
    assert host["Memory"] == host["MemorySwap"] == 10**8 + 10**7 + 2 * 10**7 + quota.bytes
    assert host["ShmSize"] == 10**7
    assert {one["Name"]: one["Hard"] for one in host["Ulimits"]} == {
        "nofile": 4096,
        "core": 0,
        "fsize": 2 * 10**7,
        "cpu": 65,
    }
    mounts = {one["Destination"]: (one["Type"], one["RW"]) for one in facts["Mounts"]}
    assert mounts == {"/input": ("bind", False), "/output": ("volume", True)}


@pytest.mark.engine
def test_an_engine_that_goes_away_is_never_the_submissions_fault(
    docker: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The daemon is shared, so what dies is the way to it: a proxy socket of our own.
    proxy = SocketProxy(tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{proxy.path}")
    image = docker.build(context(tmp_path / "a", FROM + 'CMD ["sleep", "60"]\n'), arguments=BASE)
    (tmp_path / "input").mkdir()
    with connect() as engine:
        plan = plan_container(
            engine.inspect(image),
            limits=Limits(wall_s=30, memory_gb=0.1, cpus=0.5, shm_gb=0.01, tmp_gb=0.02, pids=20),
            quota=output_quota([(64, 64)]),
            input_folder=str(tmp_path / "input"),
            model_folder=None,
            seed=1,
            gpu=None,
        )
        with pytest.raises(InfrastructureError) as caught, engine.start(plan) as container:
            for _ in container.wait(deadline_s=30):
                proxy.close()
    assert "harness engine start" in caught.value.fix
    assert caught.value.exit_code == 50
    # what it could not remove is found by its owner label
    monkeypatch.delenv("DOCKER_HOST")
    own = {"label": f"{OWNER}={owner_labels(lifetime_s=0)[OWNER]}"}
    left = docker.client.containers(all=True, filters=own)
    assert len(left) == 2
    for one in left:
        docker._remove_container(one["Id"])
    for volume in docker.client.volumes(filters=own)["Volumes"]:
        docker._remove_volume(volume["Name"])


@pytest.mark.engine
def test_what_the_engine_refuses_of_our_own_image_too_is_the_machines_fault(
    docker: DockerEngine, tmp_path: Path
) -> None:
    image = docker.find_image(BASE_IMAGE)
    assert image is not None
    plan = plan_container(
        docker.inspect(image),
        limits=Limits(wall_s=30, memory_gb=0.1, cpus=0.5, shm_gb=0.01, tmp_gb=0.02, pids=20),
        quota=output_quota([(64, 64)]),
        input_folder=str(tmp_path / "not" / "there"),
        model_folder=None,
        seed=1,
        gpu=None,
    )
    with pytest.raises(InfrastructureError, match="starting the container"), docker.start(plan):
        pass


@pytest.mark.parametrize(
    ("said", "unreachable"),
    [
        ('Get "https://example.org/v2/": dial tcp: lookup example.org: no such host', True),
        ('Error response from daemon: Get "https://example.org/v2/": net/http: TLS handshake timeout', True),
        ('initializing source docker://a/b: pinging container registry a: Get "https://a/v2/": dial tcp 1.2.3.4', True),
        ('failed to resolve reference "a/b": failed to do request: Head "https://a/v2/b": dial tcp: i/o timeout', True),
        ("manifest unknown: dial tcp: lookup table", False),
        ('denied: Get "https://example.org/v2/": dial tcp: lookup', False),
        ('unknown: x\nGet "https://example.org/v2/": dial tcp: lookup', False),
    ],
)  # fmt: skip
def test_the_words_of_a_registry_are_not_those_of_an_engine_that_cannot_reach_it(said: str, unreachable: bool) -> None:
    assert bool(UNREACHABLE.match(said)) == unreachable


# -------------------------------------------------------------------------------- owners
@pytest.mark.engine
def test_what_an_address_of_this_machine_answers_is_not_told(docker: DockerEngine) -> None:
    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v2/" else 404)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"secret")

        def log_message(self, format: str, *args: object) -> None:
            del format, args  # quiet

    with http.server.HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(BuildError, match="cannot be pulled: its registry does not serve it") as caught:
            docker.resolve(f"127.0.0.1:{server.server_port}/x@sha256:{'a' * 64}")
        server.shutdown()
    assert "secret" not in caught.value.message + caught.value.fix


def test_ours_is_no_leftover_and_a_strangers_only_after_its_deadline() -> None:
    assert not is_leftover(owner_labels(lifetime_s=-100))
    stranger = {OWNER: "0" * 32, DEADLINE: str(int(time.time() + 60))}
    assert not is_leftover(stranger)
    assert is_leftover({**stranger, DEADLINE: "1"})
    assert not is_leftover({OWNER: "../../etc/passwd", DEADLINE: "soon"})
    assert not is_leftover({})


def test_a_dead_owner_leaves_leftovers(tmp_path: Path) -> None:
    dead = tmp_path / "cache" / "owners" / f"{'a' * 32}.lock"
    dead.parent.mkdir(parents=True)
    dead.touch()
    assert is_leftover({OWNER: "a" * 32})
