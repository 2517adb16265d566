"""What is published of the backbones: weights, accuracies and limits, each with its source."""

from dataclasses import dataclass
from typing import Any, Final

from torchvision.models import get_model_weights


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published ImageNet result."""

    weights: str = ""  # what ``weights=`` takes to load them; empty where nothing can be downloaded
    top1: float  # accuracy on the validation set in percent, with the digits that were published
    size: int = 224  # pixels along each side of the image it was measured with
    source: str  # a key of `SOURCES`


SOURCES: Final = {
    "torchvision": "`meta` of each entry in `torchvision.models.get_model_weights(name)`",
    "timm": "[results-imagenet.csv](https://github.com/huggingface/pytorch-image-models/blob/main/"
    "results/results-imagenet.csv), the row of the same name",
    "He": "[arXiv:1512.03385](https://arxiv.org/abs/1512.03385), table 3, ten crops",
    "MSRA": "[the authors' Caffe models](https://github.com/KaimingHe/deep-residual-networks#results)",
    "SENet": "[the authors' Caffe models](https://github.com/hujie-frank/SENet#trained-models), "
    "which stride in the 1x1 convolution",
    "CBAM": "[the authors' model](https://github.com/Jongchan/attention-module"
    "#resume-with-checkpoints)",
}


def _timm(name: str, top1: float, size: int = 224) -> Published:
    return Published(weights=f"timm:{name}", top1=top1, size=size, source="timm")


TIMM_AND_PAPERS: Final[dict[str, tuple[Published, ...]]] = {
    "resnet18": (_timm("resnet18.a1_in1k", 73.158, 288),),
    "resnet34": (_timm("resnet34.a1_in1k", 77.918, 288),),
    "resnet34_zero_pad": (Published(top1=74.97, source="He"),),
    "resnet34_projection": (Published(top1=75.81, source="He"),),
    "resnet50_caffe": (Published(top1=75.3, source="MSRA"),),
    "resnet101_caffe": (Published(top1=76.4, source="MSRA"),),
    "resnet152_caffe": (Published(top1=77.0, source="MSRA"),),
    "resnext101_32x4d": (_timm("resnext101_32x4d.gluon_in1k", 80.340),),
    "resnet18d": (_timm("resnet18d.ra2_in1k", 73.794, 288),),
    "resnet34d": (_timm("resnet34d.ra2_in1k", 78.436, 288),),
    "resnet50d": (_timm("resnet50d.ra2_in1k", 81.356, 288),),
    "resnet101d": (_timm("resnet101d.ra2_in1k", 83.016, 320),),
    "resnet152d": (_timm("resnet152d.ra2_in1k", 83.684, 320),),
    "resnet200d": (_timm("resnet200d.ra2_in1k", 83.964, 320),),
    "seresnet50": (_timm("seresnet50.ra2_in1k", 81.284, 288),),
    "seresnet101": (Published(top1=78.25, source="SENet"),),
    "seresnet152": (Published(top1=78.66, source="SENet"),),
    "seresnext50_32x4d": (_timm("seresnext50_32x4d.racm_in1k", 82.196, 288),),
    "seresnext101_32x4d": (_timm("seresnext101_32x4d.gluon_in1k", 80.892),),
    "seresnext101_32x8d": (_timm("seresnext101_32x8d.ah_in1k", 84.186, 288),),
    "ecaresnet50d": (_timm("ecaresnet50d.miil_in1k", 81.650, 288),),
    "ecaresnet101d": (_timm("ecaresnet101d.miil_in1k", 82.984, 288),),
    "cbam_resnet50": (Published(top1=77.622, source="CBAM"),),
    "res2net50_26w_4s": (_timm("res2net50_26w_4s.in1k", 77.950),),
    "res2net50_48w_2s": (_timm("res2net50_48w_2s.in1k", 77.514),),
    "res2net50_14w_8s": (_timm("res2net50_14w_8s.in1k", 78.158),),
    "res2net50_26w_6s": (_timm("res2net50_26w_6s.in1k", 78.568),),
    "res2net50_26w_8s": (_timm("res2net50_26w_8s.in1k", 78.942),),
    "res2net101_26w_4s": (_timm("res2net101_26w_4s.in1k", 79.202),),
    "resnetv2_50": (_timm("resnetv2_50.a1h_in1k", 81.398, 288),),
    "resnetv2_101": (_timm("resnetv2_101.a1h_in1k", 83.002, 288),),
}
"""By registered name; what torchvision publishes is not repeated here."""

FOUNDING: Final = {
    "resnet18": (11.7, 1.8),
    "resnet34": (21.8, 3.6),
    "resnet50": (25.6, 4.1),
    "resnet101": (44.5, 7.9),
    "resnet152": (60.2, 11.6),
}
"""The founding documents' figures: millions of parameters with the classifier, and GFLOPs."""

CANNOT: Final[dict[str, str]] = {
    "*": (
        "no `torch.jit.script`: blocks call functions that choose by the type of a norm, and hand "
        "functions to their gates, which TorchScript's language does not have. `torch.jit.trace` "
        "(with `strict=False`, as a dictionary comes out), `torch.export` and `torch.compile` work."
    ),
    "dynamic_*": (
        "no saving of hard gates in what `torch.export`, `torch.compile` or `torch.jit.trace` "
        "capture: a captured graph does not depend on its input, so it computes every block and "
        "drops what is skipped. The values are the same."
    ),
}
"""By pattern of names (as in `fnmatch`): what cannot be done with them, and why."""


def published(name: str) -> list[Published]:
    """Return what is published of a backbone: torchvision's cards, read offline, then the table."""
    try:
        entries: list[Any] = list(get_model_weights(name))
    except ValueError:  # torchvision has no such model
        entries = []
    theirs = [
        Published(
            weights=entry.name.replace("IMAGENET1K_", "imagenet_").lower(),
            top1=entry.meta["_metrics"]["ImageNet-1K"]["acc@1"],
            source="torchvision",
        )
        for entry in entries
        if entry.name.startswith("IMAGENET1K_")
    ]
    return [*theirs, *TIMM_AND_PAPERS.get(name, ())]
