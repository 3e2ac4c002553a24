"""Training with Keras' `fit` on the JAX backend."""
