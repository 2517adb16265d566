"""The images of the run that a checkpoint is of, if they still lie where they were."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from backbones.errors import UserError

T = TypeVar("T")

_CONFIG: Final = "config.yaml"
# A run folder may come from someone else: its configuration calls nothing but Keel's own readers,
# and resolves nothing.
_READER: Final = re.compile(
    r"tasks\.(detection|segmentation)\.data\.layouts\.(\w+)\.\2_(parts|cases)"
)


def read_run_data(checkpoint: Path, read: Callable[[Any], T]) -> tuple[T | None, str]:
    """Return what ``read`` makes of the run's configuration; or None, and why it cannot be read."""
    config = checkpoint.absolute().parent.parent / _CONFIG
    if not config.is_file():
        return None, f"{checkpoint} lies in no run folder with a {_CONFIG}"
    try:
        cfg = OmegaConf.load(config)
        stated = OmegaConf.to_container(cfg, resolve=False)
        data = stated.get("data") if isinstance(stated, dict) else None
        if fault := _fault(data):
            return None, f"{config}: {fault}"
        return read(cfg), ""
    except InstantiationException as error:
        return None, _unread(error.__cause__ or error)
    except (UserError, OSError, UnicodeError, YAMLError, OmegaConfBaseException) as error:
        return None, _unread(error)


def _unread(error: BaseException) -> str:
    said = str(error).strip().partition("\n")[0]
    return f"the run's data cannot be read: {said.rstrip('.')}"


def _fault(data: Any) -> str:  # noqa: ANN401 (of a YAML file)
    """Return why the group ``data`` of a run's configuration is not read; empty if it is."""
    if not isinstance(data, Mapping):
        return "has no group 'data'"
    texts = list(_texts({key: value for key, value in data.items() if key != "_target_"}))
    if strange := [text for text in texts if "_target_" in text or "${" in text]:
        return f"data holds {strange[0]!r}, which no run writes"
    reader = str(data.get("_target_"))
    if not _READER.fullmatch(reader):
        return f"reads the run's data with {reader!r}, which is not of Keel"
    if ".sample." in reader and not Path(str(data.get("root"))).is_dir():
        return f"root {str(data.get('root'))!r} of the generated set does not exist"  # nor is made
    return ""


def _texts(node: Any) -> list[str]:  # noqa: ANN401 (of any depth)
    """Return every key and every text at any depth."""
    if isinstance(node, Mapping):
        return [text for pair in node.items() for part in pair for text in _texts(part)]
    if isinstance(node, list):
        return [text for value in node for text in _texts(value)]
    return [node] if isinstance(node, str) else []


def drawn(length: int, count: int, *, seed: int) -> list[int]:
    """Return ``count`` of the numbers below ``length``, or all, at random and in order."""
    order = np.random.default_rng(seed).permutation(length)
    return sorted(int(index) for index in order[:count])
