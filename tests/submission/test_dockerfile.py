from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import BuildError, ImagePolicyError, SubmissionError
from harness.submission.dockerfile import rewrite

BASE = "ipv2-harness/base:1"
USUAL = "ARG BASE_IMAGE=python:3.11-slim-bookworm\nFROM ${BASE_IMAGE}\n"


def checked(text: str, *, allowed: tuple[str, ...] = ()) -> str:
    return rewrite(text, allowed={BASE, *allowed}, arguments={"BASE_IMAGE": BASE})


# -------------------------------------------------------------------------------- what is written
def test_one_instruction_a_line_and_from_resolved() -> None:
    text = (
        "# a comment\r\n\n  arg BASE_IMAGE=python:3.11\n"
        "from   $BASE_IMAGE as build\n"
        "RUN true \\\n    # within\n\n    && echo '# not a comment' \\  \n  && false\n"
        "FROM scratch\n\tCOPY --from=build --chown=1:1 /a /b\n"
        'CMD ["python3", "/a b.py"]'
    )
    assert checked(text) == (
        "ARG BASE_IMAGE=python:3.11\n"
        f"FROM {BASE} AS build\n"
        "RUN true     && echo '# not a comment'   && false\n"
        "FROM scratch\nCOPY --from=build --chown=1:1 /a /b\n"
        'CMD ["python3", "/a b.py"]\n'
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM ipv2-harness/base:1", f"FROM {BASE}"),
        ("ARG TAG='1'\nFROM ipv2-harness/base:${TAG}", f"FROM {BASE}"),
        ("FROM scratch AS a\nFROM a", "FROM a"),
        ("FROM scratch\nFROM scratch\nCOPY --from=0 /a /", "COPY --from=0 /a /"),
        ("FROM scratch\nCOPY --from=other@sha256:0a /a /", "COPY --from=other@sha256:0a /a /"),
        ("FROM scratch\nCOPY [\"a b\", \"/\"]", 'COPY ["a b", "/"]'),
        ("FROM scratch\nRUN echo $((1<<4))", "RUN echo $((1<<4))"),
        ("FROM scratch\nENV A=\\\n  b", "ENV A=  b"),
        ("\ufeffFROM scratch", "FROM scratch"),
        ("FROM scratch\nRUN a \\", "RUN a"),
    ],
)  # fmt: skip
def test_what_is_allowed(text: str, line: str) -> None:
    assert line in checked(text, allowed=("other@sha256:0a",)).splitlines()


# -------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM debian", "FROM debian: that image is not allowed"),
        ("FROM ipv2-harness/base:1@sha256:00", "not allowed"),
        ("FROM ipv2-harness/base", "not allowed"),
        ("FROM IPV2-harness/base:1", "not allowed"),
        ("FROM scra\\\ntch AS a\nFROM deb\\\nian", "FROM debian"),
        ("ARG X=debian\nFROM $X", "FROM debian"),
        ("ARG X=debian\nFROM ${X}", "FROM debian"),
        ("ARG X\nFROM $X", "FROM: that image"),
        ("FROM ${X:-debian}", "not allowed"),
        ("ARG A=debian\nARG X=${A}\nFROM $X", "FROM ${A}"),
        ("FROM --platform=linux/arm64 scratch", "this flag is not allowed"),
        ("FROM scratch AS a\nFROM b", "FROM b"),
        ("FROM 0", "FROM 0"),
        ("FROM scratch\nFROM 0", "FROM 0"),
        # a stage that is being written is not one that can be copied from: the engine would look for an image
        ("FROM scratch AS debian\nCOPY --from=debian /a /", "COPY --from=debian"),
        ("FROM scratch\nCOPY --from=0 /a /", "COPY --from=0"),
        ("FROM scratch\nCOPY --from=debian /a /", "COPY --from=debian"),
        ("FROM scratch\nCOPY --chown=1 --from=debian /a /", "COPY --from=debian"),
        ("FROM scratch\nCOPY \\\n # x\n --from=debian /a /", "COPY --from=debian"),
        ("FROM scratch\nCOPY --from=scratch /a /", "COPY --from=scratch"),
        ("FROM scratch\nCOPY --from=$X /a /", "flag is not allowed"),
        ('FROM scratch\nCOPY --fr"om=debian" /a /', "flag is not allowed"),
        ("FROM scratch\nCOPY --fro\\m=debian /a /", "flag is not allowed"),
        ("FROM scratch\nCOPY --link /a /", "flag is not allowed"),
        ("FROM scratch\nRUN --mount=type=bind,from=debian true", "flag is not allowed"),
        ("FROM scratch\nRUN --mount=type=secret,id=x true", "flag is not allowed"),
        ("FROM scratch\nRUN --security=insecure true", "flag is not allowed"),
        ("FROM scratch\nRUN --network=host true", "flag is not allowed"),
        ("FROM scratch\nADD https://example.org/x /x", "ADD is not allowed"),
        ("FROM scratch\nADD git@example.org:a/b.git /x", "ADD is not allowed"),
        ("FROM scratch\nadd x.tar.gz /x", "ADD is not allowed"),
        ("FROM scratch\nONBUILD COPY --from=debian / /", "ONBUILD is not allowed"),
        ("# syntax=evil/frontend\nFROM scratch", "parser directives"),
        ("#!/bin/sh\n#SynTax = evil/frontend\nFROM scratch", "parser directives"),
        ("\ufeff# escape=`\nFROM scratch", "parser directives"),
        ("FROM scratch\nRUN <<EOF\nFROM debian\nEOF", "here-documents"),
        ("FROM scratch\nCOPY <<'EOF' /x\nEOF", "here-documents"),
        ("FROM scratch\nRUN cat 3<<-EOF", "here-documents"),
    ],
)
def test_what_is_not_allowed_is_the_policys_refusal(text: str, said: str) -> None:
    with pytest.raises(ImagePolicyError) as caught:
        checked(text)
    assert said in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no FROM"),
        ("# nothing", "has no FROM"),
        ("RUN true\nFROM scratch", "before the first FROM"),
        ("FROM scratch\nNOSUCH thing", "unknown instruction"),
        ("FROM scratch\nRUN", "RUN has no arguments"),
        ("FROM scratch\nRUN true \\\\\nFROM debian", "two backslashes"),
        ("FROM scratch\nCOPY \u00a0--from=debian /a /", "unusual blanks"),
        ("FROM scratch\nRUN a\x0cFROM debian", "control characters"),
        ("FROM scratch\nRUN a\rFROM debian", "control characters"),
        ("FROM scratch\nRUN a\u2028FROM debian", "control characters"),
        ("FROM scratch AS", "expected FROM image"),
        ("FROM scratch AS Upper", "cannot name a stage"),
        ("FROM scratch AS scratch", "cannot name a stage"),
        ("FROM scratch AS a\nFROM scratch AS a", "cannot name a stage"),
        ("ARG 1=2\nFROM scratch", "expected ARG name"),
        ("FROM scratch\n" + "RUN true\n" * 200, "more than 200"),
        ("FROM scratch\nRUN " + "x" * 70_000, "larger than 64 kB"),
    ],
)
def test_what_is_no_dockerfile_does_not_build(text: str, said: str) -> None:
    with pytest.raises(BuildError) as caught:
        checked(text)
    assert said in caught.value.message


def test_a_message_quotes_neither_escapes_nor_long_lines() -> None:
    with pytest.raises(SubmissionError) as caught:
        checked("FROM scratch\n" + "\x1b[31mEVIL " + "x" * 500)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 250


# -------------------------------------------------------------------------------- laws
piece = st.sampled_from(
    ["FROM ", "from\t", "COPY ", "--from=", "RUN ", "ARG ", "ADD ", "# ", "#syntax=", "\\", "\\\n", "\n", "\r\n", " ",
     "\t", "scratch", "debian", "a", "0", "$", "${X}", "X=", " AS ", "<<", "--", '"', "\u00a0", "\x85", BASE]
)  # fmt: skip
some_text = st.lists(piece, max_size=30).map("".join) | st.text(max_size=60)


@given(some_text)
def test_any_text_is_refused_or_holds_allowed_images_only(text: str) -> None:
    try:
        written = checked(USUAL + text)
    except SubmissionError:
        return
    # read by the plainest of readers, which knows no comment, no continuation and no variable
    for line in written.removesuffix("\n").split("\n"):
        assert line.isprintable() or "\t" in line
        assert not line.endswith("\\")
        word, rest = line.split(" ", 1)
        assert re.fullmatch("[A-Z]+", word)
        assert word not in ("ADD", "ONBUILD")
        if word == "FROM":
            assert rest.split(" ")[0] in {BASE, "scratch", *re.findall(r"AS (\S+)", written)}
        if word == "COPY" and (source := re.search(r"--from=(\S*)", rest.split(" /")[0])):
            assert source[1] != "debian" or "AS debian" in written


@given(some_text)
def test_the_result_is_a_fixed_point(text: str) -> None:
    try:
        written = checked(USUAL + text)
    except SubmissionError:
        return
    assert checked(written) == written


@given(st.lists(st.sampled_from(["a", "--b", "'c d'", "#e", "f=g"]), min_size=1, max_size=8), st.data())
def test_continuations_and_comments_change_nothing(words: list[str], data: st.DataObject) -> None:
    joints = st.sampled_from([" ", " \\\n", " \\ \t\n\n", " \\\n# note \\\n", "\\\r\n "])
    # a word that begins with # after a line break would be a comment
    broken = "".join(
        word + (" " if after.startswith("#") else data.draw(joints))
        for word, after in zip(words, [*words[1:], "#"], strict=True)
    )
    plain = checked(f"{USUAL}RUN x {' '.join(words)}\n").split()
    assert checked(f"{USUAL}RUN x {broken}\n").split() == plain
