"""Detection data: images and clean boxes, whatever the layout on disk."""
