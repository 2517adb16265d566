"""Values that the options of segmentation refuse; their kinds are tested in `tasks.common`."""

import math

import pytest
from omegaconf import OmegaConf

from tasks.segmentation import options
from tests.tasks.segmentation.conftest import refuses

LARGE, SMALL = r"takes widths of at least 1, got \[8", r"=scse takes model\.channels of at least 16"
RANGE, SIZE = "takes the lowest and the highest .*got ", "takes height and width.* got "


@pytest.mark.parametrize(
    ("group", "given", "message"),
    [
        ("UNet", {"channels": (8, 8, 8, 8, 0)}, rf"model\.channels {LARGE}"),
        ("UNet", {"attention": "scse", "channels": (16, 8)}, rf"model\.attention{SMALL}.*16, 8"),
        ("UNet", {"attention": "sce"}, r"unknown model\.attention .*did you mean 'scse'"),
        ("UNet", {"upsampling": "linear"}, r"unknown model\.upsampling .*did you mean 'bilinear'"),
        ("Input", {"normalisation": "zscores"}, r"unknown input\.normalisation .* mean 'zscore'"),
        ("Input", {"normalisation": "window"}, rf"input\.window {RANGE}\[\]"),
        ("Input", {"normalisation": "window", "window": (3, 1)}, rf"input\.window {RANGE}\[3, 1\]"),
        ("Input", {"neighbours": -1}, r"input\.neighbours takes an integer of at least 0, got -1"),
        ("Input", {"patches": -1}, r"input\.patches takes an integer of at least 0, got -1"),
        ("Input", {"patch": (64,)}, rf"input\.patch {SIZE}\[64\]"),
        ("Input", {"patch": (64, 0)}, rf"input\.patch {SIZE}\[64, 0\]"),
        ("Input", {"foreground": 1.5}, r"input\.foreground takes a share from 0 to 1, got 1\.5"),
        ("Input", {"overlap": 1.0}, r"input\.overlap takes a share from 0 to below 1, got 1\.0"),
        ("Loss", {"name": "dcie"}, r"unknown loss\.name 'dcie'; did you mean 'dice'\? Known: ce, "),
        ("Loss", {"gamma": -1.0}, r"loss\.gamma takes a number of at least 0, got -1\.0\.$"),
        ("Loss", {"alpha": "0.3"}, r"loss\.alpha takes a number of at least 0, got '0\.3'\.$"),
        ("Loss", {"beta": math.nan}, r"loss\.beta takes a number of at least 0, got nan\.$"),
        ("Loss", {"ce_weight": math.inf}, r"loss\.ce_weight takes a number of .* 0, got inf\.$"),
        ("Loss", {"dice_weight": -0.1}, r"loss\.dice_weight takes a number .* 0, got -0\.1\.$"),
        ("Loss", {"alpha": 0, "beta": 0}, r"loss\.alpha and loss\.beta are both 0; one must be"),
        ("Loss", {"ce_weight": 0, "dice_weight": 0}, r"loss\.ce_weight .*dice_weight are both 0"),
        ("Loss", {"focal_tversky_gamma": 0.75}, r"loss\.focal_tversky_gamma takes .* at least 1"),
        ("Loss", {"class_weights": (1, 0.0)}, r"loss\.class_weights takes .*above 0.* got \[1, 0"),
        ("Loss", {"class_weights": "12"}, r"loss\.class_weights takes numbers above 0, .*'12'\.$"),
        ("Augment", {"flip": 1.5}, r"augment\.flip takes a probability from 0 to 1, got 1\.5"),
        ("Augment", {"rotation": -1}, r"augment\.rotation takes a number of at least 0, got -1"),
        ("Augment", {"contrast": 1.0}, r"augment\.contrast takes .* 0 to below 1, got 1\.0"),
        ("Augment", {"scale": (1.2, 0.8)}, rf"augment\.scale {RANGE}\[1\.2, 0\.8"),
        ("Augment", {"scale": (1.0,)}, r"augment\.scale takes .*got \[1\.0\]"),
        ("Data", {"fractions": (0.7, 0.3)}, r"data\.fractions takes the shares .*\[0\.7, 0\.3\]"),
        ("Data", {"fractions": (0.7, 0.2, 0.2)}, r"data\.fractions .* with the sum 1"),
        ("Data", {"fractions": (0.8, 0.0, 0.2)}, r"data\.fractions .* first two above 0"),
        ("Data", {"fractions": (0.8, 0.4, -0.2)}, r"data\.fractions takes the shares"),
        ("Data", {"fractions": (math.nan, 0.4, 0.2)}, r"data\.fractions takes the shares"),
        ("Data", {"fractions": 3}, r"data\.fractions takes the shares of train, val"),
        ("Data", {"fractions": "0.7"}, r"data\.fractions takes the shares of train, val"),
        ("Data", {"fractions": ("a", "b", "c")}, r"data\.fractions takes the shares of train, val"),
        ("Data", {"seed": -1}, r"data\.seed takes an integer of at least 0, got -1"),
        ("Data", {"folds": 1}, r"data\.folds takes an integer of at least 2, got 1"),
        ("Data", {"limit": -2}, r"data\.limit takes an integer of at least 0, got -2"),
        ("Data", {"limit": 0.5}, r"data\.limit takes an integer of at least 0, got 0\.5"),
        ("Data", {"fold": 5}, r"data\.fold takes .* 0 to 4 where data\.folds is 5, got 5"),
        ("Data", {"fold": -1}, r"data\.fold takes"),
        ("Data", {"fold": 0, "val": ("a",)}, r"data\.fold=0 draws val and test, but data\.val"),
        ("Data", {"fold": 0, "test": ("a",)}, r"data\.fold=0 draws"),
    ],
)
def test_options_that_cannot_be_are_refused(group, given, message):
    with refuses(f"^{message}"):
        getattr(options, f"{group}Options")(**given)


def test_the_options_are_a_schema():
    schema = OmegaConf.structured(options.DataOptions())
    merged = OmegaConf.merge(schema, OmegaConf.create("{fold: 3, val: []}"))
    assert options.DataOptions(**OmegaConf.to_container(merged)).fold == 3
