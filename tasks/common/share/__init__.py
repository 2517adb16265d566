"""Networks and backbones as files for others."""
