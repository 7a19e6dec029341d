"""Base: what every other room stands on. It knows nothing of slices' meaning, of labels or of records."""
