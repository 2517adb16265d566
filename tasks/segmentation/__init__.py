"""Segmentation: a ResNet-UNet on images and on slices of volumes."""
