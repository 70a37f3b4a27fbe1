"""Images and masks: OpenCV prepares them once, tf.data feeds them."""
