"""Losses: equal to MONAI's and torch's, and by hand where those have no answer."""

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss, FocalLoss, TverskyLoss
from torch import nn

from tasks.segmentation.data.cases import IGNORE, ClassTable
from tasks.segmentation.model.losses import LOSSES, SMOOTH
from tests.tasks.segmentation.conftest import refuses
from tests.tasks.segmentation.model.conftest import (
    EXCLUSIVE,
    LAYERED,
    SINGLE,
    loss_of,
    random_batch,
)

TABLES = pytest.mark.parametrize("classes", [EXCLUSIVE, LAYERED, SINGLE])
MONAI_SMOOTH = {"smooth_nr": SMOOTH, "smooth_dr": SMOOTH}
MONAI_HALF = {"smooth_nr": SMOOTH / 2, "smooth_dr": SMOOTH / 2}


def layers_of(labels, classes):
    """The truth as MONAI takes it."""
    if not classes.exclusive:
        return labels.float()
    return F.one_hot(labels.long(), len(classes.names)).movedim(-1, 1).float()


def activation(classes):
    return {"softmax": True} if classes.exclusive else {"sigmoid": True}


def assert_same(ours, theirs, logits):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)
    return gradients[0]


@TABLES
@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
def test_overlap_losses_are_those_of_monai(classes, batch_dice, include_background):
    logits, labels = random_batch(classes)
    truth = layers_of(labels, classes)
    both = include_background or not classes.exclusive
    theirs = {"include_background": both, "batch": batch_dice, **activation(classes)}
    tversky = TverskyLoss(**theirs, **MONAI_HALF, alpha=0.2, beta=0.9)
    focal = TverskyLoss(**theirs, **MONAI_HALF, alpha=0.3, beta=0.7, reduction="none")
    for options, expected in (
        ({"name": "dice"}, DiceLoss(**theirs, **MONAI_SMOOTH)(logits, truth)),
        ({"name": "tversky", "alpha": 0.2, "beta": 0.9}, tversky(logits, truth)),
        ({"name": "focal_tversky"}, (focal(logits, truth) ** 0.75).mean()),
    ):
        options |= {"batch_dice": batch_dice, "include_background": include_background}
        assert_same(loss_of(classes, **options)(logits, labels), expected, logits)


@pytest.mark.parametrize("weights", [(0.5, 2.0, 3.0), ()])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_that_of_torch(weights, smoothing):
    logits, labels = random_batch(EXCLUSIVE)
    labels[0, :2] = IGNORE
    ours = loss_of(EXCLUSIVE, name="ce", class_weights=weights, label_smoothing=smoothing)
    weight = torch.tensor(weights) if weights else None
    theirs = nn.CrossEntropyLoss(weight, ignore_index=IGNORE, label_smoothing=smoothing)
    assert_same(ours(logits, labels), theirs(logits, labels.long()), logits)


@pytest.mark.parametrize("classes", [LAYERED, SINGLE])
def test_cross_entropy_of_layers_is_torchs_binary_one(classes):
    logits, labels = random_batch(classes)
    ours = loss_of(classes, name="ce")(logits, labels)
    assert_same(ours, nn.BCEWithLogitsLoss()(logits, labels.float()), logits)


def test_cross_entropy_of_layers_is_smoothed_towards_a_half_as_two_classes_are():
    logits, labels = random_batch(SINGLE)
    ours = loss_of(SINGLE, name="ce", label_smoothing=0.2)(logits, labels)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)  # sigmoid is softmax of (0, x)
    assert_same(ours, F.cross_entropy(two, labels[:, 0].long(), label_smoothing=0.2), logits)


@pytest.mark.parametrize("name", ["ce", "focal"])
def test_class_weights_of_layers_make_a_weighted_mean(name):
    logits, labels = random_batch(LAYERED)
    labels[:, 1, :3] = IGNORE  # half of one class: it counts less
    weights = (0.5, 2.0, 3.0)
    ours = loss_of(LAYERED, name=name, class_weights=weights)(logits, labels)
    one = loss_of(SINGLE, name=name)
    each = [one(logits[:, k : k + 1], labels[:, k : k + 1]) for k in range(3)]
    expected = (0.5 * each[0] * 60 + 2 * each[1] * 30 + 3 * each[2] * 60) / (30 + 60 + 180)
    assert_same(ours, expected, logits)


@pytest.mark.parametrize("classes", [EXCLUSIVE, SINGLE])  # MONAI has softmax for several layers
def test_dice_and_cross_entropy_are_added_as_monai_does(classes):
    logits, labels = random_batch(classes)
    options = {"include_background": not classes.exclusive, "batch": True}
    options |= {**activation(classes), **MONAI_SMOOTH, "lambda_dice": 2.0, "lambda_ce": 0.5}
    monai = DiceCELoss(**options)
    ours = loss_of(classes, dice_weight=2.0, ce_weight=0.5)(logits, labels)
    assert_same(ours, monai(logits, layers_of(labels, classes)), logits)


@TABLES
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
def test_focal_loss_is_that_of_monai(classes, gamma):
    logits, labels = random_batch(classes)
    monai = FocalLoss(gamma=gamma, use_softmax=classes.exclusive)
    ours = loss_of(classes, name="focal", gamma=gamma)(logits, labels)
    # MONAI's mean over pixels and classes has K - 1 zeros per pixel where classes are exclusive.
    factor = len(classes.names) if classes.exclusive else 1
    assert_same(ours, factor * monai(logits, layers_of(labels, classes)), logits)


def test_focal_loss_weighs_classes_as_a_weighted_mean():
    # p of the true class is 1/2 in both pixels of classes with weights 1 and 3.
    logits, labels = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
    logits[0, 1, 0, 0] = math.log(3)  # the first has 1/4
    classes = ClassTable(names=("background", "a"), values=((0,), (1,)))
    loss = loss_of(classes, name="focal", class_weights=(1.0, 3.0))(logits, labels)
    first, second = 0.75**2 * math.log(4), 0.5**2 * math.log(2)
    assert loss.item() == pytest.approx((first + 3 * second) / 4)


@TABLES
@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_are_as_if_they_were_not_there(classes, name):
    logits, labels = random_batch(classes)
    ignored = torch.rand(2, 6, 5) < 0.4
    loss = loss_of(classes, name=name)
    labels.masked_fill_(ignored if classes.exclusive else ignored[:, None], IGNORE)
    ours = loss(logits, labels)
    # One image of one row that has only the labelled pixels of both.
    kept = [x.movedim(1, -1)[~ignored] if x.ndim == 4 else x[~ignored] for x in (logits, labels)]
    rest = [x.movedim(-1, 0)[None, :, None] if x.ndim == 2 else x[None, None] for x in kept]
    gradient = assert_same(ours, loss(*rest), logits)
    assert (gradient.movedim(1, -1)[ignored] == 0).all()
    assert (gradient.movedim(1, -1)[~ignored] != 0).any(dim=-1).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_class_or_an_image_without_labels_is_not_in_the_mean(name):
    logits, labels = random_batch(LAYERED)
    labels[:, 2] = IGNORE
    two = ClassTable(names=("a", "b"), values=((1,), (2,)), exclusive=False)
    ours, rest = (loss_of(table, name=name, batch_dice=False) for table in (LAYERED, two))
    assert_same(ours(logits, labels), rest(logits[:, :2], labels[:, :2]), logits)
    labels[0] = IGNORE
    assert_same(ours(logits, labels), rest(logits[1:, :2], labels[1:, :2]), logits)


@TABLES
@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_without_any_label_the_loss_is_0_and_so_are_the_gradients(classes, name, batch_dice):
    logits, labels = random_batch(classes)
    loss = loss_of(classes, name=name, batch_dice=batch_dice)(logits, labels.fill_(IGNORE))
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky"])
def test_a_class_that_is_absent_and_hardly_predicted_costs_little(name):
    logits = torch.full((1, 1, 64, 64), -11.0, requires_grad=True)  # 0.07 pixels in sum
    labels = torch.zeros(1, 1, 64, 64)
    loss = loss_of(SINGLE, name=name)(logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert 0 < loss.item() < 0.12
    assert gradient.isfinite().all()
    # Exactly nothing, where a root would have an infinite slope.
    loss = loss_of(SINGLE, name=name)(logits - 200, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert (gradient == 0).all()


@pytest.mark.parametrize("classes", [EXCLUSIVE, SINGLE])
def test_focal_loss_has_a_gradient_where_a_pixel_is_certain_or_ignored(classes):
    logits, labels = random_batch(classes)
    labels[0, ..., 0, 0] = IGNORE
    labels[0, ..., 1, 1] = 0
    sure = logits.detach().clone()
    sure[0, :, 1, 1] = -200
    sure[0, 0, 1, 1] = 200 if classes.exclusive else -200
    sure.requires_grad_()
    loss = loss_of(classes, name="focal", gamma=0.5)(sure, labels)
    (gradient,) = torch.autograd.grad(loss, sure)
    assert gradient.isfinite().all()
    assert (gradient[0, :, [0, 1], [0, 1]] == 0).all()


def test_dice_by_hand():
    # Chances 3/4 and 1/4 over truth 1 and 0: hits 3/4, predicted 1, there 1.
    logits = torch.tensor([[[[math.log(3), -math.log(3)]]]])
    labels = torch.tensor([[[[1, 0]]]])
    loss = loss_of(SINGLE, name="dice")(logits, labels)
    assert loss.item() == pytest.approx(1 - (2 * 0.75 + 1) / (1 + 1 + 1))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_computed_in_float32_under_autocast(name, precision):
    logits, labels = random_batch(EXCLUSIVE, size=(64, 64))
    loss, low = loss_of(EXCLUSIVE, name=name), logits.detach().to(precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = loss(low, labels)
    assert ours.dtype == torch.float32
    assert ours.item() == loss(low.float(), labels).item()


def test_the_loss_brings_nothing_into_a_checkpoint():
    loss = loss_of(EXCLUSIVE, class_weights=(1, 2, 3))
    assert not loss.state_dict()
    assert {buffer.dtype for buffer in loss.buffers()} == {torch.float32}


def test_options_and_classes_that_do_not_fit_are_refused():
    with refuses(r"^recipe\.label_smoothing=0\.1 is of cross entropy.*loss\.name=tversky"):
        loss_of(EXCLUSIVE, label_smoothing=0.1, name="tversky")
    with refuses(r"^loss\.class_weights has 2 numbers, expected one for"):
        loss_of(EXCLUSIVE, class_weights=(1, 2))
    with refuses(r"every pixel is a, the only class, .* exclusive=False"):
        loss_of(ClassTable(names=("a",), values=((1,),)))


@pytest.mark.parametrize(
    ("classes", "logits", "labels"),
    [
        (EXCLUSIVE, (1, 3, 4, 4), (1, 1, 4, 4)),  # would broadcast
        (EXCLUSIVE, (1, 2, 4, 4), (1, 4, 4)),
        (LAYERED, (2, 3, 4, 4), (2, 1, 4, 4)),  # would broadcast
        (LAYERED, (2, 3, 4, 4), (2, 3, 4, 8)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(classes, logits, labels):
    with refuses(r"got logits \(.*\) and labels \(.*\); expected \(., 3, 4"):
        loss_of(classes)(torch.zeros(logits), torch.zeros(labels))
