"""What MkDocs does beside rendering `docs/`: pages from the code, links out of it, and a check.

MkDocs calls the functions that begin with ``on_`` by name.
"""

import logging
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = "docs/"

ELSEWHERE: Final = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md")
"""Pages of the site that are not in `docs/`; they keep their paths."""

MADE: Final = (
    "reference/options-detector.md",
    "reference/options-segmenter.md",
    "reference/commands.md",
)
"""Pages that are made from the code."""

ASSETS: Final = ("iframe-worker.js", "tables.css")

SCRIPTS: Final = ("predict", "evaluate", "report", "export", "inspect_backbone", "benchmark")

_CODE: Final = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_NAMED: Final = re.compile(r"\bdocs/([\w-]+)\.md")
_LINK: Final = re.compile(r"(\]\(\s*<?)([^)\s>#]+)")
_LOADED: Final = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\ssrc=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|next|prev)\b)[^>]*?\shref=[\"']?"
    r"((?:https?:)?//[^\"'\s>]+)"
    r"|(?:@import\s+[\"']|url\([\"']?)((?:https?:)?//[^\"')]+)"
)
_log = logging.getLogger("mkdocs.hooks.pages")  # its warnings are errors with --strict


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 (of MkDocs, which tests may lack)
    """Add the pages that are made or lie elsewhere, and what lies in this folder."""
    from mkdocs.structure.files import File

    for name in ELSEWHERE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for name, text in made().items():
        files.append(File.generated(config, name, content=text))
    for name in ASSETS:
        path = Path(__file__).with_name(name)
        files.append(File.generated(config, f"assets/{name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:  # noqa: ANN401 (as above)
    """Let links between `docs/` and other folders lead to the pages of the site."""
    path = page.file.src_uri
    return relinked(markdown, path if path in ELSEWHERE else DOCS + path)


def on_post_page(output: str, page: Any, **_: Any) -> None:  # noqa: ANN401 (as above)
    """Warn of what a page loads from the network."""
    for address in loaded(output):
        _log.warning("%s loads %s; the site is to work from disk.", page.file.src_uri, address)


def relinked(markdown: str, path: str) -> str:
    """Return a page with its links as the site has them; ``path`` is that of its file."""
    here = posixpath.dirname(path.removeprefix(DOCS)) or "."

    def moved(found: re.Match[str]) -> str:
        if ":" in found[2]:
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2]))
        return found[1] + posixpath.relpath(target.removeprefix(DOCS), here)

    parts = _CODE.split(markdown)
    return "".join(part if k % 2 else _LINK.sub(moved, part) for k, part in enumerate(parts))


def loaded(html: str) -> list[str]:
    """Return the addresses in the network that a browser fetches when it shows a page."""
    return ["".join(found) for found in _LOADED.findall(html)]


def made() -> Mapping[str, str]:
    """Return the pages that are made from the code, by path."""
    from tasks.common.run.options_page import options_page
    from tasks.detection.config import DETECTION
    from tasks.segmentation.config import SEGMENTATION

    options = (options_page(training) for training in (DETECTION, SEGMENTATION))
    linked = [_NAMED.sub(r"[\1](../\1.md)", text) for text in options]
    texts = *linked, commands_page()
    return dict(zip(MADE, texts, strict=True))


def commands_page() -> str:
    """Return what the scripts beside those for training say of themselves."""
    lines = [
        "# Scripts",
        "",
        "What `--help` of each script prints. The options of the training scripts have pages of "
        "their own: [train_det.py](options-detector.md), [train_seg.py](options-segmenter.md).",
        "",
    ]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    for name in SCRIPTS:
        command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), "--help"]
        done = subprocess.run(  # noqa: S603 (our own scripts)
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        lines += [f"## `{name}.py`", "", "```text", done.stdout.rstrip(), "```", ""]
    return "\n".join(lines)
