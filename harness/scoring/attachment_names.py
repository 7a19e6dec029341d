"""The files of a record beside `record.json`: their names, and which of them stay with it in version control."""

from __future__ import annotations

FEATURES = "features.npz"  # of the outputs, for checking distances without the images
SLICES = "slices.csv.xz"  # image metrics of every slice
LONG_SLICES = "slices.csv.gz"  # the same in older records, one value a line
SPECTRA = "spectra.json"  # mean noise power spectra
PICTURES = "pictures.json"  # which slices the pictures show
STRIP = "strip.webp"  # one small picture: the same lung of every row
PREVIEW = "preview.png"  # two slices, in records older than the strip
PICTURE_SUFFIXES = (".webp", ".png")

SMALL = frozenset({SLICES, LONG_SLICES, SPECTRA, PICTURES, STRIP})
"""What lies in the record's folder, and so in version control. All else lies in the attachment store."""
