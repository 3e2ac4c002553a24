"""Does the score follow when what a map marks is taken away?

`order` says in which order pixels go, `fills` what is put in their place, `curves` asks
the model, `summary` makes numbers of the answers, `measure` does all of it at once.
jax is imported in `curves` and `measure` only.
"""
