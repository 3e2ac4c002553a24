"""From image files to batches.

Reads with NumPy and Pillow. TensorFlow is imported only by `pipeline` and `augment_tf`,
and only when a loader asks for them.
"""
