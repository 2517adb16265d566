"""Figures of Keel beside those of other systems; not part of the installed packages."""
