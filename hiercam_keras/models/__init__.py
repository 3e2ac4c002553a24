"""Backbones, heads, weights, model files, and layers fast under XLA.

Importing this package imports nothing heavy; import the file that you need.
"""
