"""Data sets as people have them: their folders, images and masks, read and written."""
