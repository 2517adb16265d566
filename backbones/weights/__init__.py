"""A tag, a file or an address in, a loaded backbone out."""
