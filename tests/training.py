"""What tests of training share: a quiet trainer, a module of one weight, equal checkpoints."""

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch.utils.data import DataLoader

_PATHS = "best_model_path", "dirpath", "kth_best_model_path", "best_k_models"


def quiet_trainer(folder, **options):
    """Lightning's trainer on the CPU for an epoch; it prints nothing, and only callbacks save."""
    saving = any(isinstance(callback, Checkpoint) for callback in options.get("callbacks", ()))
    usual = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": saving,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
    }
    return lightning.Trainer(**usual | options)


class OneWeight(lightning.LightningModule):
    """One weight, which falls by 1 in each step; two steps are an epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):  # noqa: ARG002 (Lightning's hook)
        return 1 + self.weight.sum() - self.weight.detach().sum()

    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], lr=1.0)

    def train_dataloader(self):
        return DataLoader(torch.zeros(2), batch_size=1)

    val_dataloader = test_dataloader = train_dataloader


def differences(there, here):
    """The names of what differs between the checkpoints of two finished runs, but for paths."""
    found = []
    for name in ("last.ckpt", "best.ckpt"):
        a, b = (dict(_leaves(torch.load(f / name, weights_only=True))) for f in (there, here))
        assert len(a) > 50, "a whole checkpoint has more in it"
        found += [f"{name}: {key}" for key in a.keys() | b.keys() if not _equal(a, b, key)]
    return found


def _leaves(value, name=""):
    """Every number, string and tensor with its place."""
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list | tuple):
        value = enumerate(value)
    else:
        yield name, value
        return
    for key, item in value:
        if key not in _PATHS:
            yield from _leaves(item, f"{name}.{key}")


def _equal(a, b, key):
    there, here = a.get(key), b.get(key)
    if isinstance(there, torch.Tensor) and isinstance(here, torch.Tensor):
        return there.dtype == here.dtype and there.numpy().tobytes() == here.numpy().tobytes()
    both_nan = there != there and here != here
    return type(there) is type(here) and (there == here or both_nan)
