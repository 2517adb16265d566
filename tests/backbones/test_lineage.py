"""What weights went through: read from files, extended by each file and each run."""

import hashlib
from dataclasses import asdict

import pytest

from backbones.lineage import Step, lineage_of, lineage_text, read_from

RUN = Step(task="detection", data="bccd", date="2026-11-28", keel="0.1.0")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    return path, hashlib.sha256(b"weights").hexdigest()


def test_a_file_gives_its_hash_to_the_run_that_wrote_it_or_becomes_a_step(file):
    path, sha256 = file
    (run,) = read_from((RUN,), path, label=str(path))
    assert (run.task, run.sha256) == ("detection", sha256)
    again = read_from((run,), path, label=str(path))
    assert again == (run, Step(source="best.ckpt", sha256=sha256))
    for label, source in ((str(path), "best.ckpt"), ("hf:owner/name@v1", "hf:owner/name@v1")):
        assert read_from((), path, label=label) == (Step(source=source, sha256=sha256),)


def test_the_banner_names_every_step_in_order():
    first = Step(source="resnet18.pth", sha256="f37072fd00")
    text = "resnet18.pth (sha256 f37072fd) -> detection on bccd (2026-11-28)"
    assert lineage_text((first, RUN)) == text
    assert lineage_text((RUN,)) == "random initialisation -> detection on bccd (2026-11-28)"
    assert lineage_text(()) == "random initialisation"


def test_plain_values_come_back_and_what_is_none_is_left_out():
    assert lineage_of([asdict(RUN)]) == (RUN,)
    assert lineage_of([{"source": "a", "later": "b"}]) == (Step(source="a"),)
    for odd in (None, "text", 7, [7], [{"source": 7}], {"source": "a"}):
        assert lineage_of(odd) == ()
