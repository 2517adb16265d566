"""From the items of a data set to batches."""
