"""Faithfulness: the change of the score when the pixels that a map marks are removed.

`order` determines the order of removal, `fills` the replacement, `curves` runs the
model, `summary` computes figures from the scores, and `measure` combines all of them.
jax is imported in `curves` and `measure` only.
"""
