"""Board: records -> ranking -> tables."""
