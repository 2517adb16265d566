"""The training loop of a segmenter, on bright squares in noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn

from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe
from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.data.check import check_cases
from tasks.segmentation.data.data_module import SegmentationDataModule
from tasks.segmentation.model.build import new_segmenter
from tasks.segmentation.model.card import restore_segmenter
from tasks.segmentation.model.deep_supervision import DeepSupervision
from tasks.segmentation.model.losses import build_loss
from tasks.segmentation.module import SegmentationModule
from tasks.segmentation.options import InputOptions, LossOptions, UNetOptions
from tasks.segmentation.scores.metrics import case_scores
from tasks.segmentation.scores.windows import segment
from tests.training import quiet_trainer

pytestmark = pytest.mark.usefixtures("shallow")

TWO = class_table({0: "background", 1: "square", 2: "bar"})
LAYERS = ClassTable(names=("bright", "bar"), values=((1, 2), (2,)), exclusive=False)
INPUTS = InputOptions(normalisation="imagenet", patch=(32, 32), patches=8)
RECIPE = Recipe(
    epochs=2, batch_size=2, optimizer="adamw", lr=0.01, lr_images=2, weight_decay=0.0, warmup=0
)


def scene(seed, *, depth=1, side=40):
    """Return noise with a bright square and a brighter bar, and its mask."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 60, (1, depth, side, side), np.uint8)
    mask = np.zeros((depth, side, side), np.uint8)
    for labels in mask:
        y, x = random.integers(2, side - 20, 2)
        labels[y : y + 14, x : x + 14] = 1
        labels[y + 15 : y + 19, x : x + 16] = 2
    image[0] += mask * 90
    return image, mask


@pytest.fixture
def squares(write_set):
    return write_set([scene(seed) for seed in range(4)], classes=TWO)


def module_for(data, *, loss=None, recipe=RECIPE, inputs=INPUTS, **options):
    network, card = new_segmenter(
        BackboneChoice(name="resnet18", weights="random"),
        UNetOptions(**{"norm": "group", "channels": (32, 32, 32)} | options),
        inputs,
        data=data,
        channels=1,
        norm="group",
        freeze=0,
    )
    return SegmentationModule(
        network,
        loss=loss or DeepSupervision(build_loss(LossOptions(), card.classes)),
        recipe=recipe,
        card=card,
        settings={},
        tolerance=1.0,
    )


def data_for(module, data, *, val=None, **options):
    return SegmentationDataModule(
        train=(data, check_cases(data, policy="error")),
        val=val or data,
        test=val or data,
        options=module.card.input,
        preprocessing=module.card.preprocessing,
        batch_size=2,
        transform=None,
        **options,
    )


def trainer_in(folder, **options):
    return quiet_trainer(folder, **{"max_epochs": 2, "limit_val_batches": 0} | options)


@pytest.mark.parametrize("classes", [TWO, LAYERS], ids=["exclusive", "overlapping"])
def test_what_is_easily_learnt_is_learnt(write_set, tmp_path, classes):
    data = write_set([scene(seed) for seed in range(4)], classes=classes)
    module = module_for(data, recipe=replace(RECIPE, epochs=6), deep_supervision=True)
    batches, losses = data_for(module, data), []
    keep = LambdaCallback(
        on_train_batch_end=lambda _t, _m, outputs, *_: losses.append(outputs["loss"].item())
    )
    trainer_in(tmp_path, max_epochs=6, callbacks=[keep]).fit(module, batches)
    assert len(losses) == 24
    assert np.mean(losses[-4:]) < np.mean(losses[:2]) / 4
    trainer_in(tmp_path, limit_val_batches=1.0).validate(module, batches, verbose=False)
    assert all(row["dice"] > 0.9 for row in module.scores["val"].values())


def dice(found, truth, label):
    hits = ((found == label) & (truth == label)).sum()
    return 2 * hits / ((found == label).sum() + (truth == label).sum())


def test_validation_scores_are_those_of_what_is_segmented(write_set, tmp_path):
    """Volumes, windows smaller than the image, and slices that do not all have a bar."""
    pairs = [scene(seed, depth=5) for seed in range(3)]
    pairs[0][1][2][pairs[0][1][2] == 2] = 0
    data = write_set(pairs, classes=TWO)
    module, trainer = module_for(data), trainer_in(tmp_path, limit_val_batches=1.0)
    batches = data_for(module, data)
    trainer.validate(module, batches, verbose=False)
    assert list(module.results) == ["case0", "case1", "case2"]
    found = {}
    for sample, (_, mask) in zip(batches.val_dataloader(), pairs, strict=True):
        found[sample.name] = segment(module.network, sample.image, INPUTS, exclusive=True)
        expected = case_scores(found[sample.name], mask, TWO, sample, tolerance=1.0, surfaces=False)
        assert (sample.spacing, sample.unit) == ((3, 0.5, 1), "mm")
        assert module.results[sample.name] == expected
    logged, scores = trainer.callback_metrics, module.scores["val"]
    for label, name in ((1, "square"), (2, "bar")):
        by_hand = [dice(found[f"case{n}"], mask, label) for n, (_, mask) in enumerate(pairs)]
        assert scores[name]["dice"] == pytest.approx(np.mean(by_hand))
    errors = ("volume_error", "volume_error_abs")
    assert set(logged) == {
        f"val/{key}{suffix}"
        for key in ("dice", "iou", "precision", "recall", "miss_rate", *errors)
        for suffix in ("", "/square", "/bar")
    }
    assert logged["val/dice/bar"].item() == pytest.approx(scores["bar"]["dice"])
    mean = (scores["bar"]["dice"] + scores["square"]["dice"]) / 2
    assert logged["val/dice"].item() == pytest.approx(mean)


def test_the_test_has_distances_in_the_unit_of_the_images(write_set, tmp_path):
    """The network finds a square one row too low: rows are 0.5 apart, and the tolerance is 1."""
    image, mask = scene(0, depth=3)
    data = write_set([(image, mask)], classes=TWO)
    module = module_for(data)
    shifted = torch.from_numpy(np.roll(mask, 1, axis=1)).long()

    class Knows(nn.Conv2d):
        def forward(self, _x):
            return nn.functional.one_hot(shifted, 3).permute(0, 3, 1, 2).float()

    module.card = replace(module.card, input=replace(INPUTS, patch=(64, 64)))
    batches, module.network = data_for(module, data), Knows(1, 1, 1)
    trainer = trainer_in(tmp_path)
    trainer.test(module, batches, verbose=False)
    assert set(module.scores) == {"test"}
    assert module.scores["test"]["square"]["hd95"] == pytest.approx(0.5)
    assert module.scores["test"]["square"]["nsd"] == 1
    assert trainer.callback_metrics["test/hd95/square"].item() == pytest.approx(0.5)


def test_a_test_keeps_what_was_found_in_the_worst_cases(write_set, tmp_path):
    """A network that finds nothing: the case with more in it is no worse, both lack all."""
    pairs = [scene(seed, depth=3) for seed in range(2)]
    pairs[1][1][1] = 0
    data = write_set(pairs, classes=TWO)
    module = module_for(data)

    class Nothing(nn.Conv2d):
        def forward(self, x):
            none = torch.zeros_like(x[:, 0]).long()
            return nn.functional.one_hot(none, 3).permute(0, 3, 1, 2).float()

    batches, module.network = data_for(module, data), Nothing(1, 1, 1)
    trainer_in(tmp_path).test(module, batches, verbose=False)
    assert list(module.worst) == ["case0", "case1"]
    for one, (_, mask) in zip(module.worst.values(), pairs, strict=True):
        assert one.dice == 0
        np.testing.assert_array_equal(one.truth, mask[one.index])
        assert one.truth.any()
        assert not one.prediction.any()
    trainer_in(tmp_path, limit_val_batches=1.0).validate(module, batches, verbose=False)
    assert list(module.worst) == ["case0", "case1"]  # of the test


def test_a_case_counts_once_and_only_in_its_epoch(squares, tmp_path):
    module = module_for(squares)
    module.results = {"of the epoch before": {}}
    batches = data_for(module, squares, val=replace(squares, cases=squares.cases[:2] * 2))
    assert len(batches.val_dataloader()) == 4
    trainer_in(tmp_path, limit_val_batches=1.0).validate(module, batches, verbose=False)
    assert list(module.results) == ["case0", "case1"]
    assert module.scores["val"]["mean"]["n_cases"] == 2 * 2  # summed over the classes


def test_a_checkpoint_is_the_segmenter_that_was_trained(squares, tmp_path):
    inputs = replace(INPUTS, neighbours=1)
    module = module_for(squares, inputs=inputs, deep_supervision=True)
    trainer = trainer_in(tmp_path, max_epochs=1, limit_val_batches=1.0)
    trainer.fit(module, data_for(module, squares))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert checkpoint["keel_scores"] == module.scores["val"]
    loaded, card = restore_segmenter(tmp_path / "a.ckpt")
    assert card == module.card
    for name, value in module.network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_whole_cases_stay_where_they_are_and_patches_go_to_the_device(squares):
    batches = data_for(module_for(squares), squares)
    for loader in (batches.val_dataloader(), batches.test_dataloader()):
        assert [case.name for case in loader] == [f"case{n}" for n in range(4)]
    case = next(iter(batches.val_dataloader()))
    meta = torch.device("meta")
    assert batches.transfer_batch_to_device(case, meta, 0) is case
    patches = batches.transfer_batch_to_device(next(iter(batches.train_dataloader())), meta, 0)
    assert [part.device for part in patches] == [meta, meta]


def test_every_slice_is_learnt_from_and_the_seed_draws_the_patches(write_set, squares):
    def epoch(data, seed):
        module = module_for(data, inputs=replace(INPUTS, foreground=0))
        loader = data_for(module, data, seed=seed).train_dataloader()
        return {image.numpy().tobytes() for images, _ in loader for image in images}

    pairs = [scene(seed, depth=4, side=32) for seed in range(2)]
    assert len(epoch(write_set(pairs, classes=TWO, name="volume"), 0)) == 8
    assert epoch(squares, 0).isdisjoint(epoch(squares, 1))
