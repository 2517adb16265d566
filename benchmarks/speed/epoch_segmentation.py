"""A whole epoch of a U-Net beside the loop that smp documents.

That loop (``examples/camvid_segmentation_multiclass.ipynb``) is a Lightning module with smp's Dice
loss and metrics, Adam and a cosine, written here from it: images read by OpenCV, albumentations,
Lightning's own logger and checkpoint. Both sides see the same cases, once an epoch, as patches of
one size with horizontal flips, and minimise the Dice loss. What differs: smp pads images to the
patch with zeros, Keel mirrors them, and draws a third of its crops around a class; in validation
smp takes whole images padded to a multiple of 32, Keel windows of the patch's size in float32; the
weights are each side's own random ones.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import albumentations
import cv2
import lightning
import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import Comparison, Step
from benchmarks.speed.epochs import KeelEpoch, check_counts, rate_note, scratch
from tasks.segmentation.assemble import Parts, assemble
from tasks.segmentation.config import SEGMENTATION
from tasks.segmentation.data.cases import CaseSet
from tasks.segmentation.data.layouts.sample import write_sample

NAME: Final = "resnet34"
BATCH: Final = 8
_STRIDE: Final = 32
# As smp.encoders.get_preprocessing_params says, which asks the network.
_IMAGENET: Final = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def overrides(root: Path, *, patch: int, patches: int) -> list[str]:
    """Return the options of Keel's run; with 0 ``patches`` it draws its usual number."""
    return [
        *(f"backbone={NAME}", "backbone.weights=random", "model.norm=batch", "loss.name=dice"),
        *("data=folder", f"data.root={root}", f"input.patch=[{patch},{patch}]"),
        *(f"input.patches={patches}", f"recipe.batch_size={BATCH}", "recipe.optimizer=adamw"),
        *("recipe.lr=2e-4", f"recipe.lr_images={BATCH}"),
    ]


class SmpImages(Dataset[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]):
    """The cases of a split, as the notebook reads them; masks hold the values of Keel's classes."""

    def __init__(self, split: CaseSet, steps: Sequence[Any]) -> None:
        self.split, self.steps = split, albumentations.Compose(steps)

    def __len__(self) -> int:
        return len(self.split.cases)

    def __getitem__(self, index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        case = self.split.cases[index]
        image: Any = cv2.imread(str(case.images[0]))
        mask: Any = cv2.imread(str(case.masks[0]), cv2.IMREAD_GRAYSCALE)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        labels = np.zeros_like(mask)
        for label, values in enumerate(self.split.classes.values):
            labels[np.isin(mask, values)] = label
        found = self.steps(image=image, mask=labels)
        return found["image"].transpose(2, 0, 1), found["mask"]


class SmpModule(lightning.LightningModule):
    """The notebook's module."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, classes: int, steps: int) -> None:
        super().__init__()
        self.network = smp.Unet(NAME, encoder_weights=None, in_channels=3, classes=classes)
        self.classes, self.steps, self.trained = classes, steps, 0
        for name, values in _IMAGENET.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        self.loss = smp.losses.DiceLoss(smp.losses.MULTICLASS_MODE, from_logits=True)
        self.outputs: dict[str, list[tuple[Tensor, ...]]] = {"train": [], "valid": []}

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch[0].float() / 255, batch[1].long()
        logits = self.network((images - self.mean) / self.std)
        found = logits.softmax(dim=1).argmax(dim=1)
        self.outputs[stage].append(
            smp.metrics.get_stats(found, labels, mode="multiclass", num_classes=self.classes)
        )
        loss: Tensor = self.loss(logits, labels)
        return loss

    def _end(self, stage: str) -> None:
        stats = [torch.cat(parts) for parts in zip(*self.outputs[stage], strict=True)]
        for name, how in (("per_image_iou", "micro-imagewise"), ("dataset_iou", "micro")):
            self.log(f"{stage}_{name}", smp.metrics.iou_score(*stats, reduction=how))
        self.outputs[stage].clear()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss."""
        self.trained += len(batch[0])
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss."""
        return self._step(batch, "valid")

    def on_train_epoch_end(self) -> None:
        """Log the scores of the training images."""
        self._end("train")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation images."""
        self._end("valid")

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's)
        """Return Adam and a cosine."""
        adam = torch.optim.Adam(self.parameters(), lr=2e-4)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=self.steps, eta_min=1e-5)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


class SmpEpoch:
    """The first epoch of the notebook's loop, on the splits of Keel's run."""

    def __init__(self, parts: Parts, *, patch: int) -> None:
        train, val = parts.splits.train.cases, parts.splits.val.cases
        side = {"min_height": patch, "min_width": patch}
        crop = [albumentations.PadIfNeeded(**side), albumentations.RandomCrop(patch, patch)]
        whole = {"pad_height_divisor": _STRIDE, "pad_width_divisor": _STRIDE}
        padded = albumentations.PadIfNeeded(min_height=None, min_width=None, **whole)
        self.train = SmpImages(train, [albumentations.HorizontalFlip(p=0.5), *crop])
        self.val = SmpImages(val, [padded])
        self.classes = len(train.classes.names)

    def prepare(self) -> None:
        """Build a new run."""
        self.folder = scratch(self)
        torch.manual_seed(0)
        self.loaders = DataLoader(self.train, batch_size=BATCH, shuffle=True), DataLoader(self.val)
        self.module = SmpModule(classes=self.classes, steps=len(self.loaders[0]))
        self.network = self.module.network
        self.trainer = lightning.Trainer(
            max_epochs=1,
            devices=1,
            log_every_n_steps=1,
            default_root_dir=self.folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )

    def __call__(self) -> int:
        """Train its epoch; return how many images it trained on."""
        self.trainer.fit(self.module, *self.loaders)
        self.note = rate_note(self.network, self.module.trained, tuned=False)
        return self.module.trained


def make(system: str, root: Path, *, patch: int) -> Step:
    """Return the epoch of a system on a folder of images and masks."""
    parts = assemble(SEGMENTATION.compose(overrides(root, patch=patch, patches=0)))
    if system != "Keel":
        return SmpEpoch(parts, patch=patch)
    count = len(parts.splits.train.cases.cases)  # as smp, each image once
    given = overrides(root, patch=patch, patches=count)
    return KeelEpoch(SEGMENTATION, assemble, given, monitor="val/dice")


def comparison(*, small: bool, data: Path | None = None) -> Comparison:
    """Compare an epoch of ``images`` and ``masks``, RGB or gray of 8 bits, or of the sample."""
    root, patch = data or Path("sample") / f"segmentation-{'small' if small else 'epoch'}", 128
    if small:
        patch = 64
    if data is None:
        count = 12 if small else 200
        write_sample(root, images={"train": count}, size=patch)
    what = "the generated sample" if data is None else data.name
    return Comparison(
        title=f"A whole epoch, U-Net {NAME}, {what}, batch {BATCH}, {patch}x{patch}",
        systems={s: partial(make, s, root, patch=patch) for s in ("smp's documented loop", "Keel")},
        check=partial(check_counts, BATCH),
        memory=False,
        warm_up=False,  # an epoch is long
    )
