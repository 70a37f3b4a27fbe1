"""Scores of models, image by image, at the images' own size."""
