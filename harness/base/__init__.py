"""Base: what every other room stands on. It knows nothing about labels, runs or records."""
