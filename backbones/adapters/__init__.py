"""Plugs into other frameworks: nobody imports them but who needs them, by name."""
