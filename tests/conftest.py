"""One thread, no network, a fixed seed: every test starts from the same state."""

import atexit
import gc
import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["KEEL_OFFLINE"] = "1"

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # two threads are far slower as soon as anything else runs
gc.disable()  # what is collected stays: looking through it for garbage takes a fifth of the time


def pytest_collection_finish():
    gc.freeze()
    atexit.register(gc.unfreeze)  # as in tasks.common.run.imports.no_garbage
    gc.enable()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of a real data set beside the project; a test without its set skips."""

    def folder(name):
        found = Path(__file__).parents[2] / "shared" / "data" / name
        if not found.is_dir():
            pytest.skip(f"the real data set {name} is not beside the project")
        return found

    return folder
