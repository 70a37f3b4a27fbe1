"""Batches: the ``tf.data`` pipelines that feed trials from a prepared store."""
