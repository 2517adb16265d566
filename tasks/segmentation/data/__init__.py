"""Segmentation data: cases and their masks, whatever the layout on disk."""
