"""Our detector against torchvision's, state dict for state dict and box for box."""

import copy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection import fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import box_iou

from backbones import Conventions, build_backbone
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tests.backbones.errors import refuses

V2 = {"head": "v2", "fpn_norm": "batch"}
VERSIONS = {"v1": (fasterrcnn_resnet50_fpn, {}), "v2": (fasterrcnn_resnet50_fpn_v2, V2)}
SMALL = {"fpn_channels": 16, "head_width": 16, "min_size": 64, "max_size": 96}


def pair(version, norm="batch"):
    """torchvision's detector, and ours for as many classes."""
    make, options = VERSIONS[version]
    sizes = {"min_size": 64, "max_size": 96}
    theirs = make(weights=None, weights_backbone=None, num_classes=4, **sizes)
    backbone = build_backbone("resnet50", weights="random", norm=norm)
    options = DetectorOptions(**options, **sizes)
    return theirs, build_detector(backbone, num_classes=3, options=options)


@cache
def built(version):
    theirs, ours = pair(version)
    for module in theirs.modules():  # statistics that matter, as after training
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            module.weight.data.uniform_(0.3, 0.7)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def twins(version):
    """torchvision's detector with random weights, and ours with the same ones."""
    return copy.deepcopy(built(version))


def small(name="resnet18", *, num_classes=2, **options):
    options = DetectorOptions(**SMALL | options)
    backbone = build_backbone(name, weights="random", out_features=options.features)
    return build_detector(backbone, num_classes=num_classes, options=options)


@pytest.mark.parametrize("version", ["v1", pytest.param("v2", marks=pytest.mark.slow)])
def test_torchvisions_state_dict_loads_strictly_and_gives_its_detections(version):
    theirs, ours = (d.double().eval() for d in twins(version))  # rounding could swap equal scores
    for detector in (theirs, ours):  # v2's head takes seconds for 1000
        detector.rpn._post_nms_top_n["testing"] = 24
    images = [torch.rand(3, 60, 80).double(), torch.rand(3, 96, 72).double()]
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    for mine, reference in zip(found, expected, strict=True):
        assert len(reference["boxes"]) > 10
        assert torch.equal(mine["labels"], reference["labels"])
        torch.testing.assert_close(mine["scores"], reference["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mine["boxes"], reference["boxes"], rtol=1e-4, atol=1e-3)


def test_class_agnostic_suppression_keeps_the_best_of_all_classes():
    """Against a greedy loop over the detections of the same weights, suppressed per class."""
    options = {"score_threshold": 0.0, "detections_per_image": 20}
    usual, agnostic = small(**options), small(class_agnostic_nms=True, **options)
    usual.roi_heads.detections_per_img = 10_000
    agnostic.load_state_dict(usual.state_dict(), strict=True)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 80)]
    with torch.no_grad():
        before, after = usual.eval()(images), agnostic.eval()(images)
    for all_, kept in zip(before, after, strict=True):
        expected = []
        for k in range(len(all_["boxes"])):  # best first
            overlaps = box_iou(all_["boxes"][k : k + 1], all_["boxes"][expected])
            if not (overlaps > 0.5).any():
                expected.append(k)
        assert set(all_["labels"].tolist()) == {1, 2}
        assert 20 < len(expected) < len(all_["boxes"]) / 1.5
        for name in ("boxes", "scores", "labels"):
            assert torch.equal(kept[name], all_[name][expected[:20]])


@pytest.mark.parametrize(
    ("options", "scored", "trained"),
    [
        ({}, 1000, 2000),  # torchvision's
        ({"detections_per_image": 1000}, 1000, 2000),
        ({"detections_per_image": 1500}, 1500, 2000),
        ({"proposals": 200}, 200, 400),
        ({"proposals": 50}, 100, 100),
    ],
)
def test_there_are_at_least_as_many_proposals_as_detections(options, scored, trained):
    with torch.device("meta"):
        rpn = small(**options).eval().rpn
    assert rpn.pre_nms_top_n() == rpn.post_nms_top_n() == scored
    rpn.train()
    assert rpn.pre_nms_top_n() == rpn.post_nms_top_n() == trained


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frozen_batch_backbone_takes_the_same_state_dict(version):
    with torch.device("meta"):
        theirs, ours = pair(version, norm="frozen_batch")
        ours.load_state_dict(theirs.state_dict(), strict=True)
    assert not any("num_batches_tracked" in key for key in ours.backbone.body.state_dict())


@pytest.mark.parametrize(("trainable", "freeze"), [(5, 0), (3, 2), (1, 4), (0, 5)])
def test_as_many_parameters_are_frozen_as_in_torchvision(trainable, freeze):
    options = {"weights": None, "trainable_layers": trainable}
    with torch.device("meta"):
        theirs = resnet_fpn_backbone(backbone_name="resnet50", **options)
        ours = build_backbone("resnet50", weights="random", norm="frozen_batch", freeze=freeze)
    frozen = [n for n, p in ours.named_parameters() if not p.requires_grad]
    expected = [n for n, p in theirs.body.named_parameters() if not p.requires_grad]
    assert frozen == expected


def test_torchvisions_coco_weights_need_an_epsilon_of_0_and_get_it():
    """As `fasterrcnn_resnet50_fpn(weights="COCO_V1")` does with its frozen norms."""
    theirs, ours = twins("v1")
    overwrite_eps(theirs, 0.0)
    for module in theirs.modules():  # overwrite_eps knows frozen norms only
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.0
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval().backbone(image)["0"]
        other = ours.eval().backbone(image)["p2"]
        ours.backbone.body.adopt(Conventions(epsilon=0.0))
        found = ours.backbone(image)["p2"]
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale)
    assert not torch.equal(found, other)


def test_training_losses_are_torchvisions():
    images = [torch.rand(3, 96, 128), torch.rand(3, 96, 96)]
    targets = [
        {"boxes": torch.tensor([[10.0, 10, 60, 50]]), "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    losses = []
    for detector in twins("v1"):
        torch.manual_seed(1)  # of the sampling of anchors and proposals
        losses.append({k: v.detach() for k, v in detector.train()(images, targets).items()})
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothed_labels_are_torchs_and_change_no_other_loss(smoothing, monkeypatch):
    """torchvision calls cross entropy in its own module, where another one can be put."""
    detector = small(features=("c3",), anchor_sizes=(16, 32), num_classes=3, rois_per_image=16)
    boxes = torch.tensor([[8.0, 8.0, 40.0, 40.0], [20.0, 4.0, 60.0, 30.0]])
    batch = [torch.rand(3, 64, 64)], [{"boxes": boxes, "labels": torch.tensor([1, 3])}]
    torch.manual_seed(1)
    with detector.smoothed_classes(smoothing) as smooth:
        ours = smooth(detector(*batch))
    plain = F.cross_entropy
    monkeypatch.setattr(
        "torchvision.models.detection.roi_heads.F.cross_entropy",
        lambda logits, labels: plain(logits, labels, label_smoothing=smoothing),
    )
    torch.manual_seed(1)
    expected = detector(*batch)
    assert ours.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(ours[name], loss)
    predictor = detector.roi_heads.box_predictor
    assert not predictor._forward_hooks
    weight = predictor.cls_score.weight
    gradients = [torch.autograd.grad(x["loss_classifier"], weight)[0] for x in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_boxes_keep_their_precision_under_autocast():
    detector = small(features=("c4",), anchor_sizes=(32, 64), max_size=128, rois_per_image=8)
    narrow = torch.tensor([[100.05, 10.0, 100.2, 40.0]])  # of no width in bfloat16
    target = {"boxes": narrow, "labels": torch.tensor([1])}
    proposals = []
    detector.rpn.register_forward_hook(lambda _, __, output: proposals.extend(output[0]))
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector([torch.rand(3, 64, 128)], [target])
    assert {p.dtype for p in proposals} == {torch.float32}
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_any_backbone_and_pyramid_train(name):
    detector = small(name, features=("c3", "c4"), anchor_sizes=(16, 32, 64))
    target = {"boxes": torch.tensor([[5.0, 5, 40, 40]]), "labels": torch.tensor([1])}
    sum(detector([torch.rand(3, 64, 80)], [target]).values()).backward()
    assert [n for n, p in detector.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ("c3", "c7")}, "unknown backbone feature 'c7'"),
        ({"anchor_sizes": (32, 64)}, r"anchor_sizes takes one size per pyramid level \(p2, .*p6\)"),
        ({"features": ("c2", "c4")}, "features takes neighbouring stages.*got c2, c4"),
        ({"min_size": 0}, "model.min_size takes an integer of at least 1, got 0"),
        ({"detections_per_image": 0}, "detections_per_image takes an integer of at least 1, got 0"),
        ({"max_size": 100}, "model.max_size takes at least min_size=800, got 100"),
        ({"rois_per_image": 0}, "model.rois_per_image takes an integer of at least 1, got 0"),
        ({"anchor_sizes": (0, 32)}, r"anchor_sizes takes sizes above 0, got \[0, 32\]"),
        ({"score_threshold": 1.0}, "model.score_threshold takes a number from 0 to below 1"),
        ({"head": "v3"}, "unknown model.head 'v3'; Known: v1, v2"),
        ({"fpn_norm": "bn"}, "unknown model.fpn_norm 'bn'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with torch.device("meta"), refuses(message):
        options = DetectorOptions(**options)
        build_detector(build_backbone("resnet18"), num_classes=1, options=options)


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_a_trace_finds_on_other_images_what_the_detector_finds():
    """Other images have other numbers of proposals, detections and pixels."""
    detector = small(max_size=128, score_threshold=0.0).eval().requires_grad_(requires_grad=False)

    def found(image):  # torch.jit.trace wants tensors
        return tuple(detector([image])[0].values())

    traced = torch.jit.trace(found, torch.rand(3, 64, 96), check_trace=False)
    for size in [(64, 96), (96, 64), (64, 128)]:
        image = torch.rand(3, *size)
        torch.testing.assert_close(traced(image), found(image), rtol=1e-4, atol=1e-3)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused_in_plain_words():
    detector = small()
    for module in (detector, detector.roi_heads.box_roi_pool):
        with pytest.raises(RuntimeError, match=r"^torch.jit.script cannot express the code of "):
            torch.jit.script(module)


def test_a_detector_trains_its_rpn_on_windows():
    """Its maps have 640 cells, the windows of 4 anchors 36."""
    detector = small(proposals=20).train()
    detector.rpn.fg_bg_sampler.batch_size_per_image = 4
    kept = []
    boxes = torch.tensor([[8.0, 8.0, 40.0, 40.0]])
    at = detector.rpn.head.at
    detector.rpn.head.at = lambda level, cells: kept.append(len(cells)) or at(level, cells)
    detector([torch.rand(3, 64, 64)], [{"boxes": boxes, "labels": torch.tensor([1])}])
    assert sum(kept) == 4
