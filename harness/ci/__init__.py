"""CI: a pull request's submissions, checked, run apart from the labels, and scored."""
