"""What a submission's Dockerfile may say, and the rewritten Dockerfile that the engine gets in its place.

Parsers of Dockerfiles differ in comments, continuations and blanks, and a check that reads a file differently from the
engine is worthless. So the engine never sees the original: `rewrite` writes one instruction per line, without comments
or continuations, every FROM resolved. It contains nothing that we did not understand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from harness.base.errors import BuildError, ImagePolicyError
from harness.base.text import sanitise, shortened
from harness.sandbox import MAX_INSTRUCTIONS

MAX_BYTES = 64 * 1024

SCRATCH = "scratch"  # Docker's name for an empty image

# Missing on purpose: ONBUILD, and ADD, which fetches URLs and unpacks archives in the engine, beyond any limit.
INSTRUCTIONS = frozenset(
    {"FROM", "ARG", "RUN", "COPY", "ENV", "WORKDIR", "USER", "LABEL", "EXPOSE", "VOLUME", "CMD", "ENTRYPOINT"}
    | {"SHELL", "STOPSIGNAL", "HEALTHCHECK", "MAINTAINER"}
)

FLAGS = {
    "COPY": r"--(from=[\w./:@-]+|chown=[\w.:-]+)",
    "HEALTHCHECK": r"--(interval|timeout|start-period|retries)=[\w.]+",
}

INSTEAD = {
    "ADD": "use COPY, unpack archives with RUN, and declare weights in submission.yaml",
    "ONBUILD": "write the instruction itself",
}


def rewrite(text: str, *, allowed: Collection[str], arguments: Mapping[str, str]) -> str:
    """Check a Dockerfile and rewrite it, one instruction per line.

    FROM and COPY --from take an earlier stage, a name that is exactly one of `allowed`, or, FROM only, `scratch`.
    Variables in FROM are filled in from `arguments`, else from the ARG lines before the first FROM. The result is a
    fixed point: rewriting it changes nothing.

    ImagePolicyError for what is not allowed, BuildError for what does not parse.
    """
    if len(text.encode()) > MAX_BYTES:
        raise BuildError(f"Dockerfile: larger than {MAX_BYTES // 1024} kB", fix="put scripts into files and COPY them")
    lines: list[str] = []
    ends: list[str] = []  # the names of finished stages, "" for one without
    current: str | None = None  # the current stage; None before the first FROM
    given: dict[str, str] = {}
    volumes = False  # whether a VOLUME came before
    for instruction, rest in _instructions(text):
        flags, words = _split_flags(instruction, rest)
        if instruction == "FROM":
            if current is not None:
                ends.append(current)
            image, current = _stage(words, taken=ends)
            image = _filled(image, given | dict(arguments))
            if image != SCRATCH and image not in ends:
                _check_allowed(image, allowed, f"FROM {image}")
            rest = f"{image} AS {current}" if current else image
        elif instruction == "ARG" and current is None:
            given |= dict([_argument(rest)])
        elif current is None:
            raise BuildError(f"Dockerfile: {instruction} comes before the first FROM", fix="begin with FROM")
        elif instruction == "RUN" and volumes:  # what it writes there goes to the host's disk, past every bound
            raise ImagePolicyError(
                f"Dockerfile: {_shown(f'RUN {rest}')}: comes after a VOLUME", fix="put the VOLUME lines last"
            )
        volumes = volumes or instruction == "VOLUME"
        for flag in flags:
            if flag.startswith("--from="):
                _check_source(flag.removeprefix("--from="), ends, allowed)
        lines.append(f"{instruction} {rest}")
        if len(lines) > MAX_INSTRUCTIONS:
            raise BuildError(f"Dockerfile: more than {MAX_INSTRUCTIONS} instructions", fix="join RUN lines with &&")
    if current is None:
        raise BuildError("Dockerfile: has no FROM", fix="begin with ARG BASE_IMAGE and FROM ${BASE_IMAGE}")
    return "\n".join(lines) + "\n"


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """(name, arguments) of each instruction: comments and empty lines dropped, continued lines joined."""
    whole, begun = "", False
    for line in [*text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"), None]:
        if line is not None:
            if line.strip(" \t").startswith("#"):
                if not begun and re.match(r"[#\s]*(syntax|escape)\s*=", line, re.IGNORECASE):
                    raise ImagePolicyError(
                        f"Dockerfile: {_shown(line)}: parser directives are not allowed", fix="remove that line"
                    )
                continue
            if not line.strip(" \t"):
                continue
            begun = True
            if line.rstrip(" \t").endswith("\\"):
                whole += line.rstrip(" \t")[:-1]
                if whole.endswith("\\"):
                    raise BuildError(
                        f"Dockerfile: {_shown(whole)}: ends in two backslashes", fix="put a blank between them"
                    )
                continue
            whole += line
        if whole.strip(" \t"):
            yield _instruction(whole.strip(" \t"))
        whole = ""


def _instruction(line: str) -> tuple[str, str]:
    if not line.replace("\t", " ").isprintable():
        raise BuildError(
            f"Dockerfile: {_shown(line)}: contains control characters or unusual blanks", fix="remove them"
        )
    word, _, rest = line.replace("\t", " ").partition(" ")
    instruction, rest = word.upper(), line[len(word) :].strip(" \t")
    if instruction in INSTEAD:
        raise ImagePolicyError(f"Dockerfile: {_shown(line)}: {instruction} is not allowed", fix=INSTEAD[instruction])
    if instruction not in INSTRUCTIONS:
        raise BuildError(f"Dockerfile: {_shown(line)}: unknown instruction", fix="correct that line")
    if not rest:
        raise BuildError(f"Dockerfile: {instruction} has no arguments", fix="complete that line")
    if rest.endswith("\\"):
        raise BuildError(f"Dockerfile: {_shown(line)}: ends in a backslash", fix="complete that line")
    if instruction in ("RUN", "COPY") and re.search(r"(^|\s)\d*<<-?\s*['\"]?\w", rest):
        raise ImagePolicyError(
            f"Dockerfile: {_shown(line)}: here-documents are not allowed", fix="put the text into a file and COPY it"
        )
    return instruction, rest


def _split_flags(instruction: str, rest: str) -> tuple[list[str], list[str]]:
    """The flags of an instruction, all of which are allowed, and the words after them."""
    words = rest.split()
    flags = []
    while words and words[0].startswith("--"):
        flag = words.pop(0)
        if not re.fullmatch(FLAGS.get(instruction, r"(?!)"), flag, re.ASCII):
            raise ImagePolicyError(
                f"Dockerfile: {instruction} {_shown(flag)}: this flag is not allowed",
                fix="leave it out: the image is built for the engine's own platform, by its classic builder",
            )
        flags.append(flag)
    return flags, words


def _stage(words: list[str], *, taken: Collection[str]) -> tuple[str, str]:
    """(image, name of the stage or "") of a FROM line."""
    if len(words) == 1:
        return words[0], ""
    if len(words) != 3 or words[1].upper() != "AS":
        raise BuildError(
            f"Dockerfile: FROM {_shown(' '.join(words))}: expected FROM image or FROM image AS name",
            fix="correct that line",
        )
    name = words[2]
    if not re.fullmatch(r"[a-z][a-z0-9_.-]*", name) or name == SCRATCH or name in taken:
        raise BuildError(
            f"Dockerfile: {_shown(name)} cannot name a stage, or names one already",
            fix="use lower-case letters, digits, - and _, and each name once",
        )
    return words[0], name


def _argument(rest: str) -> tuple[str, str]:
    name, _, value = rest.partition("=")
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise BuildError(
            f"Dockerfile: ARG {_shown(rest)}: expected ARG name or ARG name=value", fix="correct that line"
        )
    return name, value.strip("\"'")


def _filled(image: str, values: Mapping[str, str]) -> str:
    """An image's name with its variables replaced; those that are not set stay, and are refused later."""
    return re.sub(
        r"\$(?:\{(\w+)\}|(\w+))", lambda found: values.get(found[1] or found[2], found[0]), image, flags=re.ASCII
    )


def _check_source(name: str, ends: list[str], allowed: Collection[str]) -> None:
    """ImagePolicyError unless COPY --from may read `name`: a finished stage by number or name, or an allowed image."""
    if name in ends or (re.fullmatch(r"[0-9]{1,3}", name) and int(name) < len(ends)):
        return
    _check_allowed(name, allowed, f"COPY --from={name}")


def _check_allowed(image: str, allowed: Collection[str], what: str) -> None:
    if image not in allowed:
        raise ImagePolicyError(
            f"Dockerfile: {_shown(what)}: that image is not allowed (allowed: {', '.join(sorted(allowed))})",
            fix="begin with ARG BASE_IMAGE and FROM ${BASE_IMAGE} (or TORCH_IMAGE), submit an image archive, or ask "
            "the organiser to allow the image (HARNESS_BUILD_IMAGES)",
        )


def _shown(text: str) -> str:
    return shortened(sanitise(text).strip(), 100)
