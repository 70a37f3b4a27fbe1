"""The config file of the reference FlexUNet: read, and written."""
