"""What several processes found is scored once."""

from functools import partial

import pytest
import torch
from torch import multiprocessing

from tasks.common.audit.gather import score_together


def total(results):
    return {"total": sum(results.values()), "keys": sorted(results)}


def test_one_process_scores_what_it_found():
    assert not torch.distributed.is_initialized()
    assert score_together({"a": 1, "b": 2}, total) == {"total": 3, "keys": ["a", "b"]}
    assert score_together({}, total) == {"total": 0, "keys": []}


def process(rank, folder):
    """Both processes saw ``b``; the second must not score."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    results = [{"a": 1, "b": 2}, {"b": 2, "c": 4}][rank]

    def score(found):
        (folder / f"scored by {rank}").touch()
        return total(found)

    torch.save(score_together(results, score), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_get_the_scores_of_all_and_count_doubles_once(tmp_path):
    multiprocessing.spawn(partial(process, folder=tmp_path), nprocs=2)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == {"total": 7, "keys": ["a", "b", "c"]}
    assert [path.name for path in tmp_path.glob("scored*")] == ["scored by 0"]
