"""How sure a score is, and whether two scores differ: resampled images, intervals, paired tests."""
