"""The data of the run that a checkpoint is of."""

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tasks.common.export.run_data import read_run_data

COCO = "tasks.detection.data.layouts.coco.coco_parts"
GOOD = {"_target_": COCO, "root": "gone", "train": "a", "val": "b", "test": None}
UNREAD = "the run's data cannot be read: "


def read(cfg):
    return instantiate(cfg.data)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"data": GOOD}, f"{UNREAD}root 'gone' does not exist; expected a folder"),
        ({"data": GOOD | {"no_such": 1}}, "unexpected keyword argument 'no_such'"),
        ({"model": {}}, "has no group 'data'"),
        ({"data": 3}, "has no group 'data'"),
        (["data"], "has no group 'data'"),
        ({"data": {"_target_": "os.getcwd"}}, "'os.getcwd', which is not of Keel"),
        (
            {"data": {"_target_": f"{COCO[:-10]}Path", "root": "x"}},
            "coco.Path', which is not of Keel",
        ),
        (
            {"data": GOOD | {"root": [{"_target_": "tasks.common.files.paths.os.getcwd"}]}},
            "data holds '_target_', which no run writes",
        ),
        ({"data": GOOD | {"train": "${oc.decode:'{_target_:os.getcwd}'}"}}, "which no run writes"),
        (
            {"data": {"_target_": COCO.replace("coco", "sample"), "root": "gone"}},
            "root 'gone' of the generated set does not exist",
        ),
    ],
)
def test_data_that_moved_and_what_no_run_writes_are_named(tmp_path, stated, said):
    path = tmp_path / "checkpoints" / "best.ckpt"
    assert "lies in no run folder" in read_run_data(path, read)[1]
    OmegaConf.save(OmegaConf.create(stated), tmp_path / "config.yaml")
    found, why = read_run_data(path, read)
    assert found is None
    assert said in why


@pytest.mark.parametrize("content", [b"data: [", b"\xff\xfe\x00", b"", b"3"])
def test_what_is_no_configuration_is_named(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    found, why = read_run_data(tmp_path / "checkpoints" / "best.ckpt", read)
    assert found is None
    assert "config.yaml" in why or why.startswith(UNREAD)
