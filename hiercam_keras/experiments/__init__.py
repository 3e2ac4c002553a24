"""Several runs, and one page about them.

A piece is one training; pieces that are finished are kept, so that an experiment that
was stopped goes on where it was, and experiments share what they have in common.
"""
