"""Every run, whatever its task: check, say what will be done, train, test, report."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from backbones.errors import UserError
from backbones.weights.read import read_checkpoint
from tasks.common.audit.audit import Audit
from tasks.common.data.feature_cache.cache import FillFeatureCache
from tasks.common.machine.machine import peak_memory
from tasks.common.recipe.ema import MovingAverage
from tasks.common.recipe.unfreeze import Unfreezing, check_unfreezing, frozen_stages
from tasks.common.report.clock import Clock, Part, Times
from tasks.common.report.page.blocks import Section
from tasks.common.report.run_folder import new_folder, write_json
from tasks.common.report.terminal import is_quiet, print_facts, print_line, print_scores, quiet
from tasks.common.resume.checkpoints import BEST, LAST, find_start
from tasks.common.resume.continuation import check_resume
from tasks.common.run.audit_only import audit_only, is_audit_only
from tasks.common.run.batch_size import settle_batch_size
from tasks.common.run.callbacks import BestCheckpoint
from tasks.common.run.ending import Ending
from tasks.common.run.fit import fit, validate_rest
from tasks.common.run.loggers import begin, log_pictures
from tasks.common.run.page import begin_folder, end_page, how_it_ended
from tasks.common.run.stopwatch import Stopwatch
from tasks.common.run.task import Outcome, PartsT, RunParts, Task
from tasks.common.run.trainer import build_trainer


def run_task(cfg: DictConfig, task: Task[PartsT], clock: Clock | None = None) -> float:
    """Train, validate and test as ``cfg`` says; return the best validation score.

    With ``quiet`` only warnings and the result are printed.

    With ``audit=only`` nothing is trained and NaN is returned. What is wrong with configuration,
    data or weights is raised before the first step, and before anything is written. Checkpoints are
    kept on an AuditError (what trains is not what the configuration says), on a FloatingPointError
    (a loss is not finite), if something fails after the training (UserError), and on SystemExit.
    ``clock`` has been running since the process was started; by default a new one.
    """
    with quiet(on=cfg.quiet):
        return _run(cfg, task, clock or Clock())


def _run(cfg: DictConfig, task: Task[PartsT], clock: Clock) -> float:
    clock.begin(Part.SETUP)
    only = is_audit_only(cfg.audit)
    if only and cfg.resume is not None:
        raise UserError(
            f"audit=only audits how a run begins, and resume={cfg.resume} goes on with a run, "
            "which is audited as well; leave one of them out."
        )
    folder = new_folder(cfg.run_dir, parent=Path(task.card.NAMES.runs), name=cfg.backbone.name)
    is_auto = cfg.recipe.batch_size == "auto"
    batch_size = settle_batch_size(cfg, task.assemble)
    parts = task.assemble(cfg)
    resume, resumed = _resumed(cfg, parts, task)
    facts = {**task.facts(parts), **({"batch size": str(batch_size)} if is_auto else {}), **resumed}
    if only:
        return audit_only(parts, title=task.title, facts=facts, folder=folder)
    ending = Ending()
    outcome = _carry_out(cfg, parts, task, ending, resume, facts=facts, folder=folder, clock=clock)
    if outcome.is_first:
        _report(outcome, parts, task, ending, clock)
    if ending.faults:
        _fail(outcome, parts, task, ending)
    return outcome.score


def _carry_out(
    cfg: DictConfig,
    parts: PartsT,
    task: Task[PartsT],
    ending: Ending,
    resume: Path | None,
    *,
    facts: Mapping[str, str],
    folder: Path,
    clock: Clock,
) -> Outcome:
    """Train, choose the best checkpoint, test it, and write what every run folder holds."""
    audit, callbacks = run_callbacks(parts, folder)
    setup = parts.setup
    trainer, best, last = build_trainer(
        setup,
        folder=folder,
        monitor=task.monitor,
        shown=task.shown[:2],
        callbacks=callbacks,
        profiler=Stopwatch(clock),
    )
    _announce(cfg, task, trainer, facts=facts, folder=folder)
    if setup.options.compile:
        parts.backbone.compile()
    with _report_on_error(folder, task, is_first=trainer.is_global_zero):
        fit(trainer, parts.module, parts.data, best=best, last=last, resume=resume)
    chosen, checkpoint = _conclude(ending, trainer, parts, best=best, audit=audit, clock=clock)
    steps = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)  # per epoch
    return Outcome(
        folder=folder,
        best=chosen,
        score=float("nan") if best.best_model_score is None else best.best_model_score.item(),
        epoch=-(-checkpoint["global_step"] // steps) if checkpoint else None,
        val=checkpoint.get("keel_scores", {}),
        audit=audit.report,
        images=parts.module.trained * trainer.world_size,
        resumed=resume is not None,
        is_first=trainer.is_global_zero,
        loggers=trainer.loggers,
    )


def _announce(
    cfg: DictConfig, task: Task[PartsT], trainer: Trainer, *, facts: Mapping[str, str], folder: Path
) -> None:
    """Tell the loggers the configuration, begin the run's folder, and print the banner."""
    begin(trainer.loggers, config=OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    if trainer.is_global_zero:
        facts = {**facts, "run folder": str(folder)}
        begin_folder(folder, task, facts=facts, cfg=cfg)
        print_facts(task.title, facts)


@contextmanager
def _report_on_error(folder: Path, task: Task[PartsT], *, is_first: bool) -> Iterator[None]:
    """Write report.html of what is there if training ends early; after an error, curves as well."""
    try:
        yield
    except BaseException as error:
        if is_first:
            ending = Ending()
            if isinstance(error, Exception):
                ending.do("curves.png", partial(_draw, folder, task, epoch=None))
            end = partial(end_page, folder, ended=how_it_ended(error))
            if page := ending.do("report.html", end, brief=True):
                print_line(f"what there is so far: {page}", always=True)
        raise


def _resumed(
    cfg: DictConfig, parts: PartsT, task: Task[PartsT]
) -> tuple[Path | None, dict[str, str]]:
    """Return the checkpoint to go on from, which must fit the run, and the banner's line on it.

    The run takes over what the checkpoint says of the backbone's first weights.
    """
    if cfg.resume is None:
        return None, {}
    checkpoint, fact = find_start(Path(cfg.resume), runs=task.card.NAMES.runs)
    module = parts.module
    module.card = check_resume(
        checkpoint, module.card, settings=module.settings, defaults=task.defaults
    )
    return checkpoint, {"resumed from": fact}


def _conclude(
    ending: Ending,
    trainer: Trainer,
    parts: RunParts,
    *,
    best: BestCheckpoint,
    audit: Audit,
    clock: Clock,
) -> tuple[Path | None, dict[str, Any]]:
    """Validate what is left, test and audit the best checkpoint; return its path and content."""
    module, data = parts.module, parts.data
    ending.do("the last validation", partial(validate_rest, trainer, module, data, best=best))
    if not best.best_model_path:
        return None, {}
    chosen = Path(best.best_model_path)
    score = partial(trainer.test, ckpt_path=str(chosen), verbose=False, weights_only=True)
    with clock.during(Part.TEST):
        ending.do("the test", partial(score, module, data))
    ending.do("the audit", partial(audit.check_kept, module), brief=True)
    read = partial(read_checkpoint, chosen)
    return chosen, ending.do(f"reading {chosen}", read, brief=True) or {}


def run_callbacks(parts: RunParts, folder: Path) -> tuple[Audit, list[Callback]]:
    """Return the audit, and all callbacks in order: the audit sees weights before their average."""
    recipe, backbone, cache = parts.setup.recipe, parts.backbone, parts.data.cache
    count = {"base": backbone.frozen, "stages": len(backbone.stages())}
    check_unfreezing(recipe, **count)
    frozen = partial(frozen_stages, recipe, **count)
    audit = Audit(backbone, frozen, path=folder / "audit.json")
    averages = [MovingAverage(recipe.ema)] if recipe.ema else []
    fill = [FillFeatureCache(cache, workers=parts.loading.processes)] if cache is not None else []
    return audit, [Unfreezing(backbone, frozen, epochs=recipe.epochs), audit, *averages, *fill]


def _report(
    outcome: Outcome, parts: PartsT, task: Task[PartsT], ending: Ending, clock: Clock
) -> None:
    """Write ``metrics.json`` and ``curves.png``, and show what the task shows, each by itself."""
    _write_metrics(outcome, parts, ending, clock)  # for now: what follows may be cut off
    with clock.during(Part.PICTURES):
        draw = partial(_draw, outcome.folder, task, epoch=outcome.epoch)
        ending.do("curves.png", draw, brief=True)
        for show in task.shows if outcome.best is not None else ():
            if parts.scores or not show.scores:
                ending.do(show.what, partial(show.do, parts, outcome))
        sections = _sections(outcome, parts, task, ending)
        pictures = sorted(outcome.folder.glob("*.png"))
        log = partial(log_pictures, outcome.loggers, pictures, epoch=outcome.epoch or 0)
        if not ending.stopped:
            ending.do("logging the pictures", log)
    _write_metrics(outcome, parts, ending, clock)  # for the page
    with clock.during(Part.PICTURES):
        write = partial(end_page, outcome.folder, sections, ended=ending.text)
        page = ending.do("report.html", write, brief=True)
    times = _write_metrics(outcome, parts, ending, clock)
    end = partial(_print_end, outcome, times, page or outcome.folder, monitor=task.monitor)
    ending.do("the last lines", end, brief=True)


def _sections(
    outcome: Outcome, parts: PartsT, task: Task[PartsT], ending: Ending
) -> Sequence[Section]:
    """Return what the task shows in report.html; nothing after a signal, as it takes its time."""
    if outcome.best is None or ending.stopped:
        return ()
    show = partial(task.sections, parts, outcome)
    return ending.do("the task's sections of report.html", show) or ()


def _draw(folder: Path, task: Task[PartsT], *, epoch: int | None) -> None:
    """Write ``curves.png`` of what was logged so far; ``epoch`` is the best one, if it is known."""
    from tasks.common.report.curves import curves_figure, write_figure

    figure = curves_figure(
        folder / "metrics.csv", monitor=task.monitor, best_epoch=epoch, scores=task.shown
    )
    write_figure(figure, folder / "curves.png")


def _write_metrics(outcome: Outcome, parts: RunParts, ending: Ending, clock: Clock) -> Times:
    """Write ``metrics.json``; return the times so far."""
    times = clock.times(images=outcome.images)
    metrics = {
        "scored split": parts.scored,
        "scores": parts.scores or None,
        "val": outcome.val,
        "best epoch": outcome.epoch,
        "audit": outcome.audit,
        **times.record(),
        "peak memory": peak_memory(),
    }
    failed = {"failed": ending.faults} if ending.faults else {}
    write = partial(write_json, outcome.folder / "metrics.json", metrics | failed)
    ending.do("metrics.json", write, brief=True)
    return times


def _print_end(outcome: Outcome, times: Times, page: Path, *, monitor: str) -> None:
    print_scores("Where the time went", ("seconds", "share"), times.rows())
    if times.rate is not None:
        print_line(f"trained on {times.images} images, {times.rate:.3g} a second")
    print_line(f"audit: {outcome.audit}")
    since = " since the run was resumed" if outcome.resumed else ""
    print_line(f"{times.total:.0f} s in all{since}; everything is in {outcome.folder}")
    print_line(f"to look at: {page}")
    if is_quiet():
        best = f"{monitor} {outcome.score:.3f}, " if outcome.best else ""
        print_line(f"{best}{times.total:.0f} s{since}; {page}", always=True)


def _fail(outcome: Outcome, parts: PartsT, task: Task[PartsT], ending: Ending) -> NoReturn:
    failed = "; ".join(f"{what}: {why.rstrip('.')}" for what, why in ending.faults.items())
    folder = outcome.folder / "checkpoints"
    text = f"training has ended, and what follows failed in part ({failed}). "
    if outcome.best is not None and outcome.best.is_file():
        checkpoint = outcome.best
        text += f"The best checkpoint is {checkpoint} ({task.monitor} {outcome.score:.3f}). "
    elif (folder / LAST).is_file():
        checkpoint = folder / LAST
        text += f"There is no {BEST}; the last checkpoint is {checkpoint}. "
    else:
        raise UserError(f"{text}There is no checkpoint in {folder} any more.") from ending.cause
    if not parts.scores:
        command = f"python scripts/evaluate.py {shlex.quote(str(checkpoint))} {task.truth(parts)}"
        text += f"Mend the cause, then score it on {parts.scored} with: {command}"
    else:
        scores = (
            "metrics.json" if "metrics.json" not in ending.faults else "the table of scores above"
        )
        text += f"Its scores on {parts.scored} are in {scores}; all else is in {outcome.folder}."
    if ending.stopped:
        print_line(f"\n{text}", always=True)
        raise SystemExit(128 + ending.stopped) from ending.cause
    raise UserError(text) from ending.cause
