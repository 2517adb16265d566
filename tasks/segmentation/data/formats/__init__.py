"""File types of images and volumes."""
