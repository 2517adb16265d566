"""The training loop of a detector, on a few generated images."""

from dataclasses import replace

import pytest
import torch

from tasks.common.recipe.recipe import Recipe
from tasks.detection.data.data_module import DetectionDataModule
from tasks.detection.data.layouts.coco import coco_parts
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.data.splits import divide
from tasks.detection.model.card import restore_detector
from tasks.detection.options import DataOptions
from tasks.detection.scores.metrics import coco_ap
from tests.tasks.detection.conftest import Knows, one_class, small_module
from tests.training import quiet_trainer

pytestmark = pytest.mark.usefixtures("_tiny")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    write_sample(root / "data", images={"train": 4, "val": 3}, size=64)
    names = {split: f"annotations/instances_{split}.json" for split in ("train", "val")}
    return divide(coco_parts(root=root / "data", **names), DataOptions())


def module_for(splits, **options):
    return small_module(splits.train, val=splits.val, **options)


def data_for(splits):
    return DetectionDataModule(train=splits.train, val=splits.val, test=splits.val, batch_size=2)


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
def test_a_frozen_run_moves_no_frozen_tensor_and_trains_all_others(splits, tmp_path):
    """Two steps, a validation and two more steps; running statistics are tensors as well."""
    # AdamW moves what has any gradient; the last norms of the blocks begin at 0 and let little by.
    recipe = Recipe(batch_size=2, optimizer="adamw", lr=0.01, weight_decay=0.1, warmup=0)
    module = module_for(splits, freeze=2, recipe=recipe)
    body = module.network.backbone.body
    frozen = {
        f"network.backbone.body.{name}"
        for name in body.state_dict()
        if name.startswith(("conv1.", "bn1.", "layer1."))
    }
    before = {name: value.clone() for name, value in module.state_dict().items()}
    quiet_trainer(tmp_path, max_epochs=2).fit(module, data_for(splits))
    still = {name for name, v in module.state_dict().items() if torch.equal(v, before[name])}
    assert frozen <= still
    # The bias of a prediction that no sampled box touched may stay.
    assert {name for name in still - frozen if "box_predictor" not in name} == set()
    assert module.trainer.global_step == 4


def test_a_checkpoint_has_the_card_and_only_plain_values(splits, tmp_path):
    module = module_for(splits)
    trainer = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(module, data_for(splits))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert checkpoint["keel"]["classes"] == ["disk", "square", "triangle"]
    assert checkpoint["keel"]["category_ids"] == [1, 3, 7]
    loaded, card = restore_detector(tmp_path / "a.ckpt")
    assert card == module.card
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, module.network.state_dict()[name])


def test_validation_scores_each_image_once_with_the_data_sets_ids(splits, tmp_path):
    module = module_for(splits)
    last = splits.val.images[-1]
    module.network = Knows(splits.val, lambda r: r.boxes + (2.0 if r is last else 0.0))
    trainer = quiet_trainer(tmp_path)
    trainer.validate(module, data_for(splits), verbose=False)
    assert sorted(module.results) == [record.image_id for record in splits.val.images]
    results = [result for found in module.results.values() for result in found]
    assert {result["category_id"] for result in results} == {1, 3, 7}
    scores = module.scores["val"]
    assert 0.5 < scores["ap"] < 1
    assert scores["ap50"] == pytest.approx(1)
    assert scores == pytest.approx(coco_ap(splits.val.truth, results), nan_ok=True)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    expected = {f"val/{name}": value for name, value in scores.items()}
    assert logged == pytest.approx(expected, nan_ok=True, abs=1e-6)  # logged as float32


def test_detections_beyond_the_hundredth_count_where_the_detector_returns_more(splits):
    """150 boxes of one class that are all found, in training's own validation."""
    truth = one_class([[3 * i, 0, 2, 9] for i in range(150)])
    module = module_for(splits)
    module.truths = {"val": truth}
    module.results = {5: [entry | {"score": 0.9} for entry in truth["annotations"]]}
    for count, reached in ((100, 67 / 101), (150, 1.0)):
        options = replace(module.card.options, detections_per_image=count)
        module.card = replace(module.card, options=options)
        assert module.score("val")["ap"] == pytest.approx(reached)
