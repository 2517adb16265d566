"""Between Lightning, which tells a profiler of everything it does, and the clock of a run."""

from collections import defaultdict
from typing import Final

from lightning.pytorch.profilers import Profiler

from tasks.common.report.clock import Clock, Part

_PARTS: Final = {
    "train_dataloader_next": Part.LOADING,
    "run_training_batch": Part.STEPS,
    "save_checkpoint": Part.CHECKPOINTS,
    Part.SCORING: Part.SCORING,  # of our modules
    Part.CACHE: Part.CACHE,
}
"""The part of an action, by the last word of its name."""

_EPOCH: Final = "run_training_epoch"
_VALIDATION_BEGINS: Final = "on_validation_model_eval"
_VALIDATION_ENDS: Final = "on_validation_end"


class Stopwatch(Profiler):
    """Tells a clock which part of a run Lightning is in.

    The set-up ends with the first epoch of training. A validation, for which Lightning names no
    action, lasts from the hook that puts the network into eval mode to the strategy's last hook.
    (The rows of Lightning's own ``SimpleProfiler`` contain each other and do not add up.)

    Nothing waits for a GPU here. What a GPU is still computing when a call returns is counted where
    the program waits for it: in a training step, which looks whether its loss is finite, that is
    all but the backward pass and the optimiser's step, and these are waited for in the next step.
    So at most one backward pass an epoch is counted with what follows the last step. Validation and
    test wait for each batch.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self._words: dict[str, str] = {}  # the last word of each action
        self._entered: defaultdict[str, list[int]] = defaultdict(list)  # innermost last

    def start(self, action_name: str) -> None:
        """Enter the part of an action, if it has one."""
        word = self._words.get(action_name)
        if word is None:
            word = self._words[action_name] = action_name.rpartition(".")[2]
        if word in _PARTS:
            self._entered[word].append(self.clock.enter(_PARTS[word]))
        elif word == _VALIDATION_BEGINS:
            self._entered[_VALIDATION_ENDS].append(self.clock.enter(Part.VALIDATION))
        elif word == _EPOCH:
            self.clock.begin(Part.REST)

    def stop(self, action_name: str) -> None:
        """Leave the part of an action, if it has one."""
        word = self._words[action_name]
        if word == _VALIDATION_ENDS and not action_name.startswith("[Strategy]"):
            return
        if self._entered[word]:
            self.clock.leave(self._entered[word].pop())
