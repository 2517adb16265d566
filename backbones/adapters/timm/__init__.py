"""timm's models as our backbones (``timm/<name>``), and our backbones in timm's shape."""

from backbones.adapters.timm.backbone import TimmBackbone as TimmBackbone
from backbones.adapters.timm.backbone import build_timm as build_timm
from backbones.adapters.timm.features import TimmFeatures as TimmFeatures
