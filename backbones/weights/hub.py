"""Weight files of timm and of HuggingFace's hub, through their own packages."""

from pathlib import Path
from typing import Final

import timm
from huggingface_hub import errors, hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from timm.models import PretrainedCfg

from backbones.choose import nearest
from backbones.errors import UserError
from backbones.plugins import timms_name
from backbones.weights.download import failure, fetch_published, offline

_FILES: Final = ("model.safetensors", "pytorch_model.bin")
_METADATA: Final = ("config.json", "preprocessor_config.json")


def is_known(name: str) -> bool:
    """Return whether timm has a model of that name, without a tag."""
    return bool(timm.is_model(name))


def timm_config(model: str, *, name: str) -> PretrainedCfg:
    """Return timm's description of the weights ``model``, unless they are of another backbone."""
    known = timm.list_pretrained()
    names = {*known, *(full.partition(".")[0] for full in known)}
    config = timm.get_pretrained_cfg(model) if model in names else None
    if config is None:
        close = nearest(model, names)
        hint = f"; did you mean {close!r}?" if close else ""
        raise UserError(f"timm has no weights {model!r}{hint} timm.list_pretrained() lists all.")
    # The blurpool and average-pooling variants have the tensor names and shapes of plain ones.
    own = timms_name(name)
    if config.architecture != own and timm.is_model(own):
        others = f", or weights such as timm:{own}" if timm.is_model_pretrained(own) else ""
        raise UserError(
            f"timm's {model!r} is a {config.architecture}, and cannot be loaded into {name!r}; "
            f"use backbone 'timm/{config.architecture}'{others}."
        )
    return config


def timm_file(model: str, *, name: str) -> tuple[Path, tuple[float, ...], tuple[float, ...]]:
    """Return the file of timm's pretrained ``model``, and the mean and std of its images."""
    config = timm_config(model, name=name)
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        path = hub_file(repository, revision=revision or None)
    else:
        path = fetch_published(str(config.url))
    return path, tuple(config.mean), tuple(config.std)


def hub_file(repository: str, *, revision: str | None) -> Path:
    """Return the weight file of a repository, ``owner/name``; fetch its JSON files beside it."""
    for name in _METADATA:
        _file(repository, name, revision=revision)
    for name in _FILES:
        if (path := _file(repository, name, revision=revision)) is not None:
            return path
    if offline():
        raise _failure(_FILES[0], repository, RuntimeError("KEEL_OFFLINE is set"))
    raise UserError(
        f"{repository!r} has neither {' nor '.join(_FILES)} (revision {revision or 'main'}); "
        "download the file you mean, and give its path."
    )


def _file(repository: str, name: str, *, revision: str | None) -> Path | None:
    """Return a file of the repository, or None where there is no such file."""
    try:
        path = hf_hub_download(repository, name, revision=revision, local_files_only=offline())
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise UserError(
            f"the hub has no {repository!r} at revision {revision or 'main'!r}, or keeps it from "
            f"you: {error}"
        ) from error
    except errors.LocalEntryNotFoundError as error:  # not in the cache, and no answer of the hub
        if offline():
            return None
        raise _failure(name, repository, error) from error
    except errors.EntryNotFoundError:
        return None
    except (errors.HfHubHTTPError, OSError) as error:
        raise _failure(name, repository, error) from error
    return Path(path)


def _failure(name: str, repository: str, error: Exception) -> OSError:
    first = f"run `hf download {repository}` where there is a network and copy {HF_HUB_CACHE} here"
    return failure(f"{name} of {repository}", error, folder=Path(HF_HUB_CACHE), first=first)
