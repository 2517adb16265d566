"""What a run's report shows of a segmenter: which classes and cases it gets wrong, and how."""
