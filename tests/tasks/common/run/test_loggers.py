"""What is logged beside metrics.csv is what other programs read back."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tasks.common.run import loggers as module
from tasks.common.run.loggers import begin, check_logger, log_pictures, loggers
from tests.backbones.errors import refuses


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "curves.png"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path, pixels


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch, name):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with refuses(rf"pip install 'keel-backbones\[{name}\]'"):
        check_logger(name)
    check_logger("tensorboard")
    check_logger("none")


def test_tensorboard_has_the_pictures_pixel_by_pixel(tmp_path, picture):
    path, pixels = picture
    made = loggers("tensorboard", tmp_path)
    begin(made, config={"seed": 0})
    log_pictures(made, [path, tmp_path / "absent.png"], epoch=3)
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    (event,) = events.Images("curves")
    with Image.open(io.BytesIO(event.encoded_image_string)) as found:
        np.testing.assert_array_equal(np.asarray(found), pixels)
    assert event.step == 3


def test_none_logs_to_the_run_folder_alone(tmp_path, picture):
    (own,) = loggers("none", tmp_path / "run")
    own.log_metrics({"loss": 0.5}, step=1)
    own.save()
    log_pictures([own], [picture[0]], epoch=1)
    assert (tmp_path / "run/metrics.csv").read_text().splitlines() == ["loss,step", "0.5,1"]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_mlflow_has_scores_pictures_and_the_configuration(tmp_path, picture, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    made = loggers("mlflow", tmp_path / "detection/run")
    begin(made, config={"recipe": {"lr": 0.25}})
    made[1].log_metrics({"val/ap": 0.5}, step=7)
    log_pictures(made, [picture[0]], epoch=1)
    run = mlflow.MlflowClient(uri).get_run(made[1].run_id)
    assert run.data.params == {"recipe/lr": "0.25"}
    assert run.data.metrics == {"val/ap": 0.5}
    assert run.info.run_name == "run"
    stored = mlflow.MlflowClient(uri).list_artifacts(made[1].run_id)
    assert [one.path for one in stored] == ["curves.png"]


def test_a_server_that_does_not_answer_is_an_error_before_training(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with refuses("leave logger out"):
        begin(loggers("mlflow", tmp_path / "detection/run"), config={"seed": 0})


def test_wandb_writes_offline(tmp_path, picture, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "detection/run"
    made = loggers("wandb", folder)
    begin(made, config={"recipe": {"lr": 0.25}})
    log_pictures(made, [picture[0]], epoch=1)
    assert dict(wandb.run.config) == {"recipe": {"lr": 0.25}}
    assert wandb.run.project == "keel-detection"
    wandb.finish()
    assert list(folder.glob("wandb/offline-run-*/files/media/images/curves_*.png"))
