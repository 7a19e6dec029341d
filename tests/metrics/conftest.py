from harness.features import _torchvision  # noqa: F401 -- cleanfid and torchmetrics import torchvision
