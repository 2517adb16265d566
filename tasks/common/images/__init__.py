"""Image files as numbers: PNG, TIFF, BMP, JPEG and WebP."""
