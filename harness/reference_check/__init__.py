"""Reference check: a record's values computed anew by the tools that everybody knows.

A reviewer need not trust the harness's arithmetic: images are read, resized and batched by clean-fid, features made by
torch-fidelity's and open_clip's networks, distances computed by clean-fid and torchmetrics, image metrics by
torchmetrics and scikit-image. Data and labels are built from the protocol that lies beside the record.
"""
