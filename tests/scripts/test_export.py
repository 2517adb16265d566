"""``scripts/export.py`` on finished runs, and the files in a process that has no torch."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from backbones import build_backbone
from tasks.common.export import int8, onnx_file
from tasks.common.export.comparing import compare_detections, compare_masks
from tasks.common.export.formats import check_format
from tasks.common.export.keel_runtime import Detections, Model
from tasks.common.export.openvino_file import openvino_run
from tasks.detection.export import ExportedDetector
from tasks.detection.scores.trained import load_detector
from tasks.segmentation.export import ExportedSegmenter
from tasks.segmentation.scores.trained import load_segmenter
from tests.backbones.errors import refuses
from tests.scripts.conftest import ROOT, in_process, read_json

SIZES = ((64, 64), (51, 90), (33, 33))

ALONE = """
import json, sys
from importlib.util import find_spec

sys.path += [sys.argv[3], "."]
found = [n for n in ("torch", "cv2", "omegaconf", "scipy", "backbones", "tasks") if find_spec(n)]
assert not found, found
from keel_runtime import Model
model = Model(sys.argv[1])
found = model(sys.argv[2])
parts = found if isinstance(found, tuple) else [found]
print(json.dumps([part.tolist() for part in parts]))
"""

PROGRAMS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text("utf-8"), re.DOTALL
)


def exported(run, folder, *more, kind="onnx"):
    in_process("export.py", [run, f"--format={kind}", "--output=out", *more], folder)
    return folder / "out"


def beside(folder, inside):
    """The metadata beside a file, which are those inside it and the hashes of files."""
    found = read_json(folder / "metadata.json")
    assert {**inside, "files": found["files"]} == found
    assert found["comparison"]
    return found


def images(channels, sizes=SIZES):
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]


def alone(folder, name, picture):
    """What the runtime beside a file finds where Python has NumPy, Pillow and ONNX Runtime only."""
    packages = picture.parent / "packages"
    packages.mkdir()
    for package in (np, Image, onnxruntime):
        place = Path(package.__file__).parent
        (packages / place.name).symlink_to(place)
        for libraries in place.parent.glob(f"{'pillow' if package is Image else place.name}.libs"):
            (packages / libraries.name).symlink_to(libraries)
    line = [sys.executable, "-I", "-S", "-c", ALONE, name, str(picture), str(packages)]
    done = subprocess.run(
        line, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [np.array(part) for part in json.loads(done.stdout)]


def tiled(picture, path):
    """Save a picture of 64 x 64 pixels, two by two and cut, so that it is larger than a window."""
    pixels = np.array(Image.open(picture))
    four = np.tile(pixels, (2, 2, *[1] * (pixels.ndim - 2)))
    Image.fromarray(four[:100, :127]).save(path)
    return path


@pytest.fixture(scope="session")
def det_file(trained, tmp_path_factory):
    return exported(trained[0], tmp_path_factory.mktemp("det"), "--images=3")


@pytest.fixture(scope="session")
def seg_file(segmented, tmp_path_factory):
    return exported(segmented[0], tmp_path_factory.mktemp("seg"), "--images=2")


def test_a_detector_finds_the_same_in_any_size_and_without_torch(trained, det_file, root, tmp_path):
    model, eager = (
        Model(det_file / "detector.onnx", threads=1),
        load_detector(trained[0], device="cpu", precision="32"),
    )
    pictures = [np.array(Image.open(p)) for p in sorted((root / "images").glob("val*.png"))[:2]]
    pairs = []
    for image in [*pictures, *images(3), np.zeros((40, 50, 3), np.uint8)]:
        found = eager(image)
        pairs.append((Detections(found.boxes, found.labels, found.scores), model.detect(image)))
    picture = tiled(root / "images" / "test_0000.png", tmp_path / "a.png")
    found, parts = eager(picture), alone(det_file, "detector.onnx", picture)
    assert len(found) > 10
    pairs.append((Detections(found.boxes, found.labels, found.scores), Detections(*parts)))
    assert sum(len(found.scores) for found, _ in pairs) > 100
    options = eager.card.options
    agreement = compare_detections(
        pairs, threshold=options.score_threshold, most=options.detections_per_image
    )
    assert agreement.faults == ()
    assert len(model.detect(picture, threshold=0.9).scores) == (found.scores >= 0.9).sum()


def test_a_segmenter_finds_the_same_in_any_size_and_without_torch(
    segmented, seg_file, seg_root, tmp_path
):
    model, eager = (
        Model(seg_file / "segmenter.onnx", threads=1),
        load_segmenter(segmented[0], device="cpu"),
    )
    pairs = []
    for image in images(eager.card.channels, ((64, 64), (51, 90), (70, 40), (130, 33))):
        found = eager(image, probabilities=True)
        pairs.append(
            ((found.mask, found.probabilities), (model.segment(image), model.probabilities(image)))
        )
    agreement = compare_masks(pairs)
    assert agreement.faults == ()
    assert agreement.figures["largest difference of probabilities"] < 1e-4
    picture = tiled(seg_root / "images" / "test_0000.png", tmp_path / "a.png")
    assert model.metadata["windows"]["size"] == [64, 64]
    assert eager.card.dtypes == ("uint8",)
    (mask,) = alone(seg_file, "segmenter.onnx", picture)
    assert np.unique(mask).size > 1
    assert np.mean(mask == eager(picture).mask) > 0.999


def test_a_detectors_pyramid_alone(trained, tmp_path):
    folder = exported(trained[0], tmp_path, "--images=1", kind="onnx_backbone")
    network = load_detector(trained[0], device="cpu", precision="32").network
    model, (image,) = Model(folder / "backbone.onnx", threads=1), images(3, ((51, 90),))
    known = network.backbone.body.conventions
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (known.mean, known.std))
    prepared = (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        expected = network.backbone(prepared[None])
    found = model(image)
    assert list(found) == list(expected) == ["p3", "p4", "p5", "p6"]
    assert not {"thresholds", "windows", "category_ids"} & model.metadata.keys()
    for name, maps in expected.items():
        assert np.allclose(found[name], maps[0], atol=1e-5 * float(maps.abs().max()))


@pytest.mark.slow
def test_a_segmenters_backbone_alone(segmented, tmp_path):
    folder = exported(segmented[0], tmp_path, kind="onnx_backbone")
    found = Model(folder / "backbone.onnx", threads=1)(images(1, ((70, 90),))[0])
    assert [maps.shape[1:] for maps in found.values()] == [
        (-(-70 // 2**k), -(-90 // 2**k)) for k in range(1, 6)
    ]
    metadata = read_json(folder / "metadata.json")
    assert metadata["comparison"]["largest relative difference"] < 1e-3


def test_metadata_are_beside_the_file_and_in_it(trained, det_file):
    inside = onnx.load(str(det_file / "detector.onnx")).metadata_props
    metadata = beside(det_file, json.loads(inside[0].value))
    assert metadata["category_ids"] == list(load_detector(trained[0]).card.category_ids)
    assert metadata["opset"] == 17
    assert metadata["comparison"]["unmatched"] == 0
    assert "3 of the run's validation split" in metadata["comparison"]["images of"]
    assert sorted(metadata["files"]) == ["detector.onnx", "keel_runtime.py"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\); expected \(H, W, 3\)"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\); expected"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.float32), "numbers of type float32, 0 to 0; expected uint8"),
        (np.full((8, 8, 3), np.nan), "NaN or infinite"),
        (np.zeros((8, 8, 3), np.complex64), "type complex64"),
        (np.zeros((2, 8, 8, 3), np.uint8), "expected one image"),
    ],
)
def test_an_image_of_another_kind_is_refused(det_file, image, said):
    with pytest.raises(ValueError, match=said):
        Model(det_file / "detector.onnx")(image)


def test_what_is_no_image_and_what_is_no_file_of_keel_are_refused(det_file, tmp_path):
    model = Model(det_file / "detector.onnx")
    with pytest.raises(TypeError, match="of type list; expected a path"):
        model([1])
    with pytest.raises(ValueError, match="is of the task detection, not segmentation"):
        model.segment(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match="expected an ONNX file of Keel"):
        Model(tmp_path / "x.onnx")
    stripped = onnx.load(str(det_file / "detector.onnx"))
    del stripped.metadata_props[:]
    onnx.save(stripped, str(tmp_path / "x.onnx"))
    with pytest.raises(ValueError, match="it is no export of Keel"):
        Model(tmp_path / "x.onnx")


@pytest.mark.slow
def test_a_file_that_differs_is_not_left_behind(segmented, tmp_path, monkeypatch):
    def other(_network, **_options):
        changed = load_segmenter(segmented[0], device="cpu").network
        with torch.no_grad():
            changed.segmentation_head[0].bias += torch.arange(4.0)[
                : changed.segmentation_head[0].out_channels
            ]
        return changed

    monkeypatch.setattr(onnx_file, "fuse", other)
    with pytest.raises(
        SystemExit, match=r"segmenter.onnx was not shown to find .*probabilities differ by"
    ):
        exported(segmented[0], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_without_its_data_is_compared_on_generated_images(segmented, tmp_path, capsys):
    shutil.copy(segmented[0] / "checkpoints" / "best.ckpt", tmp_path / "best.ckpt")
    exported(tmp_path / "best.ckpt", tmp_path)
    assert "lies in no run folder" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="calibrated on images of the training data, but"):
        exported(tmp_path / "best.ckpt", tmp_path, "--overwrite", kind="onnx_int8")


@pytest.mark.slow
def test_an_export_takes_the_place_of_an_earlier_one_whole(segmented, tmp_path):
    """A file of a format that metadata.json no longer describes would be taken for it."""
    folder = exported(segmented[0], tmp_path, "--images=1", kind="onnx")
    (folder / "own.txt").write_text("kept")
    exported(segmented[0], tmp_path, "--overwrite", kind="backbone")
    names = {path.name for path in folder.iterdir()}
    assert names == {"backbone.safetensors", "metadata.json", "own.txt"}
    (tmp_path / "here").mkdir()
    line = [segmented[0], "--format=backbone", "--output=."]
    in_process("export.py", line, tmp_path / "here")
    assert (tmp_path / "here" / "metadata.json").is_file()


def test_wrong_options_are_refused_before_torch_is_imported(monkeypatch):
    names = "preprocessing", "images", "calibration", "seed", "symmetric", "precision"
    given = dict.fromkeys(names)
    with refuses("unknown format 'onxx'; did you mean 'onnx'"):
        check_format("onxx", Namespace(**given))
    with refuses("--calibration is for the formats onnx_int8, tensorrt; leave it out"):
        check_format("onnx", Namespace(**given | {"calibration": 3}))
    with refuses("--calibration of --format tensorrt takes --precision int8; leave it out"):
        check_format("tensorrt", Namespace(**given | {"calibration": 3, "precision": "fp16"}))
    check_format("tensorrt", Namespace(**given | {"calibration": 3, "precision": "int8"}))
    monkeypatch.setattr("tasks.common.export.formats.find_spec", lambda _: None)
    with refuses(
        r'needs onnx and onnxruntime; install with: pip install "keel-backbones\[export\]"'
    ):
        check_format("onnx", Namespace(**given))
    with refuses(r"\[openvino\]"):
        check_format("openvino", Namespace(**given))


def test_tensorrt_is_not_pretended(trained, tmp_path):
    with pytest.raises(
        SystemExit, match=r"TensorRT is not installed here.* trtexec --onnx=.*--fp16"
    ):
        exported(trained[0], tmp_path, kind="tensorrt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_the_command_for_8_bits_in_tensorrt_writes_what_it_takes(
    kind, trained, segmented, tmp_path
):
    """Zero points of 0, signed bytes, biases in float32, and a pair before each input."""
    run = trained[0] if kind == "detection" else segmented[0]
    more = "--precision=int8", "--calibration=3"
    with pytest.raises(SystemExit, match="TensorRT is not installed here") as told:
        exported(run, tmp_path, *more, kind="tensorrt")
    export, build = str(told.value).partition("Where it is: ")[2].split(" && ")
    _, script, *line = shlex.split(export)
    in_process(Path(script).name, line, tmp_path)
    (path,) = re.findall(r"--onnx=(\S+)", build)
    figures = read_json(tmp_path / "out" / "metadata.json")["int8"]
    assert figures["symmetric"] is True
    assert figures["score lost"] <= int8.MOST_LOST
    graph = onnx.load(str(tmp_path / path)).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    both = {"QuantizeLinear", "DequantizeLinear"}
    nodes = [node for node in graph.node if node.op_type in both]
    assert len(nodes) > 40
    for node in nodes:
        zero = stored[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    for node in nodes:
        if node.op_type == "DequantizeLinear":
            assert makers[node.input[0]].op_type == "QuantizeLinear"
    weighted = [n for n in graph.node if n.op_type in int8.WEIGHTED and n.input[1] in makers]
    layers = [n for n in weighted if makers[n.input[1]].op_type == "DequantizeLinear"]
    assert len(layers) > 20
    assert {makers[node.input[0]].op_type for node in layers} == {"DequantizeLinear"}
    assert all(stored[node.input[2]].dtype == np.float32 for node in layers if len(node.input) > 2)


def graph_of(module, example, *, layout, outputs, free=()):
    """A graph of which only what the exporter reads is stated."""
    names = {"multiple": 1, "network": "", "last": ""}
    return onnx_file.Graph(
        module=module, example=example, layout=layout, outputs=outputs, free=free, **names
    )


class Resized(nn.Module):
    """The sides of an image (C, H, W) when a detector has resized it."""

    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def forward(self, image):
        return torch._shape_as_tensor(self.transform.resize(image)[0])[1:]


def test_images_get_the_size_that_torchvision_gives_them(trained, tmp_path):
    """A pixel less moves every box; in float32, or by a reciprocal, a tenth of the sizes are."""
    model = load_detector(trained[0], device="cpu")
    detector = ExportedDetector(model, checkpoint=trained[0]).graph(model.network, place="inside")
    graph = graph_of(
        Resized(detector.module.detector.transform),
        torch.zeros(3, 96, 128),
        layout="CHW",
        outputs=("sides",),
        free=(1, 2),
    )
    onnx_file.trace(graph, tmp_path / "x.onnx")
    run = onnx_file.session(tmp_path / "x.onnx", threads=1)
    for height, width in np.random.default_rng(0).integers(8, 250, (300, 2)):
        resized, _ = model.network.transform.resize(torch.zeros(3, height, width))
        (sides,) = run(np.zeros((3, height, width), np.float32))
        assert tuple(sides) == resized.shape[1:], (height, width)


def test_deformable_convolutions_are_refused_by_name(tmp_path):
    graph = graph_of(
        build_backbone("resnet18", deformable=["c4"]),
        torch.zeros(1, 3, 8, 8),
        layout="NCHW",
        outputs=("y",),
        free=(),
    )
    with refuses("deformable convolutions, and ONNX has none"):
        onnx_file.trace(graph, tmp_path / "x.onnx")


def test_small_sigmoids_keep_their_order(tmp_path):
    """ONNX Runtime's own are equal below -18, and proposals are sorted by them."""
    x = torch.linspace(-40, 5, 50)[None]
    graph = graph_of(nn.Sigmoid(), x, layout="NC", outputs=("y",), free=())
    onnx_file.trace(graph, tmp_path / "x.onnx")
    (found,) = onnx_file.session(tmp_path / "x.onnx", threads=1)(x.numpy())
    assert (np.diff(found) > 0).all()
    assert np.allclose(found, x.double().sigmoid(), rtol=1e-5, atol=0)


def test_a_fused_checkpoint_is_used_as_any_other(segmented, seg_root, tmp_path, capsys):
    folder = exported(segmented[0], tmp_path, "--images=2", kind="fused")
    assert "segmenter.ckpt agrees with the network" in capsys.readouterr().out
    beside(folder, torch.load(folder / "segmenter.ckpt", weights_only=True)["keel_export"])
    picture = seg_root / "images" / "test_0000.png"
    both = [load_segmenter(p, device="cpu") for p in (folder / "segmenter.ckpt", segmented[0])]
    one, other = (model(picture, probabilities=True).probabilities for model in both)
    assert np.allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_a_fused_detector_has_no_norm_and_finds_the_same(trained, root, tmp_path):
    folder = exported(trained[0], tmp_path, "--images=2", kind="fused")
    fused = load_detector(folder / "detector.ckpt", device="cpu", precision="32")
    assert not [m for m in fused.network.modules() if isinstance(m, nn.BatchNorm2d)]
    picture = root / "images" / "test_0000.png"
    found = load_detector(trained[0], device="cpu", precision="32")(picture)
    assert np.allclose(fused(picture).scores, found.scores, atol=1e-4)


def test_a_detectors_backbone_is_taken_by_name(trained, tmp_path, capsys):
    folder = exported(trained[0], tmp_path, kind="backbone")
    capsys.readouterr()
    weights = load_file(folder / "backbone.safetensors")
    own = load_detector(trained[0], device="cpu").network.backbone.body.file_state()
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[k], v.detach()) for k, v in own.items())
    metadata = read_json(folder / "metadata.json")
    assert metadata["lineage"].startswith("random initialisation -> detection on data")
    assert not {"thresholds", "windows"} & metadata.keys()
    assert list(metadata["files"]) == ["backbone.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_int8_states_what_it_costs_and_gains(
    kind, trained, segmented, tmp_path, capsys, monkeypatch
):
    run = trained[0] if kind == "detection" else segmented[0]
    asked, real = [], int8.quantise
    monkeypatch.setattr(
        int8,
        "quantise",
        lambda *a, **options: asked.append(options["batches"]) or real(*a, **options),
    )
    folder = exported(run, tmp_path, "--calibration=3", "--seed=1", kind="onnx_int8")
    figures = read_json(folder / "metadata.json")["int8"]
    lost = figures["score in float32"] - figures["score in int8"]
    assert figures["score lost"] == pytest.approx(lost)
    assert figures["calibration"] == {"images": 3, "seed": 1, "of": "the training split"}
    subject = (load_detector if kind == "detection" else load_segmenter)(run, device="cpu")
    task = ExportedDetector if kind == "detection" else ExportedSegmenter
    images = task(subject, checkpoint=run / "checkpoints" / "best.ckpt").images("train", 3, seed=1)
    for (window,) in asked[0]:  # the whole image, or a corner of it
        height, width = window.shape[:2]
        corners = [(image[:height, :width], image[-height:, -width:]) for image in images]
        assert any(np.array_equal(window, corner) for pair in corners for corner in pair)
    assert len(images) == 3
    assert lost <= int8.MOST_LOST
    assert f"{figures['metric'][:2]}" in capsys.readouterr().out
    name = next(folder.glob("*_int8.onnx"))
    nodes = onnx.load(str(name)).graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    weights = [makers.get(node.input[1]) for node in nodes if node.op_type == "Conv"]
    share = weights.count("DequantizeLinear") / len(weights)
    ends = figures["first and last layers"]  # a detector's are its first and those of its RPN
    assert share == 1 if ends == "int8" else share > 0.6
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [name.name, "keel_runtime.py", "metadata.json"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("second", "kept"), [(0.88, "float32"), (0.1, "int8"), (0.2, "")])
def test_int8_keeps_the_better_file_or_none(second, kept, segmented, tmp_path, monkeypatch):
    first = 0.86 if kept else float("nan")
    scores = iter([0.9, first, second])
    monkeypatch.setattr(ExportedSegmenter, "score", lambda *_: next(scores))
    if not kept:
        with pytest.raises(SystemExit, match=r"expected at most 0\.05; nothing was kept"):
            exported(segmented[0], tmp_path, "--calibration=1", kind="onnx_int8")
        return
    folder = exported(segmented[0], tmp_path, "--calibration=1", kind="onnx_int8")
    assert read_json(folder / "metadata.json")["int8"]["first and last layers"] == kept


@pytest.mark.slow
def test_a_segmenter_for_torch_export(segmented, tmp_path):
    folder = exported(segmented[0], tmp_path, kind="torch_export")
    found = {"keel": ""}
    program = torch.export.load(folder / "segmenter.pt2", extra_files=found).module()
    image = images(load_segmenter(segmented[0]).card.channels, ((96, 160),))[0]
    logits = program(torch.from_numpy(image[None]))[0].detach().numpy()
    assert logits.shape[1:] == (96, 160)
    assert "multiples of 32" in beside(folder, json.loads(found["keel"]))["sides"]


@pytest.mark.slow
def test_a_detector_is_refused_by_torch_export(trained, tmp_path):
    with pytest.raises(SystemExit, match=r"torch.export cannot follow this detector .*format onnx"):
        exported(trained[0], tmp_path, kind="torch_export")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_a_network_for_openvino(kind, trained, segmented, root, tmp_path):
    openvino = pytest.importorskip("openvino")
    run = trained[0] if kind == "detection" else segmented[0]
    folder = exported(run, tmp_path, kind="openvino")
    (path,) = folder.glob("*.xml")
    names = {path.name, path.with_suffix(".bin").name, "keel_runtime.py", "metadata.json"}
    assert {file.name for file in folder.iterdir()} == names
    held = openvino.Core().read_model(path).get_rt_info(["keel"]).value
    metadata = beside(folder, json.loads(held))
    assert metadata["comparison"]["precision"] == "f32"
    assert metadata["format"] == "openvino"
    if kind == "segmentation":
        return
    with pytest.raises(SystemExit, match="openvino takes --preprocessing outside for a detector"):
        exported(run, tmp_path, "--preprocessing=inside", "--overwrite", kind="openvino")
    model = Model.of(metadata, openvino_run(path))
    eager = ExportedDetector(load_detector(run, device="cpu", precision="32"), checkpoint=run)
    sizes = np.random.default_rng(1).integers(30, 150, (30, 2)).tolist()  # a fifth are traps
    agreement = eager.compare(model, images(3, sizes))
    assert agreement.faults == ()
    assert agreement.figures["unmatched"] == 0
    Image.open(root / "images" / "test_0000.png").save(folder / "photo.jpg")
    line = [sys.executable, "-c", f"{PROGRAMS[1]}\nassert len(scores)"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def documented():
    """The commands of docs/export.md."""
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    return re.findall(r"^python scripts/(export\.py .*)$", text, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("command", documented())
def test_every_command_of_the_document_runs(command, trained, tmp_path):
    script, *line = command.replace("RUN", str(trained[0])).split()
    if "tensorrt" in line:  # which no test has
        with pytest.raises(SystemExit, match=r"Where it is: python .* && trtexec "):
            in_process(script, line, tmp_path)
        return
    in_process(script, line, tmp_path)
    assert (tmp_path / "exports" / line[2] / "keel_runtime.py").is_file()


def test_the_program_of_the_document_runs(det_file, root, tmp_path):
    program = PROGRAMS[0]
    for path in det_file.iterdir():
        (tmp_path / path.name).symlink_to(path)
    Image.open(root / "images" / "test_0000.png").save(tmp_path / "photo.jpg")
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
