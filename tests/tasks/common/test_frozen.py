"""What was frozen is compared before and after, and a tensor that moved is named."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from backbones import build_backbone
from tasks.common.frozen import FrozenWitness, frozen_stages

# The stem: a convolution and five tensors of its norm; c2: two blocks of twice as much.
STEM, C2 = 6, 24


@pytest.fixture
def backbone():
    return build_backbone("resnet18", weights="random", norm="batch", freeze=2)


def watch(backbone, change=lambda: None):
    witness = FrozenWitness(backbone)
    witness.on_train_start(None, None)
    with torch.no_grad():
        change()
    witness.on_train_end(None, None)
    return witness.report


def test_the_report_counts_what_was_frozen(backbone):
    assert watch(backbone) == f"stem, c2: {STEM + C2} tensors, none moved"


def test_nothing_frozen_is_said_so():
    backbone = build_backbone("resnet18", weights="random", norm="batch", freeze=0)
    assert watch(backbone, lambda: backbone.conv1.weight.add_(1)) == "nothing was frozen"


@pytest.mark.parametrize(
    ("tensor", "named"),
    [
        ("conv1.weight", r"stem\.\d\.weight"),
        ("bn1.running_mean", r"stem\.\d\.running_mean"),
        ("layer1.1.bn2.bias", r"c2\.\d.*\.bn2\.bias"),
        ("layer1.0.bn1.running_var", r"c2\.\d.*\.bn1\.running_var"),
        ("layer1.0.bn1.num_batches_tracked", r"c2\.\d.*\.num_batches_tracked"),
    ],
)
def test_a_frozen_tensor_that_moved_is_named(backbone, tensor, named):
    moved = backbone.state_dict()[tensor]
    message = f"1 of 30 tensors of frozen stages moved, such as {named}; please report"
    with pytest.raises(RuntimeError, match=message):
        watch(backbone, lambda: moved.add_(1))


def test_stages_that_are_not_frozen_may_move(backbone):
    watch(backbone, lambda: backbone.layer2[0].conv1.weight.add_(1))


class Mean(lightning.LightningModule):
    """Trains whatever of a backbone has a gradient."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def training_step(self, batch, _index):
        return self.backbone(batch)["c5"].mean()

    def train_dataloader(self):
        return DataLoader(torch.randn(2, 3, 32, 32), batch_size=2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
def test_lightning_asks_the_witness(backbone, tmp_path):
    """In training mode, so that a running statistic that was not frozen would move."""
    witness = FrozenWitness(backbone)
    assert witness.report == "training did not end"
    unfrozen = backbone.layer2[0].bn1.running_mean.clone()
    lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[witness],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    ).fit(Mean(backbone))
    assert witness.report == "stem, c2: 30 tensors, none moved"
    assert not torch.equal(backbone.layer2[0].bn1.running_mean, unfrozen)


@pytest.mark.parametrize(
    ("count", "names"), [(0, "nothing"), (1, "stem"), (5, "stem, c2, c3, c4, c5")]
)
def test_stages_are_counted_from_the_image(count, names):
    assert frozen_stages(count) == names
