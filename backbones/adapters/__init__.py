"""Our backbones as other frameworks want them, and theirs as ours: a file per framework."""
