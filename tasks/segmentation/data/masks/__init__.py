"""From what a mask file stores to classes."""
