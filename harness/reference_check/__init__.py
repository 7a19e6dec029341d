"""Reference check: a record's values, recomputed by the tools that the field knows.

A reviewer need not trust the harness's arithmetic: clean-fid reads, resizes and batches the images, the networks of
torch-fidelity and open_clip extract features, clean-fid and torchmetrics compute the distances, torchmetrics and
scikit-image the image metrics. Data and labels are built from the protocol that lies beside the record.
"""
