"""Where entries are kept."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from backbones.errors import UserError
from tasks.common.data.feature_cache.entry import Entry, Place
from tasks.common.files.atomic import replacing
from tasks.common.machine.memory import free_memory


class MemoryStore:
    """Keeps entries in this process, those of one key at a time."""

    def __init__(self) -> None:
        self._entries: dict[Place, Entry] = {}
        self._key = ""

    def select(self, key: str) -> None:
        """Hold the entries of a key from now on; loaders know the store already."""
        if key != self._key:
            self._key, self._entries = key, {}

    def __contains__(self, place: Place) -> bool:
        return place in self._entries

    def __getitem__(self, place: Place) -> Entry:
        return self._entries[place]

    def put(self, place: Place, entry: Entry) -> None:
        """Keep an entry."""
        self._entries[place] = entry

    def room(self) -> int:
        """Return how many bytes are free; no limit where the system does not say."""
        free = free_memory()
        return sys.maxsize if free is None else free


class DiskStore:
    """Keeps an entry per file, whole or not at all, in a folder per key that is made with it."""

    def __init__(self, root: Path) -> None:
        self.root = self.folder = root

    def select(self, key: str) -> None:
        """Read and write in the folder of a key."""
        self.folder = self.root / key

    def __contains__(self, place: Place) -> bool:
        return self._path(place).exists()

    def __getitem__(self, place: Place) -> Entry:
        path, entry = self._path(place), Entry({}, {})
        try:
            content = load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is damaged ({error}); delete it and resume.") from error
        for key, tensor in content.items():
            part, _, name = key.partition(".")
            (entry.features if part == "features" else entry.truth)[name] = tensor
        return entry

    def put(self, place: Place, entry: Entry) -> None:
        """Write an entry."""
        parts = entry._asdict().items()
        content = {f"{part}.{name}": t for part, values in parts for name, t in values.items()}
        with replacing(self._path(place)) as partial:
            save_file(content, partial)

    def room(self) -> int:
        """Return how many bytes are free on the disk."""
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        return shutil.disk_usage(there).free

    def _path(self, place: Place) -> Path:
        view, index = place
        return self.folder / str(view) / f"{index}.safetensors"


class NoStore(MemoryStore):
    """Keeps nothing: computes an entry every time it is read, so none is ever missing."""

    def __init__(self, compute: Callable[[Place], Entry]) -> None:
        super().__init__()
        self._compute = compute

    def __contains__(self, place: Place) -> bool:
        return True

    def __getitem__(self, place: Place) -> Entry:
        return self._compute(place)


Store = MemoryStore | DiskStore
