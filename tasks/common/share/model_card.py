"""The model card of a shared network: ``README.md`` in the hub's layout."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from backbones.lineage import Lineage
from tasks.common.resume.card import NetworkCard

_TAGS: Final = {"detection": "object-detection", "segmentation": "image-segmentation"}
"""The hub's names of tasks; others have none."""

_LICENCE: Final = (
    "Not stated. The owner of the weights adds it here and as `license:` above, with the licences "
    "of the weights and data in the lineage in mind."
)


def model_card(card: NetworkCard, known: Mapping[str, Mapping[str, Any]], *, usage: str) -> str:
    """Return the text of a model card: data, recipe, scores, audit, lineage, how to use it.

    ``known`` is what `tasks.common.share.network.save_network` knows of the run. The licence is
    left to the user.
    """
    names = card.NAMES
    sections = {
        "Use": f"`pip install keel-backbones`, then:\n\n```python\n{usage}\n```",
        "Data": _data(card),
        "Lineage of the backbone": _table(card.lineage),
        "Recipe": _settings(known.get("keel_run", {})),
        "Scores": "\n\n".join(_scores(known)),
        "Audit": known.get("keel_metrics", {}).get("audit", ""),
        "Licence": _LICENCE,
    }
    head = ["---", "library_name: keel"]
    head += [f"pipeline_tag: {_TAGS[names.task]}"] if names.task in _TAGS else []
    text = "\n".join([*head, "---", "", f"# A {names.noun} with a {card.backbone} backbone"])
    parts = [f"## {title}\n\n{body or 'Not known.'}" for title, body in sections.items()]
    return "\n\n".join([text, *parts]) + "\n"


def _data(card: NetworkCard) -> str:
    runs = [step for step in card.lineage if step.task]
    data = f"Trained on {runs[-1].data}. " if runs and runs[-1].data else ""
    classes = f"{len(card.class_names)} classes: {', '.join(card.class_names)}."
    return f"{data}{classes} {card.images_text}"


def _table(lineage: Lineage) -> str:
    """Return the steps as a table, with their whole hashes."""
    if not lineage:
        return ""
    rows = [
        f"| {s.source or s.task} | {s.data} | {s.date} | {s.keel} | {s.sha256} |" for s in lineage
    ]
    return "\n".join(
        ["| file or run | data | date | Keel | sha256 |", "|---|---|---|---|---|", *rows]
    )


def _settings(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in _flat(settings, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every option as the command line writes it, with its value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"`{prefix}{key}`", value


def _scores(known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    metrics = known.get("keel_metrics", {})
    if scores := metrics.get("scores"):
        yield f"Of the best checkpoint, on {metrics.get('scored split', 'test')}:"
        yield _settings(scores)
    if validation := known.get("keel_scores"):
        yield "Validation, by which the checkpoint was chosen:"
        yield _settings(validation)
