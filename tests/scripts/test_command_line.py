"""What is answered before anything heavy is imported: options, ``--help``, errors."""

import json
import re
import subprocess
import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from backbones.errors import UserError
from tasks.common.run.command_line import (
    check_overrides,
    exit_on_error,
    train,
    training_help,
    with_text_tables,
)
from tasks.common.run.help import FIRST
from tasks.detection.config import DETECTION
from tasks.segmentation.config import SEGMENTATION
from tests.configs.conftest import TRAININGS
from tests.scripts.conftest import SCRIPTS, failing

SLOW_TOO = ["detection", pytest.param("segmentation", marks=pytest.mark.slow)]


@pytest.mark.parametrize(
    "arguments",
    [
        *("backbone=resnet18 seed=3 backbone.freeze=2", "backbone=timm/resnet18", "+new=1 ~seed"),
        *("recipe.batch_size=auto", "data=csv --cfg job", "data=csv --cfg=job", "data=csv -c job"),
        *("data=csv --info", "data=csv --info=all", "data=csv --hydra-help"),
        "-m backbone=resnet51,resnet18",  # a sweep is left to Hydra
    ],
)
def test_a_good_command_passes(arguments):
    check_overrides(SEGMENTATION, arguments.split())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("backbone=resnet51", r"no backbone=resnet51; did you mean 'resnet50'\? Known: cbam_resn"),
        ("backbone=zzz", r"no backbone=zzz\. Known: cbam_resnet101, "),
        ("backbone=tim/resnet18", r"no backbone=tim/resnet18; did you mean 'resnet18'"),
        ("backbone.freze=1", r"unknown option 'backbone.freze'; did you mean 'backbone.freeze'\?$"),
        ("bakbone=resnet18", r"'bakbone'; did you mean 'backbone'\?$"),
        ("expriment=x", r"unknown option 'expriment'; did you mean 'experiment'\?$"),
        ("sede=1", r"'sede'; did you mean 'seed'\?$"),
        ("recipe=gradul", r"no recipe=gradul; did you mean 'gradual'\? Known: ema, "),
        ("seed=/a=b.pth", r"^'seed=/a=b.pth' cannot be read: .* quotes: 'seed=\"/a=b.pth\"'\.$"),
        ("recipe.lr=abc", r"recipe.lr=abc: Value 'abc' .* could not be converted to Float\.$"),
        ("recipe.epochs=many", "'many' .*could not be converted to Integer"),
        ("recipe.lr=nan", "recipe.lr takes a number of at least 0, got nan"),
        ("recipe.frozen_until=99", r"recipe\.frozen_until=99 leaves none of recipe\.epochs="),
        ("recipe.unfreeze={c9: 1}", r"unknown stage in recipe\.unfreeze 'c9'"),
        ("recipe.unfreeze={c5: 99}", r"recipe\.unfreeze\.c5 takes a number of epochs from 1 to "),
        ("backbone.freeze=two", "freeze takes an integer of at least 0, or auto, got 'two'"),
        ("backbone.weights=''", "backbone.weights takes a tag such as imagenet, .*, got ''"),
        ("augment.flip=7", "augment.flip takes a probability from 0 to 1, got 7.0"),
        ("augment.scale=[2,1]", "augment.scale takes the lowest and the highest zoom"),
        ("augment=storng", "no augment=storng; did you mean 'strong'?"),
        ("trainer.precision=bf61", "unknown trainer.precision 'bf61'; did you mean 'bf16'"),
        ("trainer.accelerator=gpu", "unknown trainer.accelerator 'gpu'"),
        ("trainer.threads=-1", "trainer.threads takes an integer of at least 0, got -1"),
        ("trainer.max_steps=0", "trainer.max_steps takes an integer of at least 1, or -1 for no"),
        ("trainer.save_minutes=nan", "takes a number of at least 0, or inf, got nan"),
        ("feature_cache.where=nowhere", "unknown feature_cache.where 'nowhere'"),
        ("seed=-1", r"^seed takes an integer from 0 to 2\*\*32 - 1, got -1"),
        ("audit=onyl", "unknown audit 'onyl'; did you mean 'only'"),
        ("on_bad_image=ignore", "unknown on_bad_image 'ignore'"),
    ],
)
@pytest.mark.parametrize("task", SLOW_TOO)
def test_a_mistake_in_an_option_of_every_task_is_named(task, argument, message):
    with pytest.raises(UserError, match=message):
        check_overrides(TRAININGS[task], [argument])


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        # The keys are those of the group that was chosen.
        ("detection", "data=coco data.trian=b", r"did you mean 'data.train'\?$"),
        ("detection", "data=coco", r"^data.root is not given; add data.root=... to the command"),
        ("detection", "data=coco data.root=", "^data.root is not given"),
        ("detection", "backbone.weights=imagnet", "'imagnet'; did you mean 'imagenet'"),
        ("detection", "backbone.norm=grop", "unknown backbone.norm 'grop'; did you mean 'group'"),
        ("detection", "backbone.conventions=cafe", "conventions takes a name .*, got 'cafe'"),
        ("detection", "augment.vertcal_flip=0.5", "did you mean 'augment.vertical_flip'?"),
        ("detection", "augment.shift=far", "'far' of type 'str' could not be converted to Float"),
        ("detection", "model.head=v3", "unknown model.head 'v3'"),
        ("detection", "model.max_size=1", "model.max_size takes at least min_size="),
        ("segmentation", "data=csv -x", "^data.root is not given"),
        ("segmentation", "data=foldr", "(?!.*schema)no data=foldr.* mean 'folder'.*Known: csv, "),
        ("segmentation", "input.pach=[64,64]", r"did you mean 'input.patch'\?$"),
        ("segmentation", "loss.name=dise", "unknown loss.name 'dise'; did you mean 'dice'"),
        ("segmentation", "data.fold=5", "data.fold takes an integer from 0 to 4 where data.folds"),
        ("segmentation", "tolerance=0", "^tolerance takes a distance above 0, got 0"),
    ],
)
def test_a_mistake_in_an_option_of_one_task_is_named(task, arguments, message):
    with pytest.raises(UserError, match=message):
        check_overrides(TRAININGS[task], arguments.split())


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_help_explains_every_option_in_a_line(training):
    text = training_help(training, [])
    assert max(map(len, text.splitlines())) <= 100
    entries = re.split(r"\n  (?=\w)", text)[1:]
    shown = {entry.partition("=")[0]: entry for entry in entries}
    cfg = training.compose()
    options = {f"{group}.{key}" for group in (*training.groups, "data") for key in cfg[group]}
    options -= {"backbone.name", "data._target_"}
    assert list(shown)[:10] == list(FIRST)
    assert set(shown) >= options | {"seed", "audit", "init_from", "run_dir", "on_bad_image"}
    for name, entry in shown.items():
        explanation = " ".join(entry.split()[1:])
        assert len(explanation) >= 4, name
        assert entry.count("\n", 0, entry.find("\n\n")) <= 4 or name == "backbone", name


def test_help_shows_the_values_and_the_layout_that_were_chosen():
    text = training_help(DETECTION, ["data=coco", "recipe=gradual", "backbone=resnet18"])
    assert "  data.root=<required>   " in text
    assert "  data.train_images=images   " in text
    assert "  backbone=resnet18 " in text
    assert "recipe.unfreeze={c5: 1, c4: 2, c3: 4}" in text
    assert "finetune, gradual, head_first, layer_decay, scratch" in text
    with pytest.raises(UserError, match="no data=cocoo; did you mean 'coco'"):
        training_help(DETECTION, ["data=cocoo"])


AT_ONCE = {
    "train_det.py": [["--help"], ["backbone=resnet51"], ["augment.flip=7"], ["data=coco"]],
    "train_seg.py": [["--help"], ["loss.name=dise"], ["input.pach=1"], ["data=folder"]],
    "predict.py": [
        *(["--help"], ["a"], ["a", "b", "--precision=bf61"], ["a", "b", "--thresh=x"]),
        *(["gone", "b"], ["tests", "b"]),  # no such run; a folder that is none
    ],
    "evaluate.py": [["--help"], ["a", "b"], ["a", "b", "c", "--device=gpu"]],
    "benchmark.py": [["--help"], ["--repeats=0"], ["evaluatoin"]],
    "inspect_backbone.py": [["--help"], ["resnet5O"], ["gradeints"]],
}


@pytest.mark.parametrize("script", AT_ONCE)
def test_help_and_mistakes_import_neither_torch_nor_lightning(script):
    """In one process, as a user's would: its modules are those of all these answers."""
    program = f"""
import json, runpy, sys
for arguments in json.loads({json.dumps(AT_ONCE[script])!r}):
    sys.argv = [{script!r}, *arguments]
    try:
        runpy.run_path({str(SCRIPTS / script)!r}, run_name="__main__")
    except SystemExit:
        pass
print(json.dumps([m for m in ("torch", "lightning", "timm") if m in sys.modules]))
"""
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("error", [UserError("no"), OSError("no 'x'"), FloatingPointError("inf")])
@pytest.mark.parametrize("variable", ["KEEL_TRACE", "HYDRA_FULL_ERROR"])
def test_an_error_for_the_user_is_one_line_and_its_trace_can_be_had(monkeypatch, error, variable):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as stop:
        exit_on_error(failing(error))
    # A text is printed on stderr, and the exit code is 1.
    assert stop.value.code == f"error: {error} (KEEL_TRACE=1 shows where it comes from)"
    monkeypatch.setenv(variable, "1")
    with pytest.raises(type(error)):
        exit_on_error(failing(error))


def test_hydra_is_asked_for_what_only_it_can_do_and_a_run_gets_the_same(monkeypatch, tmp_path):
    seen = []

    def run(cfg, _clock):
        seen.append((OmegaConf.to_container(cfg), list(HydraConfig.get().overrides.task)))
        return 0.5

    monkeypatch.setattr("tasks.common.run.command_line.resolve_name", lambda _: run)
    monkeypatch.chdir(tmp_path)
    for last in (["seed=3"], ["seed=3", "hydra.run.dir=."], ["seed=3,4", "--multirun"]):
        monkeypatch.setattr("sys.argv", ["train_seg.py", "backbone=resnet18", *last])
        train(SEGMENTATION)
        assert not HydraConfig.initialized()
    plain, by_hydra, *swept = seen
    assert plain == by_hydra
    assert plain[0].keys() >= {"seed", "backbone", "data"}
    assert plain[1] == ["backbone=resnet18", "seed=3"]
    assert [cfg["seed"] for cfg, _ in swept] == [3, 4]


@pytest.mark.parametrize("error", [ZeroDivisionError(), ValueError("too many"), KeyError("x")])
def test_a_result_is_returned_and_a_bug_keeps_its_trace(error):
    assert exit_on_error(lambda: 0.5) == 0.5
    with pytest.raises(type(error)):
        exit_on_error(failing(error))


def test_an_error_within_instantiate_is_told_without_hydras_wrapping():
    target = OmegaConf.create({"_target_": "backbones.build_backbone", "name": "resnet51"})
    with pytest.raises(SystemExit, match=r"^error: unknown backbone 'resnet51'; did you mean"):
        exit_on_error(lambda: instantiate(target))
    with pytest.raises(InstantiationException):
        exit_on_error(lambda: instantiate({"_target_": "math.sqrt", "_args_": [-1]}))


@pytest.mark.parametrize(
    "value",
    ["{'#ff0000': cell, '#0': air}", '{"#ff0000": cell, "#0": air}', "{0: air, '1 x': cell}"],
)
def test_tables_with_quoted_keys_reach_hydra_as_text(value):
    """Hydra's own parser is the judge; without this it refuses them."""
    parser = OverridesParser.create()
    with pytest.raises(HydraException):
        parser.parse_override(f"data.classes={value}")
    (told,) = with_text_tables([f"data.classes={value}"])
    assert parser.parse_override(told).value() == value


@pytest.mark.parametrize(
    "argument",
    ["seed=1", "a={b: 'c'}", "a='{b: c}'", "a=[{b: 1}]", "--cfg", 'a={b: "c: d"}', "a={}"],
)
def test_other_arguments_stay_as_they_are(argument):
    assert with_text_tables([argument]) == [argument]
