"""What a backbone is: named feature maps, and stages that can be frozen."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import ClassVar, NoReturn, Self

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from backbones.errors import UserError
from backbones.layers.torchscript import NoTorchScript
from backbones.lineage import Lineage
from backbones.options import BackboneOptions, Conventions


class Backbone(NoTorchScript, nn.Module, ABC):
    """Maps an image to feature maps named by stage: ``"c{k}"`` has stride 2**k.

    With a smaller ``output_stride`` a feature keeps its name, and `strides` has its stride.

    Attributes:
        channels: Channels of each returned feature map, by name, finest first.
        strides: Stride of each returned feature map, by name, finest first.
        conventions: What the loaded weights expect of an image.
        provenance: Where the weights come from, and which of them were loaded.
        lineage: The files and runs that the weights went through, the oldest first.
        registered_name: The name that `build_backbone` built it by; empty if it did not.
        options: What `build_backbone` built it with.
        first_conv: State-dict key of the convolution that sees the image.
        key_prefix: Prefix of every key of the state dict, which names in weight files do not have:
            the path to a wrapped model.
        unbuilt: Names in a file of the whole model of parts that this backbone does not build.
        neutral: Patterns of names that a weight file may leave out, all of a pattern or none,
            because they start close to having no effect: offsets of deformable convolutions start
            at 0 (the masks of version 2 at 0.5), gates at 0.88.
        never_trained: Keys of parameters that are never trained, frozen or not.
        possible_norms: Names of norms that it can be built with; None for all of `backbones.NORMS`.
        possible_inits: Names that ``init`` can have; None for all of `backbones.resnet.init.INITS`.
        stride_in_1x1: Whether its bottlenecks stride in their first convolution, as Caffe's do;
            None where there are no bottlenecks.
        grad_checkpointing: Whether stages are computed again in the backward pass; see
            `set_grad_checkpointing`.
    """

    channels: dict[str, int]
    strides: dict[str, int]
    conventions: Conventions = Conventions()
    provenance: str = "random initialisation"
    lineage: Lineage = ()
    registered_name: str = ""
    options: BackboneOptions = BackboneOptions()
    first_conv: str = "conv1.weight"
    key_prefix: ClassVar[str] = ""
    unbuilt: frozenset[str] = frozenset()
    neutral: ClassVar[tuple[str, ...]] = ()
    never_trained: frozenset[str] = frozenset()
    possible_norms: tuple[str, ...] | None = None
    possible_inits: tuple[str, ...] | None = None
    stride_in_1x1: bool | None = None
    grad_checkpointing = False
    _frozen = 0

    @abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of each stage, stem first; together they hold every parameter.

        The k-th stage makes c{k}; one of a stride that the backbone leaves out is empty.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the feature maps (N, channels[name], H / stride, W / stride) by name."""

    def frozen_features(self, x: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 (for those that can)
        """Return the outputs of the frozen stages for (N, C, H, W), all that `forward_from` needs.

        They are the raw output of the last frozen stage, and those of earlier ones that are
        requested as features, by name. With nothing frozen it is the image, as ``"c0"``. A kind of
        backbone that cannot be divided after a stage raises ValueError.
        """
        self._refuse_division()

    def forward_from(self, frozen: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return bit for bit what `forward` returns, from the outputs of `frozen_features`."""
        self._refuse_division()

    def _refuse_division(self) -> NoReturn:
        raise UserError(
            f"a {type(self).__name__} cannot be divided after its frozen stages; take one of the "
            "registry's own (python scripts/inspect_backbone.py lists them)."
        )

    def set_grad_checkpointing(self, enable: bool = True) -> None:  # noqa: FBT001, FBT002 (timm's)
        """Keep the outputs of the stages alone in training, and compute the rest of them twice.

        The backward pass then begins each stage that is not frozen with its forward pass. Losses,
        gradients, running statistics and random numbers stay what they are, bit for bit; see
        `backbones.layers.checkpoint.recomputed`. A kind of backbone that cannot do it raises
        ValueError.
        """
        if enable:
            raise UserError(
                f"a {type(self).__name__} has no gradient checkpointing: leave it out (in a run "
                "trainer.grad_checkpointing), or take one of the registry's own backbones."
            )

    def adopt(self, conventions: Conventions) -> Self:
        """Take over the conventions of weights, the epsilon of every batch norm included.

        `load_weights` calls this; call it for weights that you load yourself. torchvision's COCO
        weights of ``fasterrcnn_resnet50_fpn`` need ``epsilon=0``.
        """
        self.conventions = conventions
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm | FrozenBatchNorm2d):
                module.eps = conventions.epsilon
        return self

    def file_state(self) -> dict[str, Tensor]:
        """Return parameters and buffers under the names that they have in a weight file."""
        state = self.state_dict(keep_vars=True)
        return {key.removeprefix(self.key_prefix): tensor for key, tensor in state.items()}

    def load_file_state(self, state: Mapping[str, Tensor]) -> None:
        """Load tensors by the names of `file_state`; all of them must be there."""
        self.load_state_dict({f"{self.key_prefix}{key}": tensor for key, tensor in state.items()})

    def load_tag(self, weights: str | PathLike[str]) -> bool:  # noqa: ARG002 (for those that do)
        """Load weights that this backbone can fetch by itself, and return whether it did.

        `build_backbone` calls this first, with a tag such as ``"imagenet"`` or a file, and then
        `load_weights` if it returned False, as it does here.
        """
        return False

    @property
    def frozen(self) -> int:
        """How many stages are frozen, stem first.

        A stage that `freeze` froze is no longer frozen once any of its parameters requires a
        gradient, by ``requires_grad_(True)`` or another project's ``unfreeze``.
        """
        held = self._held()
        return next((k for k, holds in enumerate(held) if not holds), len(held))

    def _held(self) -> list[bool]:
        """Return for each stage that `freeze` froze whether it is still frozen."""
        return [
            not any(p.requires_grad for module in stage for p in module.parameters())
            for stage in self.stages()[: self._frozen]
        ]

    def freeze(self, count: int) -> Self:
        """Freeze the first ``count`` stages and unfreeze the others.

        A frozen stage gets no gradient and stays in eval mode, whatever `train` is called
        with, so that neither its weights nor its running statistics move. Nothing is
        replaced: the state dict keeps its keys, and ``freeze(0)`` undoes everything.

        ========== ======== ============ =============== ==================
        frozen     this     detectron2   mmdetection     torchvision
                   method   freeze_at    frozen_stages   trainable_layers
        ========== ======== ============ =============== ==================
        nothing    0        0            -1              5
        stem       1        1            0               4
        up to c2   2        2            1               3
        up to c5   5        5            4               0
        ========== ======== ============ =============== ==================

        Args:
            count: How many stages to freeze; 1 is the stem alone.

        Raises:
            ValueError: If ``count`` is negative or more than there are stages.
        """
        stages = self.stages()
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(stages):
            raise UserError(f"freeze takes 0 to {len(stages)} stages, got {count!r}.")
        self._frozen = count
        for index, stage in enumerate(stages):
            for module in stage:
                module.requires_grad_(index >= count)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 (nn.Module's signature)
        """Set the mode of every stage that is not frozen."""
        super().train(mode)
        for stage, holds in zip(self.stages(), self._held(), strict=False):
            for module in stage:
                module.train(mode and not holds)
        return self
