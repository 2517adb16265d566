"""``audit=only``: one step of every phase of a run, on copies, to see what would train."""

import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Final, cast

from backbones import Backbone
from backbones.choose import choose
from tasks.common.audit.audit import Audit
from tasks.common.audit.table import StageRow
from tasks.common.recipe.stages import stages_text
from tasks.common.recipe.unfreeze import Unfreezing, check_unfreezing, phases
from tasks.common.report.run_folder import write_json
from tasks.common.report.terminal import print_facts, print_line, print_scores
from tasks.common.run.task import RunParts
from tasks.common.run.trainer import trial_trainer

_MODES: Final = {"run": False, "only": True}
_COLUMNS: Final = ("tensors", "trainable", "peak lr", "modules in eval mode")


def is_audit_only(mode: str) -> bool:
    """Return whether ``audit`` asks for the audit alone."""
    return choose(_MODES, mode, what="audit")


def audit_only(parts: RunParts, *, title: str, facts: Mapping[str, str], folder: Path) -> float:
    """Take one step on a real batch in every phase of the recipe, on a copy of the network.

    Each step is on one device, and in float32 where the run would scale gradients. Prints a table
    per phase; only ``audit.json`` is written. The score is NaN.
    """
    parts.data.cache = None  # one batch is no reason to fill it
    recipe, backbone = parts.setup.recipe, parts.backbone
    count = {"base": backbone.frozen, "stages": len(backbone.stages())}
    check_unfreezing(recipe, **count)
    print_facts(title, facts)
    records = []
    for epoch, frozen in phases(recipe, **count).items():
        audit = _step(parts, frozen)
        (rows,) = audit.phases
        phase = f"From epoch {epoch + 1} on: {stages_text(frozen)} frozen"
        print_scores(phase, _COLUMNS, {row.stage: _cells(row) for row in rows})
        print_line(f"audit of one step: {audit.report}\n")
        records.append({"first epoch": epoch + 1, **audit.record})
    write_json(folder / "audit.json", {"audit": "only", "phases": records})
    print_line(f"nothing was trained; {folder / 'audit.json'} names every tensor")
    return math.nan


def _step(parts: RunParts, frozen: int) -> Audit:
    names = {id(module): name for name, module in parts.module.named_modules()}
    module = deepcopy(parts.module)
    backbone = cast(Backbone, module.get_submodule(names[id(parts.backbone)]))
    audit = Audit(backbone, lambda _epoch: frozen, path=None)
    where = parts.setup.where
    precision = where.precision.value
    trainer = trial_trainer(
        where,
        steps=1,
        precision="32-true" if precision == "16-mixed" else precision,
        callbacks=[Unfreezing(backbone, lambda _epoch: frozen, epochs=1), audit],
        clip=parts.setup.recipe.clip,
    )
    trainer.fit(module, parts.data)
    return audit


def _cells(row: StageRow) -> tuple[int | str, ...]:
    rate = f"{row.peak_lr:.3g}" if row.trainable else "frozen"
    return row.tensors, row.trainable, rate, len(row.eval_modules)
