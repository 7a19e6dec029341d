"""Reference check: a record's values, recomputed by the tools that the field knows.

A reviewer need not trust the harness's arithmetic: clean-fid reads, resizes and batches the images, the networks of
torch-fidelity and open_clip extract features, clean-fid and torchmetrics compute the distances, torchmetrics and
scikit-image the image metrics. Data and labels are built from the protocol that lies beside the record.

Importing it raises UsageError where the packages of the extra `audit` are not installed.
"""

from importlib.util import find_spec

from harness.base.errors import UsageError

if find_spec("torch_fidelity") is None:
    raise UsageError(
        "harness audit needs the package torch-fidelity, which is not installed",
        fix="pip install torch-fidelity, or in a checkout: pip install -c constraints.txt -e '.[audit]'",
    )
