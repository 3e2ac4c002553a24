"""What a training needs on devices that are not here, from programs compiled for them.

`devices` describes chips, `topology` gives them to the compiler, `programs` lowers
what a run compiles, and `compile` starts `worker`, the process that compiles. `hlo`
reads the text of a compiled program; `traffic` counts the bytes that it moves,
`products` its matrix products, and `figures` keeps all of that. `fit` and `estimate`
answer from the figures, and `table` prints the answers. What counts and answers needs
no JAX.
"""
