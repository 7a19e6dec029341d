"""Scoring: outputs x labels -> Scorecard, with reference rows (anchors) and pictures."""
