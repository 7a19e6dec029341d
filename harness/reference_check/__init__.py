"""Reference check: a record's values, recomputed by the tools that the field knows.

A reviewer need not trust the harness's arithmetic: clean-fid reads, resizes and batches the images, the networks of
torch-fidelity, open_clip and efficientnet_lite_pytorch extract features, clean-fid and torchmetrics compute the
distances, torchmetrics and scikit-image the image metrics. Data and labels are built from the protocol that lies beside
the record.

Importing it raises UsageError where the packages of the extra `audit` are not installed.
"""

from importlib.util import find_spec

from harness.base.errors import UsageError

for module, package in (
    ("torch_fidelity", "torch-fidelity"),
    ("efficientnet_lite_pytorch", "efficientnet_lite_pytorch"),
):
    if find_spec(module) is None:
        raise UsageError(
            f"harness audit needs the package {package}, which is not installed",
            fix=f"pip install {package}, or in a checkout: pip install -c constraints.txt -e '.[audit]'",
        )
