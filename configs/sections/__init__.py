"""Sections of the config that one experiment reads, each with all of its fields.

The record of a training leaves them out: they do not affect a trained model.
"""
