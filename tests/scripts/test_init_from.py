"""``init_from``: a run that begins with a whole detector, as a user starts it."""

import pytest

from tests.scripts.conftest import in_process


@pytest.fixture
def begin(trained, detection, tmp_path, monkeypatch):
    """A function that starts a run without its own weights from the trained detector."""
    monkeypatch.setenv("COLUMNS", "300")

    def begin(*options):
        line = detection.line(tmp_path / "x", f"init_from={trained[0]}", *options)
        line.remove("backbone.weights=random")
        in_process("train_det.py", line, tmp_path, with_hydra=True)  # which knows what was given

    return begin


def test_a_run_begins_with_a_detector_and_says_so(begin, trained, capsys):
    begin("backbone.norm=auto", "audit=only")
    printed = capsys.readouterr().out
    path = trained[0] / "checkpoints" / "best.ckpt"
    assert f"weights         init_from {path}; its backbone began with random" in printed
    assert f"begins with     the whole of {path}; classes kept: disk, square, triangle;" in printed
    assert "norm            batch (that of init_from)" in printed
    assert "frozen          stem, c2 (of loaded weights)" in printed


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("backbone.weights=imagenet", r"and so does backbone\.weights; leave one of them out"),
        ("resume={run}", r"init_from is '.*', the checkpoint's is None"),
    ],
)
def test_init_from_and_what_contradicts_it_is_refused(begin, trained, option, message):
    with pytest.raises(SystemExit, match=message):
        begin(option.format(run=trained[0]))
