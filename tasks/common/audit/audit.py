"""The proof, in every run, of what was frozen and what was trained."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from backbones import Backbone
from backbones.errors import UserError
from tasks.common.audit.gather import alike
from tasks.common.audit.table import (
    StageRow,
    digest,
    faults,
    group_rows,
    listed,
    moved_by_gradient,
    named_tensors,
    norm_names,
    phase_text,
    stage_of_names,
    stage_rows,
)
from tasks.common.recipe.stages import STAGES
from tasks.common.report.run_folder import write_json
from tasks.common.report.terminal import print_line


class AuditError(UserError):
    """What trains is not what the configuration says."""


class Audit(Callback):
    """Checks what is frozen and what trains, at every point where it can go wrong.

    A phase begins with the first batch, and whenever stages are unfrozen. It is checked four times:

    * before its first step: every parameter is in one group of the optimiser; the stages to be
      frozen are frozen and in eval mode, and no bit of those frozen until now has changed;
    * after its first step: every other parameter has a gradient;
    * after each epoch: no bit of a frozen tensor has changed;
    * at the end: the same, and every tensor that had a gradient has moved. One whose gradient was
      always 0, such as that of a class without a box, may stay; it is reported.

    Hashes of all tensors at the start go through checkpoints, so that a resumed run is compared
    with the weights that the first one loaded. ``frozen`` returns how many stages should be frozen
    in an epoch, counted from 0. `record` is written to ``path``, unless that is None.
    """

    def __init__(
        self, backbone: Backbone, frozen: Callable[[int], int], *, path: Path | None
    ) -> None:
        self.backbone = backbone
        self.frozen = frozen
        self.path = path
        self.phases: list[list[StageRow]] = []
        self.report = "training did not end"
        self.record: dict[str, Any] = {"phases": [], "failures": []}
        self._start: dict[str, str] = {}  # hashes
        self._with_gradient: set[str] = set()  # names that had a gradient which could move them
        self._count = -1  # stages frozen in this phase; below 0 before the first
        self._phase_begins = False  # the phase's first step is still to come
        self._epoch_begins = False  # the epoch's first step is still to come
        self._rates: list[float] = []  # of the groups, if this batch ends with a step

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run has to know; the keys are those of earlier versions."""
        return {
            "start": self._start,
            "felt": sorted(self._with_gradient),
            "frozen": self._count,
            "phases": self.record["phases"],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._start, self._count = dict(state_dict["start"]), state_dict["frozen"]
        self._with_gradient = set(state_dict["felt"])
        if not self.record["phases"]:  # else training has ended, and its best checkpoint is tested
            self.record["phases"] = list(state_dict["phases"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Hash every tensor, unless a checkpoint had the hashes."""
        if not self._start:
            self._start = {n: digest(t) for n, t in named_tensors(pl_module).items()}

    def on_train_epoch_start(self, *_: object) -> None:
        """Note that the epoch's first step is to come; a resumed epoch has had it."""
        self._epoch_begins = True

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *_: object
    ) -> None:
        """Begin a phase where one begins."""
        count = self.frozen(trainer.current_epoch)
        if self.phases and count == self._count:
            return
        optimizer = trainer.optimizers[0]
        wrong = list(faults(pl_module, self.backbone, optimizer, frozen=count))
        wrong += self._changed(pl_module, STAGES[: max(self._count, count)])
        rows = stage_rows(pl_module, self.backbone, optimizer)
        self.phases.append(rows)
        if count != self._count or not self.record["phases"]:  # else a resumed run goes on in one
            self.record["phases"].append(
                {
                    "first epoch": trainer.current_epoch + 1,
                    "first step": trainer.global_step + 1,
                    "frozen": list(STAGES[:count]),
                    "stages": [asdict(row) for row in rows],
                    "groups": group_rows(pl_module, optimizer),
                }
            )
        self._count, self._phase_begins = count, True
        self._settle(wrong, when=f"before the first step of {_epoch(trainer)}")
        if trainer.is_global_zero and self.path is not None:
            print_line(f"audit: {phase_text(trainer.current_epoch, count, rows)}")

    def on_before_optimizer_step(self, trainer: Trainer, *_: object) -> None:
        """Remember the learning rates: the schedule goes on before the batch ends."""
        self._rates = [float(group["lr"]) for group in trainer.optimizers[0].param_groups]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Look at the gradients of an epoch's first step, if some parameter has had none yet."""
        rates, self._rates = self._rates, []
        if not rates:
            return
        epoch_begins, self._epoch_begins = self._epoch_begins, False
        trained = _trainable(pl_module)
        waiting = trained.keys() - self._with_gradient
        if not (self._phase_begins or (epoch_begins and waiting)):
            return
        after = f"after the first step of {_epoch(trainer)}"
        without = [name for name, p in trained.items() if p.grad is None]
        if self._phase_begins and without:
            self._settle([_no_gradient(without)], when=after)
        moved = moved_by_gradient(trained, trainer.optimizers[0], rates, waiting)
        if moved is None:  # the gradient scaler has left this step out
            self._epoch_begins = epoch_begins
            return
        if epoch_begins:  # only here, as a resumed run may begin within the epoch
            self._with_gradient |= moved
        if self._phase_begins:
            self._phase_begins = False
            self._settle(self._wrong(pl_module), when=after)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare what is frozen with the start."""
        if wrong := self._changed(pl_module, self._frozen_names):
            self._settle(wrong, when=f"at the end of {_epoch(trainer)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare every tensor with the start."""
        now = {name: digest(tensor) for name, tensor in named_tensors(pl_module).items()}
        self._compare(pl_module, now, processes=trainer.world_size)
        wrong = self._wrong(pl_module)
        if not alike([now[name] for name in _trainable(pl_module)]):
            wrong.append(
                "the processes have different weights; use trainer.strategy=ddp, or report this as "
                "a defect of Keel"
            )
        self._settle(wrong, when="at the end")

    def check_kept(self, module: nn.Module) -> None:
        """Compare what is frozen to the end with the start, in the best checkpoint's weights."""
        wrong = self._changed(module, self._frozen_names)
        if "report" not in self.record:
            wrong.append(
                "training ended before it could be audited; report this as a defect of Keel"
            )
        self._settle(wrong, when="of the best checkpoint")

    def _compare(self, module: nn.Module, now: dict[str, str], *, processes: int) -> None:
        """Record which tensors differ from the start, and put it into one line."""
        stages = stage_of_names(module, self.backbone)
        frozen = [name for name in now if stages[name] in self._frozen_names]
        norms = sorted(name for name in norm_names(module) if name not in frozen)
        trained = _trainable(module)
        same = sorted(name for name in trained if now[name] == self._start[name])
        self.record["compared"] = {
            "frozen throughout": {name: now[name] for name in frozen},
            "frozen norms of other stages": {name: now[name] for name in norms},
            "trained": len(trained),
            "did not move": same,
        }
        self.report = "nothing was frozen to the end"
        if frozen:
            self.report = f"{', '.join(self._frozen_names)}: {len(frozen)} tensors, none moved"
        if norms:
            self.report += f"; {len(norms)} of frozen norms beyond them, none moved"
        self.report += f"; {len(trained) - len(same)} of {len(trained)} trained tensors moved"
        if processes > 1:
            self.report += f", alike in {processes} processes"
        if same:
            self.report += f" ({listed(same)} had no gradient that could move it)"
        self.record["report"] = self.report

    @property
    def _frozen_names(self) -> tuple[str, ...]:
        return STAGES[: max(0, self._count)]

    def _changed(self, module: nn.Module, stages: Iterable[str]) -> list[str]:
        """Return a phrase if tensors of these stages or of frozen norms differ from the start."""
        stage_of, tensors = stage_of_names(module, self.backbone), named_tensors(module)
        stages, norms = set(stages), norm_names(module)
        frozen = [name for name in tensors if stage_of[name] in stages or name in norms]
        changed = [name for name in frozen if digest(tensors[name]) != self._start[name]]
        if not changed:
            return []
        return [
            f"{len(changed)} of {len(frozen)} frozen tensors moved: {listed(changed)}; look for "
            "code that writes to them, or report this as a defect of Keel"
        ]

    def _wrong(self, module: nn.Module) -> list[str]:
        """Return phrases on frozen tensors that changed, and on trained ones that did not."""
        trained = _trainable(module)
        having = [name for name in trained if name in self._with_gradient]
        same = [name for name in having if digest(trained[name]) == self._start[name]]
        wrong = self._changed(module, self._frozen_names)
        if same:
            wrong.append(
                f"{len(same)} of {len(trained)} trained tensors had a gradient and did not move: "
                f"{listed(same)}; look for code that writes them back"
            )
        return wrong

    def _settle(self, wrong: list[str], *, when: str) -> None:
        """Write ``audit.json``, and stop the run if something is wrong."""
        self.record["failures"] += wrong
        if self.path is not None:
            rank_zero_only(write_json)(self.path, self.record)
        if wrong:
            raise AuditError(f"audit {when}: {'; '.join(wrong)}. Nothing is trained any further.")


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}"


def _trainable(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in named_tensors(module).items() if tensor.requires_grad}


def _no_gradient(names: list[str]) -> str:
    return (
        f"{len(names)} parameters should train and got no gradient: {listed(names)}; the loss "
        "does not depend on them. Freeze their stage with backbone.freeze, take them out of the "
        "network, or look for a detach() on the way"
    )
