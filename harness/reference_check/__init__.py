"""Reference check: a record's values computed anew by the tools that everybody knows.

A reviewer need not trust the harness's arithmetic: images are read, resized and batched by clean-fid, features made by
torch-fidelity's and open_clip's networks, distances computed by clean-fid and torchmetrics, image metrics by
torchmetrics and scikit-image. Data and labels are built from the protocol that lies beside the record.

Importing it raises UsageError where the packages of the extra `audit` are not installed.
"""

from importlib.util import find_spec

from harness.base.errors import UsageError

if find_spec("torch_fidelity") is None:
    raise UsageError(
        "harness audit needs the package torch-fidelity, which is not installed",
        fix="pip install 'ipv2-harness[audit]', or in a checkout: pip install -c constraints.txt -e '.[audit]'",
    )
