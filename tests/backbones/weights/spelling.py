"""What other projects do to names and to images, each as that project's own code does it."""

import json
import pickle
import re

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


def detectron2(state):
    """As tools/convert-torchvision-to-d2.py writes it, the classifier included."""
    named = {}
    for key, value in state.items():
        name = key if "layer" in key else f"stem.{key}"
        for k in (1, 2, 3, 4):
            name = name.replace(f"layer{k}", f"res{k + 1}")
        for k in (1, 2, 3):
            name = name.replace(f"bn{k}", f"conv{k}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        named[name] = value
    return named


def caffe2(state):
    """As the first Detectron names its blobs; its norms have no statistics."""
    named = {}
    for key, value in state.items():
        if "running" in key or "batches" in key:
            continue
        blob = key.replace("conv1.weight", "conv1_w") if key.startswith("conv1") else key
        blob = re.sub(r"^fc\.(w|b).*", r"fc1000_\1", blob)
        blob = re.sub(
            r"^bn1\.weight", "res_conv1_bn_s", re.sub(r"^bn1\.bias", "res_conv1_bn_b", blob)
        )
        if found := re.match(r"layer(\d)\.(\d+)\.(\w+?)(\d?)\.(.*)", blob):
            stage, block, part, k, rest = found.groups()
            where = f"res{int(stage) + 1}_{block}_branch" + ("2" + "xabc"[int(k)] if k else "1")
            norm = part == "bn" or rest.startswith("1.")
            blob = f"{where}_bn_{'s' if 'weight' in rest else 'b'}" if norm else f"{where}_w"
        named[blob] = value
    return named


def transformers(state, prefix="resnet."):
    """As ResNetForImageClassification does."""
    named = {}
    for key, value in state.items():
        name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", key)
        name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
        if found := re.match(r"layer(\d)\.(\d+)\.(conv|bn|downsample)(?:\.)?(\d)\.(.*)", name):
            stage, block, part, k, rest = found.groups()
            kind = {"conv": "convolution", "bn": "normalization"}
            inner = (
                f"layer.{int(k) - 1}.{kind[part]}"
                if part in kind
                else (f"shortcut.{('convolution', 'normalization')[int(k)]}")
            )
            name = f"encoder.stages.{int(stage) - 1}.layers.{block}.{inner}.{rest}"
        name = name.replace("fc.", "classifier.1.")
        named[name if name.startswith("classifier") else prefix + name] = value
    return named


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
