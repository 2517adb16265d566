"""The page of a run, from its folder and what its task adds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tasks.common.report.page.blocks import Page, Section
from tasks.common.report.page.write import write_page
from tasks.common.report.run_page.origin import origin_section
from tasks.common.report.run_page.record import RunRecord
from tasks.common.report.run_page.results import (
    curves_section,
    overview,
    scores_section,
    subtitle,
)
from tasks.common.report.run_page.training import (
    freezing_section,
    time_section,
    weights_section,
)

PAGE_FILE: Final = "report.html"


def write_run_page(folder: Path, sections: Sequence[Section] = ()) -> Path:
    """Write a run's report.html into its folder, from what is there; return its path.

    ``sections`` are what only the task can show, such as pictures of what it finds.
    """
    path = folder / PAGE_FILE
    write_page(run_page(RunRecord.read(folder), sections), path)
    return path


def run_page(run: RunRecord, sections: Sequence[Section] = ()) -> Page:
    """Return the page of a run, with its task's ``sections`` behind the first."""
    found = [
        overview(run),
        *sections,
        scores_section(run),
        curves_section(run),
        freezing_section(run),
        weights_section(run),
        time_section(run),
        origin_section(run),
    ]
    shown = [section for section in found if section is not None]
    return Page(title=run.name, subtitle=subtitle(run), sections=shown)
