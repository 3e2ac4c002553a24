"""Room models: weights for a backbone, from a name or a file."""

import keras


def load_backbone_weights(model: keras.Model, spec: str | None) -> None:
    """Load weights into a backbone, in place."""
    if spec in (None, "none"):
        return
    raise NotImplementedError(spec)
