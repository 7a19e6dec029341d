"""Importing: folders of real scans (DICOM, NIfTI, MetaImage, arrays, 16-bit images) -> a data set in Hounsfield units.

find -> choose -> arrange and match -> check -> write. A file's values become HU only by what the file or the user
states; what is not stated is asked for, and what does not look like HU is refused.
"""
