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
from torch.optim import Optimizer

from backbones import Backbone
from tasks.common.audit.gather import alike
from tasks.common.audit.gradients import felt_gradients
from tasks.common.audit.ledger import (
    StageLine,
    digest,
    faults,
    group_lines,
    listed,
    named_tensors,
    norm_names,
    phase_text,
    stage_lines,
    stage_of_names,
)
from tasks.common.recipe.stages import STAGES
from tasks.common.report.run_folder import write_json
from tasks.common.report.terminal import print_line


class AuditError(ValueError):
    """What trains is not what the configuration says."""


class Audit(Callback):
    """Checks what is frozen and what trains, at every point where it can go wrong.

    A phase begins with the first batch, and where stages are unfrozen. Then every parameter must
    be in one group, the stages that ought to be frozen must be so and in eval mode, and those that
    were frozen until now must have the bits they began with. After the first step of a phase every
    other parameter must have a gradient. At the end all that is frozen must have the bits it began
    with, and every tensor that had a gradient must have moved. One whose gradient was always 0,
    such as that of a class that no batch had, may stay; it is reported.

    What the tensors were at the start, as fingerprints, goes through checkpoints, so that a
    resumed run is compared with the weights that the first one loaded.

    Args:
        backbone: Whose stages are frozen.
        frozen: How many of them ought to be in an epoch, from 0.
        path: Of ``audit.json``; None writes none.

    Attributes:
        phases: What trained in each phase, a line per stage.
        record: The contents of ``audit.json``.
        report: What was seen, in one line, once training has ended.
    """

    def __init__(
        self, backbone: Backbone, frozen: Callable[[int], int], *, path: Path | None
    ) -> None:
        self.backbone = backbone
        self.frozen = frozen
        self.path = path
        self.phases: list[list[StageLine]] = []
        self.report = "training did not end"
        self._start: dict[str, str] = {}
        self._felt: set[str] = set()  # names of parameters that had a gradient other than 0
        self._cold = -1  # stages that are frozen in this phase; below 0 before the first
        self._first = False  # whether a phase's first step is still to come
        self._starts = False  # whether an epoch's first step is still to come
        self._rates: list[float] = []  # of the groups, if this batch ends with a step
        self.record: dict[str, Any] = {"phases": [], "failures": []}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run has to know."""
        told = {"start": self._start, "felt": sorted(self._felt), "frozen": self._cold}
        return {**told, "phases": self.record["phases"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._start, self._felt = dict(state_dict["start"]), set(state_dict["felt"])
        self._cold = state_dict["frozen"]
        if not self.record["phases"]:  # else training has ended, and its best checkpoint is tested
            self.record["phases"] = list(state_dict["phases"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Take the fingerprints of every tensor, unless a checkpoint had them."""
        if not self._start:
            self._start = {n: digest(t) for n, t in named_tensors(pl_module).items()}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Look at the first step; an epoch that is resumed in its middle has had it."""
        self._starts = True

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ANN401, ARG002 (Lightning's signature)
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Begin a phase where one begins.

        Raises:
            AuditError: If something is not as it ought to be.
        """
        cold = self.frozen(trainer.current_epoch)
        if self.phases and cold == self._cold:
            return
        optimizer = trainer.optimizers[0]
        wrong = list(faults(pl_module, self.backbone, optimizer, frozen=cold))
        wrong += self._moved(pl_module, STAGES[: max(self._cold, cold)])
        lines = stage_lines(pl_module, self.backbone, optimizer)
        self.phases.append(lines)
        if cold != self._cold or not self.record["phases"]:  # else a resumed run goes on in one
            self.record["phases"].append(
                {
                    "first epoch": trainer.current_epoch + 1,
                    "first step": trainer.global_step + 1,
                    "frozen": list(STAGES[:cold]),
                    "stages": [asdict(line) for line in lines],
                    "groups": group_lines(pl_module, optimizer),
                }
            )
        self._cold, self._first = cold, True
        self._settle(wrong, when=f"before the first step of {_epoch(trainer)}")
        if trainer.is_global_zero and self.path is not None:
            print_line(f"audit: {phase_text(trainer.current_epoch, cold, lines)}")

    def on_before_optimizer_step(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        optimizer: Optimizer,
    ) -> None:
        """Remember the learning rates: the schedule goes on before the batch ends."""
        self._rates = [float(group["lr"]) for group in optimizer.param_groups]

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401, ARG002 (Lightning's signature)
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Look at the gradients of an epoch's first step, if some parameter has not had one yet.

        Raises:
            AuditError: If after the first step of a phase a parameter has none, or a tensor moved
                that is frozen, or did not move that ought to.
        """
        rates, self._rates = self._rates, []
        if not rates:
            return
        starts, self._starts = self._starts, False
        waiting = _trainable(pl_module).keys() - self._felt
        if not (self._first or (starts and waiting)):
            return
        after = f"after the first step of {_epoch(trainer)}"
        without = [n for n, p in _trainable(pl_module).items() if p.grad is None]
        if self._first and without:
            self._settle([_no_gradient(without)], when=after)
        felt = felt_gradients(_trainable(pl_module), trainer.optimizers[0], rates, waiting)
        if felt is None:  # the gradient scaler has left this step out
            self._starts = starts
            return
        if starts:  # a run in one go does not look where a resumed one begins
            self._felt |= felt
        if self._first:
            self._first = False
            self._settle(self._still_or_moved(pl_module), when=after)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare what is frozen with what it was.

        Raises:
            AuditError: If it moved.
        """
        if wrong := self._moved(pl_module, self._frozen_names):
            self._settle(wrong, when=f"at the end of {_epoch(trainer)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare every tensor with what it was.

        Raises:
            AuditError: If one that is frozen moved, or one that had a gradient did not.
        """
        now = {name: digest(tensor) for name, tensor in named_tensors(pl_module).items()}
        stages = stage_of_names(pl_module, self.backbone)
        cold = [name for name in now if stages[name] in self._frozen_names]
        norms = [name for name in norm_names(pl_module) if name not in cold]
        trained = _trainable(pl_module)
        still = sorted(n for n in trained if now[n] == self._start[n])
        self.record["compared"] = {
            "frozen throughout": {name: now[name] for name in cold},
            "frozen norms of other stages": {name: now[name] for name in sorted(norms)},
            "trained": len(trained),
            "did not move": still,
        }
        self.report = (
            f"{', '.join(self._frozen_names)}: {len(cold)} tensors, none moved"
            if cold
            else "nothing was frozen to the end"
        )
        if norms:
            self.report += f"; {len(norms)} of frozen norms beyond them, none moved"
        self.report += f"; {len(trained) - len(still)} of {len(trained)} trained tensors moved"
        if trainer.world_size > 1:
            self.report += f", alike in {trainer.world_size} processes"
        if still:
            self.report += f" ({listed(still)} had no gradient that could move it)"
        self.record["report"] = self.report
        wrong = self._still_or_moved(pl_module)
        if not alike([now[name] for name in trained]):
            wrong.append(
                "the processes have different weights; use trainer.strategy=ddp, or report this as "
                "a defect of Keel"
            )
        self._settle(wrong, when="at the end")

    def check_kept(self, module: nn.Module) -> None:
        """Compare what is frozen to the end with the start once more, in weights that were loaded.

        Raises:
            AuditError: If a tensor differs, or training ended without a verdict.
        """
        wrong = self._moved(module, self._frozen_names)
        if "report" not in self.record:
            wrong.append(
                "training ended before it could be audited; report this as a defect of Keel"
            )
        self._settle(wrong, when="of the best checkpoint")

    @property
    def _frozen_names(self) -> tuple[str, ...]:
        return STAGES[: max(0, self._cold)]

    def _moved(self, module: nn.Module, stages: Iterable[str]) -> list[str]:
        """Return what to say of tensors of frozen stages and norms that are not what they were."""
        names, tensors = stage_of_names(module, self.backbone), named_tensors(module)
        stages, norms = set(stages), norm_names(module)
        frozen = [n for n in names if names[n] in stages or n in norms]
        moved = [n for n in frozen if digest(tensors[n]) != self._start[n]]
        if not moved:
            return []
        return [
            f"{len(moved)} of {len(frozen)} frozen tensors moved: {listed(moved)}; look for "
            "code that writes to them, or report this as a defect of Keel"
        ]

    def _still_or_moved(self, module: nn.Module) -> list[str]:
        """Return what to say of frozen tensors that moved and of others that ought to have."""
        trained = _trainable(module)
        felt = [name for name in trained if name in self._felt]
        still = [name for name in felt if digest(trained[name]) == self._start[name]]
        wrong = self._moved(module, self._frozen_names)
        if still:
            wrong.append(
                f"{len(still)} of {len(trained)} trained tensors had a gradient and did not move: "
                f"{listed(still)}; look for code that writes them back"
            )
        return wrong

    def _settle(self, wrong: list[str], *, when: str) -> None:
        """Write ``audit.json``, and stop the run if something is wrong."""
        self.record["failures"] += wrong
        if self.path is not None:
            _write(self.path, self.record)
        if wrong:
            raise AuditError(f"audit {when}: {'; '.join(wrong)}. Nothing is trained any further.")


@rank_zero_only
def _write(path: Path, record: dict[str, Any]) -> None:
    write_json(path, record)


def _epoch(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}"


def _trainable(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in named_tensors(module).items() if tensor.requires_grad}


def _no_gradient(names: list[str]) -> str:
    return (
        f"{len(names)} parameters ought to train and got no gradient: {listed(names)}; the loss "
        "does not depend on them. Freeze their stage with backbone.freeze, take them out of the "
        "network, or look for a detach() on the way"
    )
