"""Records: Scorecard + circumstances -> a record, written once and verified on reading."""
