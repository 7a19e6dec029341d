"""Pipeline: the stages in order."""
