"""What is said of a failed run, and what of it is withheld where a protocol publishes no logs."""

from __future__ import annotations

import pytest

from harness.base.errors import ContainerError, SubmissionError
from harness.engines import Exit
from harness.run.failures import WITHHELD, raise_for, withheld
from harness.sandbox import Limits


def of_a_run(kind: type[SubmissionError]) -> list[type[SubmissionError]]:
    own = [kind] if kind.stage in ("run", "outputs") else []
    return own + [one for below in kind.__subclasses__() for one in of_a_run(below)]


def test_every_error_of_a_run_has_words_of_its_own() -> None:
    assert set(WITHHELD) == set(of_a_run(SubmissionError))
    assert len(set(WITHHELD.values())) == len(WITHHELD)


@pytest.mark.parametrize("kind", WITHHELD)
def test_nothing_that_a_container_chose_is_left(kind: type[SubmissionError]) -> None:
    told = withheld(kind("exit status 42: 'pixels-9f8e.png' has 77 x 88 pixels", fix="pixels"))
    assert type(told) is kind
    assert (told.exit_code, told.stage, told.code) == (kind.exit_code, kind.stage, kind.code)
    assert not any(word in told.message + told.fix for word in ("42", "pixels", "77", "png"))
    assert told.message == withheld(kind("something else")).message


def test_the_end_of_a_container_is_told_with_its_last_words() -> None:
    ended = Exit(
        code=3,
        timed_out=False,
        out_of_memory=False,
        output_full=False,
        seconds=1.0,
        first_output_s=None,
        peak_memory_bytes=None,
        log="",
        stderr="first\n\x1b[31mlast words\x1b[0m\n",
    )
    with pytest.raises(ContainerError, match="ended with exit status 3: last words"):
        raise_for(ended, device="cpu", limits=Limits())
