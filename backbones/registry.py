"""Backbones by name.

Torch is imported when a backbone is built, so that names can be listed and checked without it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Final

from backbones.choose import choose
from backbones.errors import UserError
from backbones.options import BackboneOptions, Conventions
from backbones.plugins import BACKBONES, FAMILIES, import_offered, offered, offering
from backbones.resnet.variants import VARIANTS, ResNetSpec

if TYPE_CHECKING:
    from backbones.interface import Backbone

Builder = Callable[[BackboneOptions], "Backbone"]


def _build_variant(spec: ResNetSpec, options: BackboneOptions) -> "Backbone":
    from backbones.resnet.model import build_resnet

    return build_resnet(spec, options)


BUILDERS: Final[dict[str, Builder]] = {
    name: partial(_build_variant, spec) for name, spec in VARIANTS.items()
}
"""Every registered backbone, built-in ones first."""


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Register the decorated builder under ``name``, as `build_backbone` and ``backbone=`` call it.

    A name that is taken is a ValueError.

    >>> from dataclasses import replace
    >>> from backbones import Backbone
    >>> from backbones.resnet.model import build_resnet
    >>> @register_backbone("toy")
    ... def tiny(options: BackboneOptions) -> Backbone:
    ...     return build_resnet(VARIANTS["resnet18"], replace(options, out_features=["c2"]))
    >>> list(build_backbone("toy").channels)
    ['c2']
    """
    if name in BUILDERS:
        raise UserError(f"a backbone {name!r} is registered already; choose another name.")

    def register(builder: Builder) -> Builder:
        BUILDERS[name] = builder
        return builder

    return register


def list_backbones() -> list[str]:
    """Return every registered name, in the order of registration, then those of other packages.

    Names such as ``timm/resnet18``, of which a whole family exists, are not listed.
    """
    return list(dict.fromkeys([*BUILDERS, *offered(BACKBONES)]))


def _builder(name: str) -> Builder:
    """Return what builds a backbone: ours, one of a family, or another package's."""
    families = offered(FAMILIES)
    family, slash, member = name.partition("/")
    if slash and family in families:
        return _build_offered(FAMILIES, family, member)
    others = offered(BACKBONES)
    if name in others and name in BUILDERS:
        raise UserError(
            f"the backbone {name!r} is registered, and {offering(BACKBONES, name)} offers another; "
            "uninstall that package, or have it choose another name."
        )
    table = {f"{one}/<name>": _build_offered(FAMILIES, one, "<name>") for one in families}
    table |= {other: _build_offered(BACKBONES, other) for other in others}
    return choose(table | BUILDERS, name, what="backbone")


def _build_offered(group: str, name: str, *arguments: str) -> Builder:
    def build(options: BackboneOptions) -> "Backbone":
        backbone: Backbone = import_offered(group, name)(*arguments, options)
        return backbone

    return build


def build_backbone(  # noqa: PLR0913 (the one door to every option)
    name: str,
    *,
    weights: str | PathLike[str] | None = None,
    conventions: str | Conventions | None = None,
    in_channels: int = 3,
    norm: str = "batch",
    out_features: Sequence[str] | None = None,
    output_stride: int = 32,
    freeze: int = 0,
    drop_path: float = 0.0,
    init: str = "he",
    deformable: Sequence[str] = (),
    deformable_version: int = 2,
) -> "Backbone":
    """Build a backbone, load its weights, freeze its first stages.

    Args:
        name: A registered name; see `list_backbones`. Or one of a family, such as
            ``timm/convnext_tiny``; see `backbones.plugins`.
        weights: What `backbones.weights.load.load_weights` takes: a tag such as ``"imagenet"`` or a
            file. None is a random initialisation, of which no stage may be frozen; ``"random"`` is
            the same and may be frozen.
        conventions: What a weight file expects of an image, where the file does not state it or is
            wrong; see `backbones.weights.load.load_weights`.
        in_channels: Channels of the image; loaded weights are adapted to it.
        norm: A key of `backbones.layers.norm.NORMS`.
        out_features: Which feature maps to return (``c1`` to ``c5``); all when None. Stages past
            the last one are not built.
        output_stride: 32, or 16 or 8 to dilate the last stages instead of striding.
        freeze: How many stages to freeze, stem first; see `Backbone.freeze`.
        drop_path: Stochastic depth: the probability that the residual of the last block is dropped
            in training, from 0 to below 1; it falls linearly to 0 at the first block.
        init: The random initialisation, a key of `backbones.resnet.init.INITS`.
        deformable: Stages (``c2`` to ``c5``) whose 3x3 convolutions are deformable.
        deformable_version: 1 learns offsets, 2 masks as well.

    Raises:
        ValueError: If a name is unknown, a value is out of range, the weights do not fit, or
            stages or statistics would be frozen that were never loaded.
        FileNotFoundError: If a weight file does not exist.
        ConnectionError: If weights have to be downloaded and cannot be.
        ImportError: If another package offers this backbone, and is broken.

    >>> backbone = build_backbone("resnet18", out_features=["c4", "c5"])
    >>> backbone.channels, backbone.strides
    ({'c4': 256, 'c5': 512}, {'c4': 16, 'c5': 32})
    """
    builder = _builder(name)
    if weights is None and (freeze > 0 or norm == "frozen_batch"):
        fixed = f"freeze={freeze}" if freeze > 0 else "norm='frozen_batch'"
        raise UserError(
            f"{fixed} would fix what was never trained: backbone {name!r} has no weights. "
            "Give weights='imagenet' or a file, or weights='random' if that is meant."
        )
    if conventions is not None and weights in (None, "random"):
        raise UserError(
            f"conventions={conventions!r} says what loaded weights expect of an image, but "
            f"backbone {name!r} loads none; leave it out, or give weights."
        )
    options = BackboneOptions(
        in_channels=in_channels,
        norm=norm,
        out_features=out_features,
        output_stride=output_stride,
        drop_path=drop_path,
        init=init,
        deformable=deformable,
        deformable_version=deformable_version,
    )
    backbone = builder(options)
    backbone.registered_name, backbone.options = name, options
    backbone.conventions = backbone.conventions.for_channels(in_channels)
    if weights is None or weights == "random":
        return backbone.freeze(freeze)
    if conventions is not None or not backbone.load_tag(weights):
        from backbones.weights.load import load_weights

        load_weights(backbone, weights, name=name, conventions=conventions, known=BUILDERS)
    return backbone.freeze(freeze)
