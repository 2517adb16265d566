"""The options of a run that belong to no group."""

from dataclasses import dataclass

from tasks.common.options.limits import Options, checked, choice, is_integer


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options, group=""):
    """What to run, and where it begins and ends.

    Attributes:
        resume: A run folder or checkpoint of a stopped run, which goes on where it stopped; give
            the options of that run.
        init_from: A run folder or checkpoint of the same task, whose backbone a new run begins
            with, and whose heads where the classes agree.
        run_dir: The folder to write, by default runs/<task>/<time>_<backbone>.
        seed: Seed of all random numbers: the same seed gives the same run on the same machine.
        audit: Whether to train, or only to see what would be trained: ``only`` takes one step of
            each phase on copies, says what would train, and ends.
        on_bad_image: What to do about files that are missing or damaged, or images that are too
            narrow for the detector: ``error`` ends the run before it begins, ``skip`` leaves them
            out.
        logger: Where losses, scores and pictures are logged beside the run folder's own files:
            ``tensorboard`` in the run folder; ``mlflow`` at the server in MLFLOW_TRACKING_URI, or
            in the folder mlruns; ``wandb`` as WANDB_MODE says, such as offline; ``none``.
        quiet: Whether to print warnings and the result only.
    """

    resume: str | None = None
    init_from: str | None = None
    run_dir: str | None = None
    seed: int = checked(
        0, "an integer from 0 to 2**32 - 1", lambda value: is_integer(value) and 0 <= value < 2**32
    )
    audit: str = choice("run", ("run", "only"))
    on_bad_image: str = choice("error", ("error", "skip"))
    logger: str = choice("tensorboard", ("tensorboard", "mlflow", "wandb", "none"))
    quiet: bool = False
