"""A trainer that prints and logs nothing."""

import lightning
from lightning.pytorch.callbacks import Checkpoint


def quiet_trainer(folder, **options):
    """Lightning's trainer on the CPU for an epoch; it saves what ``callbacks`` save."""
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
