"""Checkpoints: what they hold, stopping, and going on from one."""
