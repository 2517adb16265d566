"""What a run's report shows of a detector: which classes, sizes and images it gets wrong, how."""
