"""The sections of a run's report that are about a segmenter's results."""

from collections.abc import Mapping

from tasks.common.report.page.blocks import Block, Section, Text
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.options import InputOptions
from tasks.segmentation.report.gallery import worst_cases
from tasks.segmentation.report.loss import why_worst
from tasks.segmentation.report.tables import case_table, class_table, dice_plot
from tasks.segmentation.scores.metrics import Scores, summarise
from tasks.segmentation.scores.worst import Worst


def segmenter_sections(
    split: CaseSet,
    cases: Mapping[str, Scores] | None,
    worst: Worst,
    *,
    name: str,
    options: InputOptions,
    tolerance: float,
    unit: str,
) -> list[Section]:
    """Return the sections on the scores of a split's cases; the split is called ``name``.

    ``cases`` are None if the split was not scored; ``tolerance``, of NSD, is in ``unit``, as the
    images' spacing. Images of the ``worst`` cases are read again with ``options``.
    """
    if not cases:
        text = f"The best checkpoint was not scored on {name}, so there are no results to show."
        return [Section(title="Results", blocks=[Text(paragraphs=[text])])]
    summary = summarise(cases, split.classes)
    why = why_worst(cases, summary, tolerance=tolerance, unit=unit)
    classes: list[Block] = [Text(paragraphs=why), class_table(cases, summary, unit=unit)]
    if (plot := dice_plot(cases, summary)) is not None:
        classes.append(plot)
    images: Block = Text(paragraphs=["No case has an error."])
    if worst:
        images = worst_cases(worst, split, options, of=len(cases))
    intro = f"On {name}: {len(cases)} cases."
    return [
        Section(title="Classes", blocks=classes, intro=intro),
        Section(title="Cases", blocks=[case_table(cases, summary, patients=split.patients)]),
        Section(title="Worst images", blocks=[images]),
    ]
