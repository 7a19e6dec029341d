"""Every hostile or faulty submission of the suite as data: what it does, how it must end, and which bound holds.

python tests/containers/cases.py     # write the table of docs/security.md anew
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from msgspec.structs import replace

from harness.sandbox import BuildPolicy, Limits

Kind = Literal["run", "build", "archive", "pull", "manifest"]

LIMITS = Limits(wall_s=60, memory_gb=0.2, cpus=1, shm_gb=0.01, tmp_gb=0.05, pids=40)
SHORT = Limits(wall_s=2, memory_gb=0.2, cpus=1, shm_gb=0.01, tmp_gb=0.05, pids=40)
BUILD = BuildPolicy(
    wall_s=30, memory_bytes=10**8, pids=50, disk_bytes=6 * 10**7, context_bytes=8 * 10**6, log_bytes=2**20
)  # fmt: skip
SHORT_BUILD = replace(BUILD, wall_s=5)

# exit status -> stage and party of the error (docs/contract.md, "Exit status")
ENDS = {
    0: ("scored", "nobody's"),
    2: ("setup", "usage"),
    10: ("build", "submission"),
    11: ("build", "submission"),
    20: ("run", "submission"),
    21: ("run", "submission"),
    22: ("run", "submission"),
    23: ("run", "submission"),
    24: ("run", "infrastructure"),
    30: ("outputs", "submission"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """`behaviour` names a function of image/behave.py (a run) or an archive of `tests.containers.makers`; of a
    manifest it is what `image` says."""

    name: str
    does: str
    status: int
    said: str = ""  # part of the message
    bound: str = "never starts"
    kind: Kind = "run"
    behaviour: str = ""  # the name with underscores if empty
    maker: str = ""  # of `tests.containers.makers`: what else it does to the submission's folder
    config: dict[str, object] = field(default_factory=dict)  # of an archive: changes of the image's configuration
    arguments: str = ""  # what of the world behave.py is told: "label", "labels", "reachable"
    dockerfile: str = ""  # of a run: lines to append; of a build: the whole after FROM
    manifest: str = ""  # lines to append
    further: bool = False  # whether the data have further slices, so that the container runs several times
    limits: Limits = LIMITS
    policy: BuildPolicy = BUILD  # of its build, or its pull
    pulls: int = 0  # bytes of the layer that a registry promises
    held: tuple[int, int] | None = None  # what "held N" in the log or message must lie between

    @property
    def function(self) -> str:
        return self.behaviour or self.name.replace(" ", "_").replace("-", "_")


def outputs(name: str, does: str, said: str, **more: str) -> Case:
    return Case(name=name, does=does, status=30, said=said, bound="nothing of it is kept", **more)  # type: ignore[arg-type]


def build(name: str, does: str, dockerfile: str, status: int, said: str, **more: object) -> Case:
    more.setdefault("bound", "no container, no layer left" if status == 10 else "the engine never sees it")
    return Case(name=name, does=does, status=status, said=said, kind="build", dockerfile=dockerfile, **more)  # type: ignore[arg-type]


def archive(name: str, does: str, status: int, said: str, bound: str = "never loaded", **config: object) -> Case:
    return Case(name=name, does=does, status=status, said=said, kind="archive", bound=bound, config=config)


def manifest(name: str, does: str, said: str, **more: str) -> Case:
    more.setdefault("bound", "never built")
    return Case(name=name, does=does, status=2, said=said, kind="manifest", **more)  # type: ignore[arg-type]


def start(name: str, does: str, dockerfile: str) -> Case:
    """An image that the engine refuses to start, while it starts one of ours with the same mounts and limits."""
    return Case(name=name, does=does, status=11, said="the image cannot be started: ", behaviour="good",
                dockerfile=dockerfile, bound="our own image starts")  # fmt: skip


def run(behaviour: str) -> str:
    """A RUN line of image/build.py."""
    return f"COPY build.py /\nRUN python3 /build.py {behaviour}\n"


# They take disk, memory, processes or the engine's log until something stops them: no other case runs beside them.
ALONE = {
    *("disk fill", "inode flood", "scratch fill", "scratch and crash", "shared memory fill", "volume fill"),
    *("memory hog", "child memory hog", "fork bomb", "many open files", "spins for ever", "log flood", "zlib bomb"),
    *("build fork bomb", "build memory hog", "build disk fill", "build many layers", "build many copies"),
    *("build pretends", "build pretends a lot", "build log flood"),
}
# On other engines than Docker: what every bound of a run and of a build rests on, and what reads /output.
TELLING = {
    *("good", "nothing", "link to label", "fifo", "unix socket"),
    *("disk fill", "inode flood", "sparse file", "huge file", "volume fill", "memory hog", "fork bomb"),
    *("sleeps for ever", "holds its init", "log flood", "looks everywhere", "finds what is there", "looks around"),
    *("keeps state", "environment", "engine socket", "setuid", "kernel doors", "tag clobber"),
    *("build endless", "build fork bomb", "build memory hog", "build many layers"),
    *("locked folder", "output is a link", "other sockets", "io_uring", "layer with pax holes", "date that is none"),
}
TITLES = {
    "outputs": "Outputs",
    "quotas": "Disk, memory, processes, time",
    "ways out": "Ways out of the sandbox",
    "images": "Images and their configuration",
    "archives": "Archives and registries",
    "builds": "Builds",
    "manifests": "Manifests",
}
REFUSED = yaml.safe_load(Path(__file__).with_name("refused.yaml").read_text())
CASES: dict[str, list[Case]] = {
    "outputs": [
        Case(name="good", does="copies its input, with escapes and commands in its log", status=0,
             bound="log cleaned"),
        outputs("nothing", "ends well without any output", "/output is empty, expected 3 files"),
        outputs("one too few", "leaves one case out", "1 missing: "),
        Case(name="fails", does="writes two of three files, then exit status 1", status=20,
             said="exit status 1: the model is not there", bound="nothing of it is kept"),
        outputs("stray names", "names with newline, backslash, dot, dash, %2e", "7 not expected: "),
        outputs("nested", "writes into a subfolder", "not expected: 'sub' (folder)"),
        outputs("text", "text as PNG", "is not a PNG file"),
        outputs("truncated", "a PNG cut short", "is a truncated PNG"),
        outputs("wrong size", "one row too many", "has 65 x 48 pixels"),
        outputs("lying header", "a header of 2^31 x 2^31 pixels", "has 2147483647 x 2147483647 pixels"),
        outputs("colour", "three different channels", "is in colour"),
        outputs("sixteen bit", "16 bits", "has 16 bits per channel, expected 8"),
        outputs("palette", "a palette", "has a palette"),
        outputs("alpha", "an alpha channel", "has an alpha channel"),
        outputs("animated", "an animation", "is animated"),
        outputs("interlaced", "interlaced, data that do not fit", "is interlaced"),
        Case(name="zlib bomb", does="100 MB of zeros in 100 kB of image data", status=30, said="1 wrong: ",
             bound="host memory: 64 MiB more"),
        outputs("constant", "one grey level", "is constant (every pixel is 128)"),
        outputs("scaled to one", "values on a scale of 0 to 1", "multiply by 255"),
        outputs("link to input", "a symbolic link to its input", "is a symbolic link"),
        outputs("link to label", "a symbolic link to the label's path on the host", "is a symbolic link",
                arguments="label"),
        outputs("hard link", "a hard link to another output", "is a hard link"),
        outputs("locked folder", "a folder that nobody may enter", "not expected: 'locked' (folder)"),
        outputs("name of no text", "a name that is not UTF-8", "not expected: '\\udcff.txt'"),
        outputs("deep folders", "folders within each other, deeper than a path may be",
                "20 not expected: 'dddd"),
        outputs("fifo", "a FIFO, which a reader would wait at", "is a FIFO"),
        # the engine's tar leaves sockets out
        outputs("unix socket", "a socket", "1 missing: "),
    ],
    "quotas": [
        Case(name="disk fill", does="writes into /output without end", status=23,
             said="more than /output may hold", bound="/output: 1.4 MB"),
        Case(name="inode flood", does="creates files without end", status=23, said="more than /output may hold",
             bound="/output: 70 files"),
        Case(name="sparse file", does="a file of 40 MB that takes no room", status=23, said="claims 40000000 bytes",
             bound="bytes read: none of it"),
        Case(name="huge file", does="a file of 1 TiB that takes no room", status=23,
             said="more than /output may hold", bound="one file: 50 MB"),
        Case(name="huge scratch file", does="the same in /tmp", status=23, said="more than /output may hold",
             bound="one file: 50 MB"),
        Case(name="scratch fill", does="fills /tmp and goes on", status=0, bound="/tmp: 50 MB",
             held=(49_900_000, 50_010_000)),
        Case(name="scratch and crash", does="fills /tmp and ends of it", status=20, said="exit status 1: OSError: ",
             bound="/tmp: 50 MB"),
        Case(name="shared memory fill", does="fills /dev/shm", status=0, bound="/dev/shm: 10 MB",
             held=(9_900_000, 10_010_000)),
        Case(name="volume fill", does="fills a VOLUME of its image, which would be the host's disk", status=0,
             bound="VOLUME: 64 MiB", dockerfile="VOLUME /data", held=(67_000_000, 67_110_000)),
        Case(name="memory hog", does="takes memory without end", status=22, said="ran out of memory",
             bound="memory: 0.2 GB and its file systems"),
        Case(name="child memory hog", does="a child does, the parent ends well", status=22, said="ran out of memory",
             bound="memory: 0.2 GB and its file systems"),
        # 40 less the init process and the script itself; the engine may count one more of its own
        Case(name="fork bomb", does="forks without end", status=0, bound="40 processes", held=(36, 38)),
        Case(name="many open files", does="opens files without end", status=0, bound="4096 open files",
             held=(4080, 4095)),
        Case(name="sleeps for ever", does="sleeps, deaf to TERM", status=21, said="deadline, 2 s", bound="2 s",
             limits=SHORT),
        Case(name="spins for ever", does="spins, deaf to every signal", status=21, said="deadline, 2 s", bound="2 s",
             limits=SHORT),
        Case(name="stops itself", does="stops itself with SIGSTOP", status=21, said="deadline, 2 s", bound="2 s",
             limits=SHORT),
        Case(name="holds its init", does="traces its init process, which then never ends", status=21,
             said="deadline, 2 s", bound="2 s", limits=SHORT),
        Case(name="leaves a child", does="ends; a child in a session of its own stays", status=0,
             bound="no process left"),
        Case(name="log flood", does="prints 20 MB that are not UTF-8", status=0, bound="log: 1 MiB kept, 64 KiB read"),
        Case(name="log commands", does="ends with terminal escapes and CI commands on stderr", status=20,
             said="exit status 3: add-mask::y", bound="message cleaned"),
        Case(name="log of one sign", does="ends with 64 KiB of # on stderr", status=20, said="exit status 3: ####",
             bound="cleaned in linear time"),
    ],
    "ways out": [
        Case(name="looks everywhere", does="searches every file that it can read for a label", status=0,
             arguments="labels", bound="no label, no host path"),
        Case(name="finds what is there", behaviour="looks_everywhere", status=20, said="label seen at /srv/found",
             does="control: the same search with a label put into the image", bound="the search finds",
             dockerfile="RUN printf 'canary-%s' label > /srv/found"),
        Case(name="looks around", does="tries to write outside /tmp; reads its ids, capabilities, filters", status=0,
             bound="a uid of its own, no capability, read-only"),
        Case(name="environment", does="looks for the host's proxy and its password; its image sets our variables",
             status=0, bound="none passed on, ours win",
             dockerfile="ENV HARNESS_OUTPUT=/tmp HARNESS_DEVICE=cuda NVIDIA_VISIBLE_DEVICES=all"),
        Case(name="egress", does="TCP, UDP and DNS to an address that other containers here reach, metadata, internet",
             status=0, arguments="reachable", bound="no route"),
        Case(name="engine socket", does="looks for the sockets of container engines", status=0, bound="not there"),
        Case(name="setuid", does="runs a setuid-root program of its image", status=0, bound="uid stays what it is",
             dockerfile="RUN cp /usr/bin/id /setuid-id && chmod 4755 /setuid-id"),
        Case(name="keeps state", does="leaves marks for the next run of its container: files, memory, keys, a process",
             status=0, bound="every run finds nothing", dockerfile="VOLUME /data", further=True),
        Case(name="finds its state", behaviour="keeps_state", status=20, said="run 1 of 3: ", further=True,
             does="control: the same search with such a mark put into the image", bound="the search finds",
             dockerfile="RUN printf 'kept-by-%s' a-run > /srv/found\nVOLUME /data"),
        Case(name="kernel doors", does="mount, unshare, chroot, mknod, raw sockets, /proc/sysrq-trigger",
             status=0, bound="all refused"),
        Case(name="other sockets", does="sockets of other kinds: to the host of a virtual machine (AF_VSOCK), and more",
             status=0, bound="all refused"),
        Case(name="io_uring", does="asks the kernel for a ring of calls, which no filter sees", status=0,
             bound="refused"),
    ],
    "images": [
        Case(name="root by another name", behaviour="looks_around", status=0, bound="a uid of ours all the same",
             does="USER toor, which /etc/passwd says is 0",
             dockerfile="RUN echo toor:x:0:0::/root:/bin/sh >> /etc/passwd\nUSER toor"),
        Case(name="health check", behaviour="outlives_a_health_check", status=0, bound="never runs",
             does="a HEALTHCHECK that writes a stray output every second",
             dockerfile="HEALTHCHECK --interval=1s CMD touch /output/stray"),
        Case(name="no such command", behaviour="good", does="an entry point that does not exist", status=20,
             said="127: ", bound="nothing of it is kept", dockerfile='ENTRYPOINT ["/nothing/there"]'),
        start("file for input", "a file where /input is mounted", "COPY behave.py /input"),
        Case(name="volume on proc", behaviour="good", does="VOLUME /proc/x", status=11, said="VOLUME '/proc/x'",
             dockerfile="VOLUME /proc/x"),
        Case(name="volume within input", behaviour="good", does="VOLUME /input/x", status=11,
             said="VOLUME '/input/x'", dockerfile="VOLUME /input/x"),
        Case(name="many volumes", behaviour="good", does="nine VOLUMEs, each a memory file system", status=11,
             said="9 VOLUMEs", dockerfile="VOLUME " + " ".join(f"/v{number}" for number in range(9))),
        Case(name="preload with gpu", behaviour="good", does="LD_PRELOAD, which the GPU hook would run as root",
             status=11, said="LD_PRELOAD", dockerfile="ENV LD_PRELOAD=/evil.so", manifest="gpu: required"),
        start("tmp is a link", "/tmp is a link to /proc", "RUN rm -rf /tmp && ln -s /proc /tmp"),
        start("output is a link", "/output is a link to /proc/self", "RUN ln -s /proc/self /output"),
        start("file for tmp", "a file where /tmp is mounted", "RUN rm -rf /tmp && touch /tmp"),
        start("workdir within input", "WORKDIR /input/x, which a mount hides", "WORKDIR /input/x"),
        Case(name="needs gpu", does="says that it needs a GPU (exit status 69)", status=24, said="needs a GPU",
             bound="no record"),
    ],
    "archives": [
        *(archive(**row) for row in REFUSED["archives"]),
        archive("text archive", "no tar at all", 10, "not an image archive"),
        archive("truncated archive", "cut within a layer", 10, "it is cut off in"),
        archive("compressed archive", "gzip, which a few bytes can make endless", 10, "uncompressed"),
        archive("two images", "two images", 10, "holds 2 images"),
        archive("no layer", "a layer is not there", 10, "not an image archive"),
        archive("endless link", "a layer that links to itself", 10, "is not a regular file"),
        archive("other layer", "a layer of another content than the configuration says", 10, "layer"),
        archive("oversize layer", "a gzip layer of more than an image may hold", 11,
                "the layers of the image have more", bound="nothing unpacked"),
        archive("layer named often", "ten times the same layer, each within the bound", 11,
                "the layers of the image have more", bound="nothing unpacked"),
        archive("foreign platform", "for another processor", 11, "for linux/vax, the engine runs"),
        archive("no entry point", "neither ENTRYPOINT nor CMD", 11, "neither ENTRYPOINT nor CMD"),
        archive("endless variable", "an environment variable of 3 MB", 20, "argument list too long",
                bound="nothing of it is kept", Env=["A=" + "x" * 3_000_000]),
        archive("wrong types", "a configuration of other types", 10, "not an image archive"),
        archive("tag clobber", "calls itself the base image; its command does not exist",
                20, "127: ", bound="the base image's tag stays"),
        Case(kind="pull", name="endless pull", does="a ref whose registry sends a byte a second", status=10,
             said="not pulled within 5 s", bound="5 s", pulls=30_000, policy=SHORT_BUILD),
        Case(kind="pull", name="oversize pull", does="a ref with a layer of 30 GB", status=11,
             said="larger than the 0.06 GB", bound="stopped at its first bytes", pulls=3 * 10**10),
    ],
    "builds": [
        build("build endless", "RUN sleeps for ever", run("endless"), 10, "not finished within 5 s", bound="5 s",
              policy=SHORT_BUILD),
        build("build fork bomb", "RUN forks without end", run("fork_bomb"), 10, "non-zero code: 1",
              bound="50 processes", held=(40, 49)),
        build("build memory hog", "RUN takes memory without end", run("memory_hog"), 10,
              "killed, most likely because memory ran out", bound="memory: 0.1 GB"),
        build("build disk fill", "RUN writes a gigabyte", run("disk_fill"), 10, "more than 0.06 GB of disk",
              bound="disk: 0.06 GB and what is written in a moment"),
        build("build many layers", "five RUN lines that write 25 MB each",
              run("disk_fill_a_little 0") + "".join(f"RUN python3 /build.py disk_fill_a_little {n}\n" for n in "1234"),
              10, "more than 0.06 GB of disk", bound="disk: 0.06 GB and one layer"),
        build("build many copies", "20 COPY lines of 7 MB, where no container could be killed",
              "".join(f"COPY large /{number}\n" for number in range(20)), 10, "more than 0.06 GB of disk",
              maker="with_large_file", bound="disk: 0.06 GB and two layers"),
        build("build pretends", "RUN prints the builder's own lines to hide what it fills", run("pretends BASE12"), 10,
              "more than 0.06 GB of disk", bound="disk: 0.06 GB; the base image stays"),
        build("build pretends a lot", "RUN prints 100,000 lines like the builder's", run("pretends_a_lot"), 10,
              "imitate the builder's own", bound="600 such lines"),
        build("build log flood", "RUN prints without end", run("log_flood"), 10, "prints more than 1 MiB",
              bound="output: 1 MiB"),
        build("build egress", "RUN connects to an address that other containers here reach", run("egress REACHABLE"),
              10, "connect: ENETUNREACH", bound="no route"),
        build("build looks everywhere", "RUN searches every file for a label and for the host's proxy",
              run("looks_everywhere") + "RUN exit 7\n", 10, "non-zero code: 7", bound="no label, no proxy"),
        build("context escape", "COPY ../../labels", "COPY ../../labels /\n", 10, "docker build failed"),
        build("context link", "COPY of a link to a label", "COPY link /\n", 10, "docker build failed",
              maker="with_link"),
        build("large context", "a context of 9 MB where 8 MB are allowed", "COPY big /\n", 10, "larger than 0.008 GB",
              maker="with_big_file", bound="context: 8 MB"),
        build("slow patterns", ".dockerignore of a pattern that takes for ever to match", "COPY build.py /\n", 10,
              "more than 3 wildcards", maker="with_slow_patterns"),
        build("slow names", "names of 200 letters on which a pattern of 3 wildcards takes for ever", "", 10,
              "takes too long to match", maker="with_slow_names", bound="0.2 s here, else 60 s"),
        build("many patterns", ".dockerignore of 101 patterns", "COPY build.py /\n", 10, "more than 100 patterns",
              maker="with_many_patterns"),
        build("patterns in a FIFO", ".dockerignore is a FIFO", "", 10, "must be a regular file",
              maker="with_fifo_of_patterns"),
        build("patterns in a folder", ".dockerignore is a folder", "", 10, "must be a regular file",
              maker="with_folder_of_patterns"),
        build("broken pattern", ".dockerignore of [, which is no pattern", "COPY missing /\n", 10,
              "docker build failed", maker="with_broken_pattern"),
        build("byte code", ".dockerignore asks for byte code, which no digest covers", "COPY __pycache__ /\n", 10,
              "docker build failed", maker="with_byte_code"),
        build("git's files", "the same of .git", "COPY .git/evil /\n", 10, "docker build failed",
              maker="with_byte_code"),
        build("name of no text in a folder", "a file whose name is not UTF-8", "COPY . /all/\nRUN exit 7\n", 10,
              "non-zero code: 7", maker="with_name_of_no_text"),
        build("word of a network", "RUN that fails with words of a network that fails",
              "RUN echo dial tcp: lookup table && false\n", 10, "non-zero code: 1"),
        build("file of a network", "COPY of a missing file with such words in its name",
              'COPY ["lookup dial tcp", "/"]\n', 10, "docker build failed"),
        build("words of a full disk", "RUN that fails with words of a disk that is full",
              "RUN echo no space left on device; false\n", 10, "non-zero code: 1"),
        build("build of one sign", "RUN prints 64 KiB of # and fails", run("prints '#'"), 10, "####",
              bound="cleaned in linear time"),
        build("variable of no name", "ENV =x", "ENV =x\n", 10, "docker build failed"),
        build("volume first", "VOLUME /data, then RUN, which would fill the host's disk through it",
              "VOLUME /data\nRUN true\n", 11, "comes after a VOLUME"),
        build("volume in a stage", "the same in a later stage", "VOLUME /data\nFROM ${BASE_IMAGE}\nRUN true\n", 11,
              "comes after a VOLUME"),
        build("Dockerfile in a FIFO", "the Dockerfile is a FIFO", "", 2, "a file, not a link", maker="with_fifos"),
        build("linked Dockerfile", "the Dockerfile is a link to a file of the host", "", 2, "a file, not a link",
              maker="with_linked_dockerfile"),
        build("foreign FROM", "FROM debian", "FROM debian\n", 11, "FROM debian: that image is not allowed"),
        build("foreign COPY --from", "COPY --from of another image on this machine",
              "COPY --from=ipv2-harness/debian-python:bookworm /etc/passwd /\n", 11, "that image is not allowed"),
        build("hidden COPY --from", "the same behind a continuation and a comment",
              "COPY \\\n  # note\n  --from=debian /a /\n", 11, "COPY --from=debian"),
        build("ADD of a URL", "ADD https://...", "ADD https://example.org/x /\n", 11, "ADD is not allowed"),
        build("RUN --mount", "RUN --mount=type=bind,from=...", "RUN --mount=type=bind,from=debian true\n", 11,
              "flag is not allowed"),
        build("syntax", "# syntax= names another builder", "SYNTAX", 11, "parser directives"),
        build("ONBUILD", "ONBUILD COPY --from=...", "ONBUILD COPY --from=debian / /\n", 11, "ONBUILD is not allowed"),
        build("here-document", "RUN <<EOF", "RUN <<EOF\nFROM debian\nEOF\n", 11, "here-documents"),
    ],
    "manifests": [
        *(manifest(**row) for row in REFUSED["manifests"]),
        manifest("large manifest", "70 kB", "at most 65536", manifest="description: " + "x" * 70_000),
        manifest("weights from within", "weights from the metadata address", "not a public address",
                 bound="never connected",
                 manifest=f"weights: [{{url: 'https://169.254.169.254/w', sha256: {'a' * 64}}}]"),
        manifest("weights from a file", "weights from file:///etc/passwd", "only https", bound="never read",
                 manifest=f"weights: [{{url: 'file:///etc/passwd', sha256: {'a' * 64}}}]"),
        Case(name="asks for more", behaviour="good", does="asks for a terabyte and a year", status=0,
             bound="the protocol's limits stay", manifest="limits: {memory_gb: 1000, wall_s: 9999999}"),
    ],
}  # fmt: skip
ALL = [case for cases in CASES.values() for case in cases]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- cases: python tests/containers/cases.py -->\n", "<!-- end of cases -->\n"


def table() -> str:
    """The cases as Markdown, a table a group."""
    lines = [f"{sum(map(len, CASES.values()))} cases.\n"]
    for group, cases in CASES.items():
        lines += [
            f"\n**{TITLES[group]}**\n",
            "\n| case | what it does | exit | stage | whose fault | bound that held |\n",
        ]
        lines += ["|---|---|--:|---|---|---|\n"]
        for case in cases:
            stage, party = ENDS[case.status]
            cells = (case.name, case.does.replace("|", r"\|"), case.status, stage, party, case.bound)
            lines.append("| " + " | ".join(map(str, cells)) + " |\n")
    return "".join(lines)


def documented(text: str) -> str:
    """The text of docs/security.md with the table as it is now."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOCUMENT.write_text(documented(DOCUMENT.read_text()))
