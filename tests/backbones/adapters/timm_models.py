"""One of the smallest models of every family of timm that can be a backbone."""

from typing import Final

_FAMILIES: Final = """
    beit_base_patch16_224 cait_xxs24_224 coat_tiny convit_tiny cpubone_nano cs3darknet_focus_s
    csatv2 cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121 dla46_c dpn48b
    edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientvim_m1 efficientvit_b0
    efficientvit_m0 ese_vovnet19b_slim_dw fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny
    ghostnet_050 gmlp_ti16_224 halonet_h1 hardcorenas_b hgnetv2_b0 hiera_tiny_224
    hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4
    lcnetv2_small legacy_seresnet18 legacy_xception levit_128 lowformer_b0 mobilenetv3_small_050
    mobilenetv5_base mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_gap nasnetalarge nest_tiny
    nextvit_small pit_ti_224 pnasnet5large poolformer_s12 pvt_v2_b0 qwen3_vit_88m rdnet_tiny
    regnetx_004_tv repghostnet_050 repvit_m1 res2next50 resnest14d resnetv2_18 rexnet_100
    sam2_hiera_tiny samvit_base_patch16_224 selecsls42 shvit_s1 skresnet18 starnet_s050
    swiftformer_xs swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window8_256
    test_byobnet test_coatnet test_convnext test_efficientnet test_mambaout test_nfnet
    test_resnet test_vit test_vit_relpos tiny_vit_5m_224 tnt_s_legacy_patch16_224
    twins_svt_small vgg11 visformer_tiny vit_small_r26_s32_224 vitamin_small_224 volo_d1_224
    xception41p xcit_nano_12_p8_224
"""

_ONE_SIZE: Final = """
    beit_base_patch16_224 cait_xxs24_224 coat_tiny convit_tiny efficientformer_l1
    efficientformerv2_s0 gcvit_xxtiny gmlp_ti16_224 halonet_h1 hiera_tiny_224 levit_128
    nest_tiny pit_ti_224 test_coatnet test_vit_relpos tnt_s_legacy_patch16_224 visformer_tiny
    volo_d1_224
"""

FAMILIES: Final = _FAMILIES.split()

ONE_SIZE: Final = set(_ONE_SIZE.split())
"""Those that take images of one size, that of their configuration."""
