from harness.base import torchvision_shim  # noqa: F401 -- cleanfid and torchmetrics import torchvision
