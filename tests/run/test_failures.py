"""What is said of a failed run, and what of it is withheld where a protocol publishes no logs."""

from __future__ import annotations

import pytest

from harness.base.errors import ContainerError, ImagePolicyError, SubmissionError
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


def test_what_happened_before_a_container_started_is_told() -> None:
    refused = ImagePolicyError("the image cannot be started: no WORKDIR", fix="correct it")
    assert withheld(refused) is refused


def ended(stderr: str) -> Exit:
    return Exit(
        code=3,
        timed_out=False,
        out_of_memory=False,
        output_full=False,
        seconds=1.0,
        first_output_s=None,
        peak_memory_bytes=None,
        log="",
        stderr=stderr,
    )


def test_the_end_of_a_container_is_told_with_its_last_words() -> None:
    with pytest.raises(ContainerError, match="ended with exit status 3: last words"):
        raise_for(ended("first\n\x1b[31mlast words\x1b[0m\n"), device="cpu", limits=Limits())


@pytest.mark.parametrize(
    ("last_line", "advice"),
    [
        # what Pillow 13 and PyTorch 2.13 say of float arrays, of (1, h, w), of a tensor of a GPU or with a gradient
        ("OSError: cannot write mode F as PNG", "np.uint8(np.clip"),
        ("TypeError: Cannot handle this data type: (1, 1, 512), |u1", "squeeze()"),
        (
            "TypeError: can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to ...",
            "detach().cpu().numpy()",
        ),
        ("RuntimeError: Can't call numpy() on Tensor that requires grad.", "detach().cpu().numpy()"),
        ("RuntimeError: No CUDA GPUs are available", "HARNESS_DEVICE"),
        ("ModuleNotFoundError: No module named 'monai'", "wheel"),
        ("ValueError: too many values to unpack", "correct the program"),
    ],
)
def test_usual_slips_are_answered_with_what_helps(last_line: str, advice: str) -> None:
    with pytest.raises(ContainerError) as caught:
        raise_for(ended(f"Traceback (most recent call last):\n{last_line}\n"), device="cpu", limits=Limits())
    assert advice in caught.value.fix
