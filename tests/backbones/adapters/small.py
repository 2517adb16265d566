"""What is quick to build: options of DETR, and what a weight file says of its images."""

CARD = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "epsilon": 1e-3}
DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 5,
}
