"""Our backbones in other frameworks, one framework a file or folder.

No other source of ours imports an adapter, so that nobody needs all frameworks. Users import them
by name; `build_backbone` finds timm's by the entry point of ``pyproject.toml``.
"""
