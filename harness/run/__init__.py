"""Run: Submission x Inputs -> verified outputs, by a container in the sandbox."""
