from __future__ import annotations

import pytest

from harness.base.errors import ContainerError
from harness.engines import Exit
from harness.run.failures import raise_for
from harness.sandbox import Limits


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
    ended = Exit(
        code=1,
        timed_out=False,
        out_of_memory=False,
        output_full=False,
        seconds=1.0,
        first_output_s=None,
        peak_memory_bytes=None,
        log="",
        stderr=f"Traceback (most recent call last):\n{last_line}\n",
    )
    with pytest.raises(ContainerError) as caught:
        raise_for(ended, device="cpu", limits=Limits(), quote=True)
    assert advice in caught.value.fix
