"""What the configuration tests of both tasks share."""

import re
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tasks.common.data.prefix.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe
from tasks.common.run.config import plain_values, register_configs

CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class Task:
    """A root configuration, and the classes that its groups are made for."""

    name: str
    script: str
    groups: dict[str, type]

    @property
    def folder(self):
        return CONFIGS / self.name

    @property
    def classes(self):
        shared = {"backbone": BackboneChoice, "recipe": Recipe, "trainer": TrainerOptions}
        return shared | {"cache": CacheOptions} | self.groups

    @property
    def options(self):
        files = sorted(f"{file.parent.name}={file.stem}" for file in self.folder.glob("*/*.yaml"))
        shared = sorted(f"recipe={file.stem}" for file in (CONFIGS / "recipe").glob("*.yaml"))
        return [*files, *shared, "trainer=auto", "debug=one_step"]  # stored by `register_configs`

    @property
    def experiments(self):
        return sorted(file.stem for file in (self.folder / "experiment").glob("*.yaml"))

    @contextmanager
    def hydra(self):
        register_configs({group: made() for group, made in self.groups.items()})
        with initialize_config_dir(version_base="1.3", config_dir=str(self.folder)):
            yield

    def composed(self, *overrides):
        """The configuration, every value in it resolved and given."""
        cfg = compose(self.name, overrides=list(overrides))
        if OmegaConf.missing_keys(cfg) == {"data.root"}:
            cfg.data.root = "/data"
        assert OmegaConf.missing_keys(cfg) == set()
        OmegaConf.resolve(cfg)
        return cfg

    def check_option(self, option):
        """Every value must be one that our classes take, and every key a field of theirs."""
        cfg = self.composed(option)
        for group, made in self.classes.items():
            names = {field.name for field in fields(made)}
            values = plain_values(cfg[group])
            own = set(values) - names if group == "data" else set()  # options of the layout
            made(**{name: value for name, value in values.items() if name not in own})
            assert set(values) - own == names

    def check_header(self, name):
        """An experiment says its command, how long it takes and what to expect."""
        text = (self.folder / "experiment" / f"{name}.yaml").read_text()
        assert re.search(r"^#   time: +\d+ (seconds|minutes|hours)", text, re.MULTILINE)
        assert re.search(r"^#   expect: .*\d\.\d{2,}", text, re.MULTILINE)
        (command,) = re.findall(r"^#   run: +(.*)$", text, re.MULTILINE)
        python, script, *overrides = shlex.split(re.sub(r"<[^>]*>", "/x", command))
        assert (python, script) == ("python", self.script)
        assert f"experiment={name}" in overrides
        self.composed(*overrides)
