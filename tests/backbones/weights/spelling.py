"""What other projects do to names and to images, each as that project's own code does it."""

import io
import json
import pickle
import re
from functools import partial

import torch
from safetensors.torch import save_file


def by(mean, std, *, white=1.0, bgr=False):
    """Return what a project does to an RGB image in [0, 1]."""

    def prepare(image):
        image = image[:, [2, 1, 0]] * white if bgr else image * white
        return (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    return prepare


IMAGENET = by((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SWAV = by((0.485, 0.456, 0.406), (0.228, 0.224, 0.225))
CAFFE = by((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), white=255, bgr=True)
CV2_HALF = by((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), bgr=True)
HALF = by((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
HALF_CARD = {"mean": [0.5] * 3, "std": [0.5] * 3}  # what a file says of such images


def renamed(state, rules):
    """With names in which each pattern is replaced, one after the other."""
    names = {}
    for key in state:
        name = key
        for pattern, replacement in rules.items():
            name = re.sub(pattern, replacement, name)
        names[name] = state[key]
    return names


DETECTRON2 = {  # as tools/convert-torchvision-to-d2.py writes it, the classifier included
    r"^(?!layer)": "stem.",
    r"layer(\d)": lambda found: f"res{int(found[1]) + 1}",
    r"bn(\d)": r"conv\1.norm",
    r"downsample\.0": "shortcut",
    r"downsample\.1": "shortcut.norm",
}
CAFFE2 = {  # as the first Detectron names its blobs
    r"^fc": "fc1000",
    r"^bn1": "res_conv1_bn",
    r"layer(\d)\.(\d+)\.": lambda found: f"res{int(found[1]) + 1}_{found[2]}_branch",
    r"branch(conv|bn)(\d)": lambda found: f"branch2{'xabc'[int(found[2])]}_{found[1]}",
    r"branchdownsample\.(\d)": lambda found: f"branch1_{('conv', 'bn')[int(found[1])]}",
    r"bn\.weight": "bn_s",
    r"bn\.bias": "bn_b",
    r"(_conv)?\.(w|b)\w+": r"_\2",
}
TRANSFORMERS = {  # as ResNetForImageClassification does, but for the prefix
    r"^conv1": "embedder.embedder.convolution",
    r"^bn1": "embedder.embedder.normalization",
    r"layer(\d)": lambda found: f"encoder.stages.{int(found[1]) - 1}.layers",
    r"conv(\d)": lambda found: f"layer.{int(found[1]) - 1}.convolution",
    r"bn(\d)": lambda found: f"layer.{int(found[1]) - 1}.normalization",
    r"downsample\.0": "shortcut.convolution",
    r"downsample\.1": "shortcut.normalization",
}
detectron2 = partial(renamed, rules=DETECTRON2)


def caffe2(state):
    """Its norms have no statistics."""
    learned = {k: v for k, v in state.items() if "running" not in k and "batches" not in k}
    return renamed(learned, CAFFE2)


def transformers(state, prefix="resnet."):
    return renamed(state, TRANSFORMERS | {r"^(?!fc)": prefix, r"^fc": "classifier.1"})


def children(state, prefix="backbone."):
    """As nn.Sequential(*list(resnet.children())[:9]) does."""
    place = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    parts = {key: key.partition(".") for key in state if not key.startswith("fc.")}
    return {f"{prefix}{place[a]}.{rest}": state[key] for key, (a, _, rest) in parts.items()}


def below(prefix, state):
    """With a prefix to every name."""
    return {prefix + key: value for key, value in state.items()}


def zeros(state):
    """The same names, and values that would be noticed."""
    return {key: value * 0 for key, value in state.items()}


def written(write, *arguments, **options):
    """Return the bytes that a function writes to a file."""
    file = io.BytesIO()
    write(*arguments, file, **options)
    return file.getvalue()


def write_pickle(path, state, wrap=None):
    """Write a pickle of NumPy arrays, as detectron's; ``wrap`` puts them into a checkpoint."""
    arrays = {key: value.numpy() for key, value in state.items()}
    path.write_bytes(pickle.dumps(arrays if wrap is None else wrap(arrays), protocol=2))
    return path


def hub(folder, state, **notes):
    """Write a weight file and JSON files beside it, as the hub does; return the weight file."""
    save_file({key: value.clone() for key, value in state.items()}, folder / "model.safetensors")
    for name, content in notes.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / "model.safetensors"


MM2 = """
img_norm_cfg = dict(mean=[{mean}], std=[{std}], to_rgb={rgb})
model = dict(type='FasterRCNN', backbone=dict(type='ResNet', depth=18, style='{style}'),
    train_cfg=dict(rpn=__import__('os').getpid()))
train_pipeline = [dict(type='Normalize', mean=[{mean}], std=[{std}], to_rgb={rgb})]
"""
MM2_CAFFE = MM2.format(mean="103.530, 116.280, 123.675", std="1., 1, 1.0", rgb=False, style="caffe")
MM2_TORCH = MM2.format(
    mean="123.675, 116.28, 103.53", std="58.395, 57.12, 57.375", rgb=True, style="pytorch"
)
MM3 = """
data_preprocessor = dict(type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32)
model = {'backbone': {'type': 'ResNet', 'depth': 18, 'style': 'pytorch'}}
"""


def mmlab(state, text, key):
    heads = {"neck.lateral_convs.0.conv.weight": torch.ones(1), "bbox_head.x": torch.ones(1)}
    body = {k: v for k, v in below("backbone.", state).items() if ".fc." not in k}
    return {"meta": {"mmdet_version": "3.3.0", key: text}, "state_dict": body | heads}
