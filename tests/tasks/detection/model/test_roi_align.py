import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from tasks.detection.model.roi_align import PyramidRoIAlign
from tests.backbones.errors import refuses

LEVELS = ["p2", "p3", "p4", "p5"]
STRIDES = [4, 8, 16, 32]


def pooler(**options):
    return PyramidRoIAlign(LEVELS, 7, **{"strides": STRIDES} | options)


def pyramid_of(height, width):
    """Random levels of two padded images."""
    sizes = {name: (height // s, width // s) for name, s in zip(LEVELS, STRIDES, strict=True)}
    kind = {"dtype": torch.float64, "requires_grad": True}
    return {name: torch.randn(2, 3, *size, **kind) for name, size in sizes.items()}


@pytest.fixture
def pyramid():
    return pyramid_of(640, 896)


@pytest.fixture
def boxes():
    """From 2 px to the whole image, some reaching over its border, on every level."""
    corner = torch.rand(60, 2, dtype=torch.float64) * 640 - 20
    side = 2.0 ** (torch.rand(60, 2, dtype=torch.float64) * 9 + 1)
    boxes = torch.cat([corner, corner + side], dim=1)
    return [boxes[:25], boxes[25:]]


SHAPES = [(640, 896), (600, 800)]


def check(pool, maps, boxes, shapes=SHAPES):
    """What is pooled is what torchvision pools."""
    theirs = MultiScaleRoIAlign(LEVELS, 7, 2)(maps, boxes, shapes)
    torch.testing.assert_close(pool(maps, boxes, SHAPES), theirs)  # ours needs no shapes


def check_smaller(pool, maps, boxes):
    smaller = {name: level[..., ::2, ::2] for name, level in maps.items()}
    check(pool, smaller, [b / 2 for b in boxes], [(320, 448)] * 2)


@pytest.fixture(params=["own", "operator"])
def _path(request, monkeypatch):
    """Take our own path, and that of a GPU and of exported graphs: torchvision's operator."""
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: request.param == "operator")


both_paths = pytest.mark.usefixtures("_path")


@both_paths
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_features_and_gradients_are_those_of_torchvision(pyramid, boxes, ratio):
    theirs = MultiScaleRoIAlign(LEVELS, 7, ratio)(pyramid, boxes, SHAPES)
    ours = pooler(sampling_ratio=ratio)(pyramid, boxes, SHAPES)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(theirs)
    maps = list(pyramid.values())
    expected = torch.autograd.grad(theirs, maps, upstream)
    found = torch.autograd.grad(ours, maps, upstream)
    assert all(gradient.any() for gradient in expected), "a level was not pooled from"
    torch.testing.assert_close(found, expected)


@both_paths
def test_no_box_at_all_gives_no_feature_and_a_gradient_of_zero(pyramid):
    none = torch.zeros(0, 4, dtype=torch.float64)
    pooled = pooler()(pyramid, [none, none], SHAPES)
    assert pooled.shape == (0, 3, 7, 7)
    gradients = torch.autograd.grad(pooled.sum(), list(pyramid.values()))
    assert not any(gradient.any() for gradient in gradients)


@both_paths
def test_under_autocast_the_pooling_is_in_float32_and_rounded_once(pyramid, boxes):
    low = {name: level.bfloat16() for name, level in pyramid.items()}
    full = {name: level.double() for name, level in low.items()}
    expected = MultiScaleRoIAlign(LEVELS, 7, 2)(full, boxes, SHAPES)
    with torch.autocast("cpu", torch.bfloat16):
        found = pooler()(low, [b.float() for b in boxes], SHAPES)
    # Rounded once, at the end, to the features' 8 bits, as torchvision does; the sampling points
    # are rounded to float32, 1e-5 px at 200 px.
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-4)


@both_paths
@pytest.mark.parametrize("low", [torch.bfloat16, torch.half])
@pytest.mark.parametrize("feature", [torch.float32, torch.bfloat16, torch.half])
def test_boxes_of_low_precision_are_cast_up(pyramid, boxes, low, feature):
    """Coordinates, levels and sampling points are those of the boxes as they were given."""
    maps = {name: level.to(feature) for name, level in pyramid.items()}
    given = [b.to(low) for b in boxes]
    full = {name: level.double() for name, level in maps.items()}
    expected = MultiScaleRoIAlign(LEVELS, 7, 2)(full, [b.double() for b in given], SHAPES)
    found = pooler()(maps, given, SHAPES)
    assert found.dtype == feature
    rounding = torch.finfo(feature).eps
    torch.testing.assert_close(found.double(), expected, rtol=rounding, atol=max(1e-4, rounding))


@both_paths
@pytest.mark.parametrize("shape", [(40, 256), (256, 40), (10, 12)])
def test_the_padding_changes_no_level(shape):
    """A scale by the padded sides, as torchvision guesses it, would be wrong."""
    padded = tuple(-(-side // 32) * 32 for side in shape)
    maps = pyramid_of(*padded)
    boxes = [torch.tensor([[3.0, 2.0, 30.0, 25.0], [0.0, 0.0, 36.0, 38.0]]).double()] * 2
    theirs = MultiScaleRoIAlign(LEVELS, 7, 2)(maps, boxes, [padded] * 2)
    torch.testing.assert_close(pooler()(maps, boxes, [shape] * 2), theirs)


@pytest.mark.parametrize("strides", [[4, 8, 16], [4, 8, 16, 33], [0, 8, 16, 32]])
def test_strides_that_do_not_fit_are_refused(strides):
    message = r"^strides takes one power of 2 per level \(p2, p3, p4, p5\), got \["
    with refuses(message):
        PyramidRoIAlign(LEVELS, 7, strides=strides)


def split(boxes, first, count):
    return [boxes[0][:first], boxes[1][:count]]


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
def test_a_trace_takes_other_counts_and_sizes(pyramid, boxes):
    """A trace that has counted boxes pools from the wrong image."""
    maps = {name: level.detach() for name, level in pyramid.items()}

    def flat(*tensors):  # torch.jit.trace wants tensors
        return pooler()(dict(zip(LEVELS, tensors, strict=False)), [*tensors[4:]], SHAPES)

    traced = torch.jit.trace(flat, (*maps.values(), *split(boxes, 2, 3)))

    def pool(maps, boxes, _shapes):
        return traced(*maps.values(), *boxes)

    for first, count in [(3, 2), (0, 5), (25, 35), (0, 0)]:
        check(pool, maps, split(boxes, first, count))
    check_smaller(pool, maps, boxes)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("strict", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_export_takes_other_counts_and_sizes(pyramid, boxes, strict):
    maps = {name: level.detach() for name, level in pyramid.items()}
    free = torch.export.Dim.DYNAMIC
    dynamic = ({key: {2: free, 3: free} for key in LEVELS}, [{0: free}] * 2, [(None, None)] * 2)
    given = (maps, boxes, SHAPES)
    pool = torch.export.export(pooler(), given, dynamic_shapes=dynamic, strict=strict).module()
    check(pool, maps, split(boxes, 3, 2))
    check_smaller(pool, maps, split(boxes, 3, 2))


def test_torch_fx_sees_one_node(pyramid, boxes):
    graph = torch.fx.symbolic_trace(pooler())
    for given in (boxes, split(boxes, 3, 2)):
        check(graph, pyramid, given)


@pytest.mark.slow
def test_compiling_takes_other_counts(pyramid, boxes):
    torch.compiler.reset()
    pool = torch.compile(pooler(), fullgraph=True, dynamic=True, backend="eager")
    for given in (boxes, split(boxes, 3, 2), split(boxes, 2, 9)):
        check(pool, pyramid, given)
