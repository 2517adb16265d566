"""A whole epoch of Faster R-CNN beside torchvision's reference script.

The script's loop (``references/detection``: train.py, engine.py) is written here from its
documentation, with its defaults: SGD with a linear warm-up, batches of one aspect ratio, horizontal
flips, batch 1 in validation, pycocotools, two checkpoints an epoch, float32. Both sides begin with
the same weights, frozen batch norms and stages, images and sizes. What differs: the script's last,
incomplete batch is left out, its validation lowers torch to one thread (not here, to its
advantage) and scores image by image (here at the end), and it loads with 4 processes (here both
with none).
"""

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR, MultiStepLR
from torch.utils.data import DataLoader, Sampler
from torchvision.datasets import CocoDetection
from torchvision.ops import box_convert
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat

from benchmarks.harness import Comparison, Step, device
from benchmarks.speed.detection import Size, torchvision_detector
from benchmarks.speed.epochs import KeelEpoch, check_counts, rate_note, scratch
from tasks.detection.assemble import assemble
from tasks.detection.config import DETECTION
from tasks.detection.data.dataset import collate
from tasks.detection.data.layouts.sample import write_sample

FREEZE: Final = 2
BATCH: Final = 4
LR: Final = 0.02 / 16 * BATCH  # 0.02 is the script's, for 8 GPUs with 2 images each
_BINS: Final = [2 ** (k / 3) for k in range(-3, 4)]  # of height over width


class CocoImages(CocoDetection):  # type: ignore[misc]
    """A split of a data set, with the labels 1..K and without crowds."""

    def __init__(self, root: Path, split: str, *, flip: float) -> None:
        annotations = root / "annotations" / f"instances_{split}.json"
        with redirect_stdout(StringIO()):  # pycocotools prints
            super().__init__(root / "images", annotations)
        self.categories = sorted(self.coco.cats)
        steps = [v2.RandomHorizontalFlip(flip), v2.PILToTensor()]
        steps += [v2.ToDtype(torch.float, scale=True), v2.ConvertBoundingBoxFormat("XYXY")]
        self.steps = v2.Compose([*steps, v2.SanitizeBoundingBoxes(), v2.ToPureTensor()])

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        image, found = super().__getitem__(index)
        found = [one for one in found if not one.get("iscrowd")]
        boxes = torch.tensor([one["bbox"] for one in found], dtype=torch.float32).reshape(-1, 4)
        labels = [self.categories.index(one["category_id"]) + 1 for one in found]
        boxes = BoundingBoxes(
            boxes, format=BoundingBoxFormat.XYWH, canvas_size=(image.height, image.width)
        )
        target = {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}
        image, target = self.steps(image, target)
        return image, {**target, "image_id": self.ids[index]}


class GroupedBatches(Sampler[list[int]]):
    """Batches of images of similar aspect ratio, in random order."""

    def __init__(self, images: CocoImages) -> None:
        shapes = [images.coco.imgs[number] for number in images.ids]
        self.groups = [bisect(_BINS, shape["height"] / shape["width"]) for shape in shapes]

    def __len__(self) -> int:
        return len(self.groups) // BATCH

    def __iter__(self) -> Iterator[list[int]]:
        waiting, seen, left = defaultdict(list), defaultdict(list), len(self)
        for index in torch.randperm(len(self.groups)).tolist():
            group = self.groups[index]
            waiting[group].append(index)
            seen[group].append(index)
            if len(waiting[group]) == BATCH:
                yield waiting.pop(group)
                left -= 1
        for group in sorted(waiting, key=lambda g: -len(waiting[g]))[:left]:
            yield (waiting[group] + BATCH * seen[group])[:BATCH]


class ReferenceEpoch:
    """The script's first epoch."""

    def __init__(self, root: Path, name: str, size: Size) -> None:
        self.train, self.val = CocoImages(root, "train", flip=0.5), CocoImages(root, "val", flip=0)
        self.name, self.size = name, size

    def prepare(self) -> None:
        """Build a new run."""
        self.folder = scratch(self)
        classes = len(self.train.categories)
        torch.manual_seed(0)
        network = torchvision_detector(self.name, size=self.size, freeze=FREEZE, classes=classes)
        self.network = network.to(device())
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=LR, momentum=0.9, weight_decay=1e-4)
        self.schedule = MultiStepLR(self.optimizer, [16, 22])

    def __call__(self) -> int:
        """Train, save and validate; return how many images it trained on."""
        seen = self.train_one_epoch()
        self.schedule.step()
        state = {
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.schedule.state_dict(),
            "epoch": 0,
        }
        for file in ("model_0.pth", "checkpoint.pth"):
            torch.save(state, self.folder / file)
        self.evaluate()
        self.note = rate_note(self.network, seen, tuned=False)
        return seen

    def train_one_epoch(self) -> int:
        """Train on all batches; return how many images there were."""
        batches = GroupedBatches(self.train)
        loader: DataLoader[Any] = DataLoader(self.train, batch_sampler=batches, collate_fn=collate)
        warmup = LinearLR(
            self.optimizer, start_factor=1e-3, total_iters=max(1, min(1000, len(loader) - 1))
        )
        self.network.train()
        seen = 0
        for images, targets in loader:
            there = [
                {k: v.to(device()) for k, v in target.items() if k != "image_id"}
                for target in targets
            ]
            losses = self.network([image.to(device()) for image in images], there)
            loss = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(loss).item():
                raise FloatingPointError(f"the loss of torchvision's network is {loss.item()}.")
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            warmup.step()
            seen += len(images)
        return seen

    @torch.inference_mode()
    def evaluate(self) -> None:
        """Score the validation images with pycocotools."""
        self.network.eval()
        found = []
        for images, targets in DataLoader(self.val, batch_size=1, collate_fn=collate):
            outputs = self.network([image.to(device()) for image in images])
            for target, output in zip(targets, outputs, strict=True):
                boxes = box_convert(output["boxes"], "xyxy", "xywh").tolist()
                pairs = zip(
                    boxes, output["scores"].tolist(), output["labels"].tolist(), strict=True
                )
                found += [
                    {
                        "image_id": target["image_id"],
                        "category_id": self.val.categories[label - 1],
                        "bbox": box,
                        "score": score,
                    }
                    for box, score, label in pairs
                ]
        if not found:  # pycocotools cannot load none
            return
        with redirect_stdout(StringIO()):
            evaluation = COCOeval(self.val.coco, self.val.coco.loadRes(found), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()


def keel_epoch(root: Path, name: str, size: Size) -> KeelEpoch:
    """Return Keel's epoch, begun with the weights of torchvision's network."""

    def change(parts: Any) -> None:  # noqa: ANN401 (the task's)
        torch.manual_seed(0)
        classes = len(parts.module.card.classes)
        theirs = torchvision_detector(name, size=size, freeze=FREEZE, classes=classes)
        parts.module.network.load_state_dict(theirs.state_dict())

    overrides = [
        *(f"backbone={name}", "backbone.weights=random", "backbone.norm=frozen_batch"),
        *(f"backbone.freeze={FREEZE}", "data=coco", f"data.root={root}"),
        *(f"model.min_size={min(size)}", f"model.max_size={max(size)}", "recipe.optimizer=sgd"),
        *(f"recipe.batch_size={BATCH}", f"recipe.lr={LR}", f"recipe.lr_images={BATCH}"),
    ]
    return KeelEpoch(DETECTION, assemble, overrides, monitor="val/ap", change=change)


def _make(system: str, root: Path | None, name: str, *, small: bool) -> Step:
    folder = root or Path("sample") / ("detection-small" if small else "detection")
    if root is None:
        few = {"train": 8, "val": 4, "test": 1}
        write_sample(folder, images=few) if small else write_sample(folder)
    size = _size(small=small)
    make = keel_epoch if system == "Keel" else ReferenceEpoch
    return make(folder, name, size)


def _size(*, small: bool) -> Size:
    return (96, 128) if small else (320, 448)


def comparison(name: str, *, small: bool, data: Path | None = None) -> Comparison:
    """Compare an epoch of ``images`` and ``annotations/instances_*.json``, or of the sample."""
    systems = ("torchvision's reference", "Keel")
    what = "the generated sample" if data is None else data.name
    least, most = _size(small=small)
    how = f"{least}x{most}, batch {BATCH}, freeze {FREEZE}"
    return Comparison(
        title=f"A whole epoch, Faster R-CNN {name}-FPN, {what}, {how}",
        systems={s: partial(_make, s, data, name, small=small) for s in systems},
        check=partial(check_counts, BATCH),
        memory=False,
        warm_up=False,  # an epoch is long
    )
