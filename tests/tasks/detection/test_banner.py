"""What the banner shows of the data set."""

import pytest

from tasks.detection.banner import facts
from tasks.detection.data.layouts.sample import write_sample
from tests.tasks.detection.conftest import assembled


@pytest.fixture
def banner(tmp_path):
    root = write_sample(tmp_path / "data", images={"train": 8, "val": 2, "test": 1}, size=64)

    def read(*overrides):
        return facts(assembled(root, *overrides))

    return read


def test_a_split_that_is_drawn_is_shown_with_its_seed(banner):
    shown = banner("data.val=null", "data.seed=7")
    assert shown["split"] == (
        "train, val, test are drawn from 8 images by data.seed=7, stratified by class"
    )
    counts = [shown[side].split(",")[0] for side in ("train", "val", "test")]
    assert counts == ["6 images", "1 images", "1 images"]
    divided = ["data.val=null", "data.test=annotations/instances_test.json"]
    split = banner(*divided, r"data.group='(t\w+_\d+)'", "data.fractions=[0.5,0.5,0]")["split"]
    assert split.startswith("train, val are drawn from 8 images by data.seed=0")
    assert split.endswith(r", by groups (data.group=(t\w+_\d+))")
    assert "split" not in banner()  # the data set's own splits
