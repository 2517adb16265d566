"""``init_from``: a run that begins with a whole detector, as a user starts it."""

import pytest


def without_weights(command, *arguments):
    return [argument for argument in command(*arguments) if "backbone.weights" not in argument]


def test_a_run_begins_with_a_detector_and_says_so(
    trained, root, tmp_path, command, in_process, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "300")
    run, _ = trained
    options = f"init_from={run}", "backbone.norm=auto", "audit=only"
    line = without_weights(command, root, tmp_path / "x", *options)
    in_process("train_det.py", line, tmp_path, with_hydra=True)
    printed = capsys.readouterr().out
    path = run / "checkpoints" / "best.ckpt"
    assert f"weights         init_from {path}; its backbone began with random" in printed
    assert f"begins with     the whole of {path}; classes kept: disk, square, triangle;" in printed
    assert "norm            batch (that of init_from)" in printed
    assert "frozen          stem, c2 (of loaded weights)" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["backbone.weights=imagenet"], r"and so does backbone\.weights; leave one of them out"),
        (["backbone.weights=random"], r"and so does backbone\.weights; leave one of them out"),
        (["resume={run}"], r"init_from is '.*', the checkpoint's is None"),
        (["model.head_width=64"], r"model\.head_width is 64, its own 256\. Nothing was loaded"),
    ],
)
def test_init_from_and_what_contradicts_it_is_refused(
    trained, root, tmp_path, command, in_process, options, message
):
    run, _ = trained
    told = [f"init_from={run}", "run_dir=x", *(option.format(run=run) for option in options)]
    line = [*without_weights(command, root, "x"), *told]
    with pytest.raises(SystemExit, match=message):
        in_process("train_det.py", line, tmp_path, with_hydra=True)  # which knows what was given
