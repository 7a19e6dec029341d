"""Submission: a stranger's folder -> its checked manifest and its rewritten Dockerfile."""
