"""Experiments: a grid of trainings, and one page with their results.

Finished trainings are kept, so a stopped experiment resumes, and experiments share the
trainings that they have in common.
"""
