"""Comparisons of scores: a run of Keel beside the same run with a part of another system."""
