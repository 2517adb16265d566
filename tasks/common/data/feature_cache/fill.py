"""Filling the feature cache in a run."""

from lightning.pytorch.callbacks import Callback

from backbones.errors import UserError
from tasks.common.data.feature_cache.cache import FeatureCache


class FillFeatureCache(Callback):
    """Fills a cache before the first epoch, when a resumed run has loaded its weights."""

    def __init__(self, cache: FeatureCache, *, workers: int) -> None:
        self.cache = cache
        self.workers = workers

    def on_fit_start(self, *_: object) -> None:
        """Fill the cache."""
        self.cache.fill(workers=self.workers)

    def on_train_epoch_start(self, *_: object) -> None:
        """Raise if the prefix is no longer frozen."""
        frozen = self.cache.encoder.backbone.frozen
        if frozen != self.cache.frozen:
            raise UserError(
                f"the feature cache holds what {self.cache.frozen} frozen stages return, and now "
                f"{frozen} are frozen: leave out feature_cache.views, or keep the stages frozen."
            )
