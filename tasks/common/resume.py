"""The checkpoint that a run goes on from: the last one that is whole."""

from pathlib import Path
from typing import Final
from zipfile import ZipFile

LAST: Final = "last.ckpt"
PREVIOUS: Final = "previous.ckpt"
"""The one before `LAST`, kept until the training has ended."""


def find_start(wanted: Path) -> tuple[Path, str]:
    """Return the checkpoint to go on from, and what to say of it.

    That is the one before where the last is damaged, or was not put in place any more.

    Args:
        wanted: A checkpoint; or a run folder, for its last one.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If all there is is damaged; it says what can be done.
    """
    folder = wanted / "checkpoints" if wanted.is_dir() else wanted.parent
    if not wanted.is_dir() and wanted.name != LAST:
        if not wanted.is_file():
            raise FileNotFoundError(
                f"resume={wanted}: no such run folder or checkpoint; give the folder of a run, "
                "such as runs/detection/<run>."
            )
        return wanted, str(wanted)
    faults: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists() and _is_whole(path):
            return path, ", because ".join([str(path), *faults])
        faults.append(f"{path.name} is {'damaged' if path.exists() else 'missing'}")
    if not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        raise FileNotFoundError(
            f"resume={wanted}: there is no {LAST} in {folder}. The run was stopped before it saved "
            "one, or this is no run folder; give a checkpoint or the folder of a run."
        )
    best = folder / "best.ckpt"
    hope = f"resume={best} goes on after the best epoch" if best.is_file() else "start a new run"
    raise ValueError(f"resume={wanted}: in {folder} {' and '.join(faults)}; {hope}.")


def _is_whole(path: Path) -> bool:
    """Return whether every byte is as it was written, which torch.load does not look at."""
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except OSError:
        raise
    except Exception:  # damage shows in a dozen ways
        return False
