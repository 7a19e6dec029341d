"""Labels: slice pairs -> purified test labels and training pairs, and whether they are any good."""
