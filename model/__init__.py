"""FlexUNet in Keras: architecture, losses, metrics, cost and the training steps."""
