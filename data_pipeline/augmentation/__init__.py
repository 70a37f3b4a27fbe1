"""Augmentation: what changes training images, in the pipeline or ahead of it."""
