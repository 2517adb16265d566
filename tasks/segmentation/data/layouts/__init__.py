"""How segmentation data lie on disk: one file per layout."""
