"""The ``feature_cache`` group of the configuration: the cache of the frozen stages' features."""

from dataclasses import dataclass

from tasks.common.options.limits import Options, choice, integer


@dataclass(frozen=True, kw_only=True)
class CacheOptions(Options, group="feature_cache"):
    """The ``feature_cache`` group of the configuration.

    Attributes:
        views: How many augmented views of each training image are drawn in advance; epoch e sees
            view e % views. 0 for no cache: every epoch draws new ones.
        where: Where the features are kept: in ``memory``; on ``disk``, where a later run with the
            same prefix, data and augmentation finds them again; or ``none``, which keeps nothing
            and computes the same every time.
        folder: Folder of the cache on disk; each prefix, data set and augmentation has a folder of
            its own in it.
        dtype: Precision of what is kept: ``auto`` as it was computed, so that nothing is lost, or
            rounded to ``bf16`` or ``fp16``, which moves the losses of a float32 run by that
            rounding.
    """

    views: int = integer(0, least=0)
    where: str = choice("memory", ("memory", "disk", "none"))
    folder: str = "cache"
    dtype: str = choice("auto", ("auto", "bf16", "fp16"))

    def decides(self) -> dict[str, int | str]:
        """Return what decides the losses: not where it is kept."""
        return {"views": self.views, "dtype": self.dtype if self.views else "auto"}
