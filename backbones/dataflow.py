"""Which module takes the output of which, as torch.fx sees it."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import fx, nn

IsModule = Callable[[nn.Module], bool]


@dataclass(frozen=True)
class Call:
    """One call of a module: whose output it takes, and who alone takes its own; None if unclear."""

    giver: nn.Module | None
    taker: nn.Module | None


def calls_of(root: nn.Module, *, whole: IsModule) -> dict[nn.Module, list[Call]]:
    """Return the calls of modules in ``root`` with arguments at their defaults.

    Modules for which ``whole`` is true are not looked into. Reading a module's parameters from
    outside is a call without a giver and a taker. Of a module that torch.fx cannot follow, the
    children are followed one by one. Parts without a module that is ``whole`` are left out.
    """
    calls: dict[nn.Module, list[Call]] = defaultdict(list)
    for module, graph in _graphs(root, whole):
        for node in graph.nodes:
            if node.op == "get_attr":
                calls[module.get_submodule(node.target.rpartition(".")[0])].append(Call(None, None))
            elif (called := _called(module, [node])) is not None:
                giver, taker = _called(module, node.all_input_nodes), _called(module, node.users)
                calls[called].append(Call(giver, taker))
    return dict(calls)


def _called(module: nn.Module, nodes: Any) -> nn.Module | None:  # noqa: ANN401 (torch.fx's nodes)
    """Return the module that the only node calls."""
    (node,) = nodes if len(nodes) == 1 else (None,)
    return module.get_submodule(node.target) if node and node.op == "call_module" else None


def _graphs(root: nn.Module, whole: IsModule) -> Iterator[tuple[nn.Module, fx.Graph]]:
    """Yield the graph of a module, or of the largest parts of it that torch.fx can follow."""
    pending, seen = [root], set()
    while pending:
        module = pending.pop()
        if module in seen or not any(map(whole, module.modules())):
            continue
        seen.add(module)
        tracer = _Tracer(whole)
        arguments = signature(module.forward).parameters.values()
        usual = {a.name: a.default for a in arguments if a.default is not a.empty}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of defaults that a graph does not check
                graph = tracer.trace(module, concrete_args=usual)
        except Exception:  # whatever a forward raises that does not get tensors
            pending += module.children()
        else:
            pending += tracer.unfollowed
            yield module, graph


class _Tracer(fx.Tracer):
    """Follows a module, and makes one node of each part that it cannot follow."""

    def __init__(self, whole: IsModule) -> None:
        super().__init__()
        self.whole = whole
        self.unfollowed: list[nn.Module] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return self.whole(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        last = next(iter(reversed(self.graph.nodes)), None)
        depth, count = len(self.module_stack), len(self.unfollowed)
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
            self.unfollowed[count:] = [m]
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)
