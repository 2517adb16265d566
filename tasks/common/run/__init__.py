"""From a command to a finished run."""
