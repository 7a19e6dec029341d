"""Labels: slice pairs -> purified test labels and training pairs, and a report on their quality."""
