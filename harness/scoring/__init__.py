"""Scoring: outputs x labels -> Scorecard, with the reference rows and pictures beside it."""
