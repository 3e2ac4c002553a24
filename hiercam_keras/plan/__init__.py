"""What a training needs on devices that are not here, from programs compiled for them.

`hlo` reads the text of a compiled program; `traffic` counts the bytes that it moves,
`products` its matrix products. They need no JAX.
"""
