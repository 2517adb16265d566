"""The checkpoints of a run: the best one, and the last one that is whole, to go on from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from backbones.errors import UserError
from backbones.names import WEIGHTS
from tasks.common.files.paths import contents, listed

BEST: Final = "best.ckpt"
LAST: Final = "last.ckpt"
PREVIOUS: Final = "previous.ckpt"  # the one before `LAST`, kept until the training has ended


def find_start(wanted: Path, *, runs: str = "runs/<task>") -> tuple[Path, str]:
    """Return the checkpoint to go on from, and the text for the banner.

    A file is taken as it is; in a run folder last.ckpt, or previous.ckpt if last.ckpt is damaged.
    """
    if not wanted.exists() and (wanted.name != LAST or not wanted.parent.is_dir()):
        raise FileNotFoundError(
            f"resume={wanted}: no such run folder or checkpoint; give the folder of a run, "
            f"such as {runs}/<run>. {contents(wanted)}"
        )
    if wanted.is_file() and wanted.name != LAST:
        return wanted, str(wanted)
    folder = wanted.parent
    if wanted.is_dir():  # a run folder, or its folder of checkpoints
        folder = wanted if saved_in(wanted) else wanted / "checkpoints"
    faults: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists() and _is_whole(path):
            return path, ", because ".join([str(path), *faults])
        faults.append(f"{path.name} is {'damaged' if path.exists() else 'missing'}")
    best = folder / BEST
    advice = f"resume={best} goes on after the best epoch" if best.is_file() else "start a new run"
    if any((folder / name).exists() for name in (LAST, PREVIOUS)):
        raise UserError(f"resume={wanted}: in {folder} {' and '.join(faults)}; {advice}.")
    if best.is_file():
        raise FileNotFoundError(f"resume={wanted}: there is no {LAST} in {folder}; {advice}.")
    raise FileNotFoundError(f"resume={wanted}: {_instead(wanted, folder)}")


def find_checkpoint(wanted: Path, *, names: Sequence[str] = (BEST,)) -> Path:
    """Return a checkpoint's path, or the first of ``names`` in the checkpoints of a run folder.

    For a folder of ``save_pretrained`` it is its weight file; so for ``hf:owner/name``, a
    repository of the hub with such files, which are downloaded.
    """
    if (text := str(wanted)).startswith("hf:"):
        from backbones.weights.locate import locate  # which imports torch

        return locate(text, name="").path
    if not wanted.exists():
        raise FileNotFoundError(f"no checkpoint or run folder {str(wanted)!r}. {contents(wanted)}")
    if not wanted.is_dir():
        return wanted
    for folder in (wanted / "checkpoints", wanted):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    if (wanted / WEIGHTS).is_file():
        return wanted / WEIGHTS
    runs = sorted(best.parents[1].name for best in wanted.glob(f"*/checkpoints/{BEST}"))
    others = sorted(wanted.glob("**/*.ckpt")) if not runs else []
    more = f"; it holds the runs {listed(runs)}" if runs else ""
    more += f"; there is {listed([str(other) for other in others])}" if others else ""
    raise FileNotFoundError(
        f"{wanted} is no run folder with checkpoints/{' or '.join(names)}{more}. Give a checkpoint "
        f"or the folder of one run. {contents(wanted)}"
    )


def saved_in(folder: Path) -> list[Path]:
    """Return the checkpoints that a folder of a run has, the one to go on from first."""
    return [folder / name for name in (LAST, PREVIOUS, BEST) if (folder / name).is_file()]


def _instead(wanted: Path, folder: Path) -> str:
    """Return what a folder without checkpoints holds, and what to do."""
    folders = [entry for entry in wanted.iterdir() if entry.is_dir()] if wanted.is_dir() else []
    if runs := sorted(entry.name for entry in folders if saved_in(entry / "checkpoints")):
        return f"that is no run but a folder of {len(runs)}, such as {listed(runs[-3:])}; give one."
    return (
        f"there is no checkpoint in {folder}. The run was stopped before it saved one, they were "
        f"deleted, or this is no run folder: give the folder of another run. {contents(folder)}"
    )


def _is_whole(path: Path) -> bool:
    """Return whether every byte is as it was written, which torch.load does not check."""
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except OSError:
        raise
    except Exception:  # damage shows in a dozen ways
        return False
