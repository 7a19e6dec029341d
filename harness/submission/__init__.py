"""Submission: a folder of a stranger's -> its manifest, checked; its Dockerfile, rewritten."""
