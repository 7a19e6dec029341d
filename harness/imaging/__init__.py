"""Image operations on plain arrays: tomography, masks, blends, weak denoisers, regions."""
