"""Interchangeable layers: norms and convolutions."""
