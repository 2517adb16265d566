"""From a checkpoint to a file that other programs run, compared before it is accepted."""
