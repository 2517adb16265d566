"""How fast, beside the systems that Keel replaces; ``scripts/benchmark.py`` runs it."""
