"""The data of the run that a checkpoint is of."""

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tasks.common.export.run_data import read_run_data

COCO = "tasks.detection.data.layouts.coco.coco_parts"


def read(cfg):
    return instantiate(cfg.data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"_target_": COCO, "root": "gone", "train": "a", "val": "b", "test": None},
            "the run's data cannot be read: root 'gone' does not exist; expected a folder",
        ),
        ({"_target_": "os.getcwd"}, "reads the run's data with 'os.getcwd', which is not of Keel"),
        (
            {"_target_": COCO, "root": [{"_target_": "tasks.common.files.paths.os.getcwd"}]},
            "with 'tasks.common.files.paths.os.getcwd', which is not of Keel",
        ),
    ],
)
def test_data_that_moved_and_readers_of_others_are_named(tmp_path, data, said):
    path = tmp_path / "checkpoints" / "best.ckpt"
    assert "lies in no run folder" in read_run_data(path, read)[1]
    OmegaConf.save({"data": data}, tmp_path / "config.yaml")
    found, why = read_run_data(path, read)
    assert found is None
    assert said in why


def test_a_mistake_of_ours_is_not_taken_for_missing_data(tmp_path):
    OmegaConf.save({"data": {"_target_": COCO, "no_such": 1}}, tmp_path / "config.yaml")
    with pytest.raises(Exception, match="no_such"):
        read_run_data(tmp_path / "checkpoints" / "best.ckpt", read)
