"""What a run leaves behind, and where."""

import importlib.metadata
import json
import math
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from tasks.common.report.run_folder import (
    git_state,
    new_folder,
    write_environment,
    write_json,
    write_text,
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No process started by another, and nothing left for those that this one starts."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("KEEL_RUN_DIR", "")  # monkeypatch restores it after the test


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_new_folder_is_named_by_time_and_name_and_is_not_made_yet(tmp_path):
    first = new_folder(None, parent=tmp_path, name="resnet18")
    second = new_folder(None, parent=tmp_path, name="resnet18")
    assert first.parent == tmp_path
    assert first.name.endswith("_resnet18")
    assert first != second
    assert list(tmp_path.iterdir()) == []


def test_the_folder_that_was_asked_for_is_taken_in_each_run_of_a_process(tmp_path):
    wanted = [str(tmp_path / name) for name in "ab"]
    assert [str(new_folder(w, parent=Path("x"), name="y")) for w in wanted] == wanted


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"run_dir='.*' holds a run already; choose another"):
        new_folder(str(tmp_path), parent=tmp_path, name="x")


def test_the_processes_that_a_run_starts_share_its_folder(tmp_path, monkeypatch):
    folder = new_folder(None, parent=tmp_path, name="x")
    write_text(folder / "config.yaml", "")
    monkeypatch.setenv("LOCAL_RANK", "1")  # what a started process has, beside this environment
    assert new_folder(None, parent=Path("elsewhere"), name="x") == folder


def test_a_file_is_written_with_its_folders_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    write_text(path, "é\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")  # not encodable, as a full disk not writable
    assert path.read_bytes() == "é\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_what_json_does_not_know_becomes_null(tmp_path):
    values = {"ap": math.nan, "of": [1.5, (math.inf, -math.inf)], 3: {"x": np.float64("nan")}}
    write_json(tmp_path / "a.json", values)

    def refuse(text):
        pytest.fail(f"{text} is not JSON")

    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert read == {"ap": None, "of": [1.5, [None, None]], "3": {"x": None}}


def test_the_git_state_is_the_commit_and_the_first_fifty_changed_files(tmp_path):
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "a")
    commit = git(tmp_path, "rev-parse", "HEAD")
    names = [f"{index:02d}.py" for index in range(60)]
    for name in names:
        (tmp_path / name).touch()
    assert git_state(tmp_path) == {"commit": commit, "changed files": "0", "changed": []}
    git(tmp_path, "add", *names)
    state = {"commit": commit, "changed files": "60", "changed": names[:50]}
    assert git_state(tmp_path) == state


def test_outside_a_repository_and_without_git_the_state_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == {"commit": "unknown", "changed files": "unknown"}
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "a")
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path)["commit"] == "unknown"


def test_the_environment_is_the_command_the_versions_and_the_machine(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr("sys.argv", ["scripts/train_det.py", "data.root=/my data"])

    def version(package):
        if package == "lightning":
            raise PackageNotFoundError
        return importlib.metadata.version(package)

    monkeypatch.setattr("tasks.common.report.run_folder.version", version)
    write_environment(tmp_path)
    read = json.loads((tmp_path / "environment.json").read_text())
    assert read["command"].endswith(" scripts/train_det.py 'data.root=/my data'")
    assert read["python"] == ".".join(map(str, sys.version_info[:3]))
    assert read["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert read["versions"]["lightning"] == "not installed"
    assert {"started", "git", "machine", "gpu"} < set(read)
