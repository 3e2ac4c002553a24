"""What a network looks at, asked for the species or for the family.

Importing this package imports neither keras, jax nor tensorflow; each room is imported
when it is needed.
"""

__version__ = "0.1.0"
