"""Backbones by name.

Torch is imported when a backbone is built, so that names can be listed and checked without it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Final

from backbones.choose import choose
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
    """Register the decorated builder under ``name``.

    Args:
        name: What `build_backbone` and ``backbone=`` will call it.

    Raises:
        ValueError: If the name is taken.

    Example:
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
        raise ValueError(f"a backbone {name!r} is registered already; choose another name.")

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
    prefix, slash, rest = name.partition("/")
    if slash and prefix in families:
        return partial(_build_member, prefix, rest)
    others = offered(BACKBONES)
    if name in others and name in BUILDERS:
        raise ValueError(
            f"the backbone {name!r} is registered, and "
            f"{offering(BACKBONES, name)} offers another; uninstall that package, "
            "or have it choose another name."
        )
    table: dict[str, Builder] = {
        f"{family}/<name>": partial(_build_member, family, "<name>") for family in families
    }
    table |= {other: partial(_build_offered, other) for other in others}
    return choose(table | BUILDERS, name, what="backbone")


def _build_offered(name: str, options: BackboneOptions) -> "Backbone":
    backbone: Backbone = import_offered(BACKBONES, name)(options)
    return backbone


def _build_member(family: str, name: str, options: BackboneOptions) -> "Backbone":
    backbone: Backbone = import_offered(FAMILIES, family)(name, options)
    return backbone


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
            file. None is a random initialisation, of which nothing can be frozen; ``"random"`` is
            the same, asked for by name, and may be frozen.
        conventions: What a weight file expects of an image, where it does not say so itself or says
            it wrongly; see `backbones.weights.load.load_weights`.
        in_channels: Channels of the image; loaded weights are adapted to it.
        norm: A key of `backbones.layers.norm.NORMS`.
        out_features: Which feature maps to return (``c1`` to ``c5``); all when None. Stages past
            the last one are not built.
        output_stride: 32, or 16 or 8 to dilate the last stages instead of striding.
        freeze: How many stages to freeze, stem first; see `Backbone.freeze`.
        drop_path: Stochastic depth: how likely the residual of the last block is dropped in
            training, from 0 to below 1; that of earlier blocks less, on a line.
        init: How random weights are drawn, a key of `backbones.resnet.init.INITS`.
        deformable: Stages (``c2`` to ``c5``) whose 3x3 convolutions are deformable.
        deformable_version: 1 learns offsets, 2 masks as well.

    Raises:
        ValueError: If a name is unknown, a value is out of range, the weights do not fit, or
            stages or statistics would be frozen that were never loaded.
        FileNotFoundError: If a weight file does not exist.
        ConnectionError: If weights have to be downloaded and cannot be.
        ImportError: If another package offers this backbone, and is broken.

    Example:
        >>> backbone = build_backbone("resnet18", out_features=["c4", "c5"])
        >>> backbone.channels, backbone.strides
        ({'c4': 256, 'c5': 512}, {'c4': 16, 'c5': 32})
    """
    builder = _builder(name)
    if weights is None and (freeze > 0 or norm == "frozen_batch"):
        fixed = f"freeze={freeze}" if freeze > 0 else "norm='frozen_batch'"
        raise ValueError(
            f"{fixed} would fix what was never trained: backbone {name!r} has no weights. "
            "Give weights='imagenet' or a file, or ask for it by name with weights='random'."
        )
    if conventions is not None and weights in (None, "random"):
        raise ValueError(
            f"conventions={conventions!r} says what loaded weights expect of an image, and "
            f"backbone {name!r} has none; leave it out, or give weights."
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
    backbone.conventions = backbone.conventions.for_channels(in_channels)
    if weights is None or weights == "random":
        return backbone.freeze(freeze)
    if conventions is not None or not backbone.load_tag(weights):
        from backbones.weights.load import load_weights

        known = {other: partial(build, BackboneOptions()) for other, build in BUILDERS.items()}
        load_weights(backbone, weights, name=name, conventions=conventions, known=known)
    return backbone.freeze(freeze)
