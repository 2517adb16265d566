"""The proof of the freezing."""
