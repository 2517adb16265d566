"""Which module takes the output of which, as torch.fx sees it."""

import warnings
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from inspect import getattr_static, isfunction, signature
from typing import Any, Final

from torch import fx, nn

IsModule = Callable[[nn.Module], bool]

_CALLS_CHILDREN_ONLY: Final = {
    "torch.nn.modules.container.ModuleDict",
    "torch.nn.modules.container.ModuleList",
    "torchvision.models.detection.fcos.FCOS",
    "torchvision.models.detection.generalized_rcnn.GeneralizedRCNN",
    "torchvision.models.detection.retinanet.RetinaNet",
    "torchvision.models.detection.roi_heads.RoIHeads",
    "torchvision.models.detection.ssd.SSD",
    "torchvision.models.detection.ssd.SSDScoringHead",
    "timm.models.cpubone.ConvAttention",
    "timm.models.efficientvit_mit.LiteMLA",
    "timm.models.efficientvit_msra.LocalWindowAttention",
    "timm.models.mobilevit.MobileVitBlock",
    "timm.models.tiny_vit.TinyVitBlock",
}
"""Classes that torch.fx cannot follow and that only call their children, with default arguments.

A child of another class may be called in parts, with other arguments, or not at all.
"""


@dataclass(frozen=True)
class Call:
    """One call of a module: whose output it takes, and who alone takes its own; None if unclear."""

    giver: nn.Module | None
    taker: nn.Module | None


def calls_of(root: nn.Module, *, whole: IsModule) -> dict[nn.Module, list[Call]]:
    """Return the calls of modules in ``root`` with arguments at their defaults.

    Modules for which ``whole`` is true are not followed inside. Reading a module's parameters from
    outside is a call without a giver and a taker. If torch.fx cannot follow a module, its children
    are followed one by one where its class is known to call them in no other way; otherwise all
    modules inside it are left out. Parts without a module that is ``whole`` are left out too.
    """
    # A forward may keep what it computes, as torchvision's MultiScaleRoIAlign does.
    scratch = deepcopy(root, {id(t): t for t in (*root.parameters(), *root.buffers())})
    own = dict(zip(scratch.modules(), root.modules(), strict=True))
    return {
        own[module]: [
            Call(own.get(call.giver), own.get(call.taker))  # type: ignore[arg-type] # None for None
            for call in found
        ]
        for module, found in _calls(scratch, whole).items()
    }


def _calls(root: nn.Module, whole: IsModule) -> dict[nn.Module, list[Call]]:
    calls: dict[nn.Module, list[Call]] = defaultdict(list)
    pending, seen, hidden = [root], set(), set()
    while pending:
        module = pending.pop()
        if module in seen or not any(map(whole, module.modules())):
            continue
        seen.add(module)
        tracer = _Tracer(whole)
        graph = tracer.followed(module)
        for opaque in tracer.opaque if graph is not None else [module]:
            if _calls_children_only(opaque):
                pending += opaque.children()
            else:
                hidden |= {*opaque.modules()} - {opaque}
        for node in graph.nodes if graph is not None else ():
            if node.op == "get_attr":
                calls[module.get_submodule(node.target.rpartition(".")[0])].append(Call(None, None))
            elif (called := _called(module, [node])) is not None:
                giver, taker = _called(module, node.all_input_nodes), _called(module, node.users)
                calls[called].append(Call(giver, taker))
    return {module: found for module, found in calls.items() if module not in hidden}


def _called(module: nn.Module, nodes: Any) -> nn.Module | None:  # noqa: ANN401 (torch.fx's nodes)
    """Return the module that the only node calls."""
    (node,) = nodes if len(nodes) == 1 else (None,)
    return module.get_submodule(node.target) if node and node.op == "call_module" else None


def _calls_children_only(module: nn.Module) -> bool:
    """Return whether a module is of a known class and overrides none of its functions."""
    for kind in type(module).__mro__:
        if f"{kind.__module__}.{kind.__qualname__}" in _CALLS_CHILDREN_ONLY:
            own = {n: f for n, f in vars(kind).items() if isfunction(f) and n != "__init__"}
            return all(getattr_static(module, name) is own[name] for name in own)
    return False


class _Tracer(fx.Tracer):
    """Follows a module, and makes one node of each part that it cannot follow."""

    def __init__(self, whole: IsModule) -> None:
        super().__init__()
        self.whole = whole
        self.opaque: list[nn.Module] = []  # parts of which only the call is known

    def followed(self, module: nn.Module) -> fx.Graph | None:
        """Return the graph of a module with arguments at their defaults; None if it has none."""
        if "forward" in vars(module):  # torch.fx would follow that of the class
            return None
        self.inside = {*module.modules()}
        arguments = signature(module.forward).parameters.values()
        usual = {a.name: a.default for a in arguments if a.default is not a.empty}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of defaults that a graph does not check
                return self.trace(module, concrete_args=usual)
        except Exception:  # whatever a forward raises that does not get tensors
            return None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return self.whole(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        if m not in self.inside:  # a slice of a Sequential, made for this call
            return forward(*args, **kwargs)
        last = next(iter(reversed(self.graph.nodes)), None)
        depth, count = len(self.module_stack), len(self.opaque)
        if self.is_leaf_module(m, ""):
            self.opaque.append(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # whatever a forward raises that does not get tensors
            for node in reversed(self.graph.nodes):
                if node is last:
                    break
                if node.op != "get_attr":  # the tracer keeps it for the next time
                    self.graph.erase_node(node)
            while len(self.module_stack) > depth:
                self.module_stack.popitem()
            self.opaque[count:] = [m]
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)
