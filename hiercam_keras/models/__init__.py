"""Backbones, heads, weights, model files, and layers optimized for XLA.

Importing this package does not import Keras or JAX; import the modules you need.
"""
