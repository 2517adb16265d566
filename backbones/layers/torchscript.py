"""The refusal of torch.jit.script."""

from typing import NoReturn


class NoTorchScript:
    """A module whose code is more than TorchScript's language has."""

    def __prepare_scriptable__(self) -> NoReturn:
        """Raise RuntimeError with what to use instead; torch.jit.script calls this first."""
        raise RuntimeError(
            f"torch.jit.script cannot express the code of {type(self).__name__}; use "
            "torch.export.export, torch.compile or torch.jit.trace."
        )
