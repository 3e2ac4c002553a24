"""Reading of data sets: from image files to batches.

It needs NumPy and Pillow. TensorFlow is imported only by `pipeline` and `augment_tf`,
when a loader uses them.
"""
