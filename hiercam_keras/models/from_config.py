"""The network of an experiment's config."""

from typing import Any

from hiercam_keras.models import heads, xla_layers


def build(
    config: Any,
    num_labels: dict[str, int],
    image_size: int | None = None,
    weights: str | None = None,
) -> Any:
    """A new model with a head for each rank, its layers fast under XLA.

    Args:
      config: of the experiment.
      num_labels: by rank, coarse to fine.
      image_size: in pixels; None: that of the config.
      weights: to start from; None: those of the config.
    """
    model = heads.build_model(
        config.model.backbone,
        image_size or config.data.image_size,
        num_labels,
        dropout=config.model.dropout,
        output_stride=config.model.output_stride,
        bn_momentum=config.model.bn_momentum,
        drop_connect=config.model.drop_connect,
        weights=weights or config.model.weights,
        head_features=config.model.head_features,
        head_chain=config.model.head_chain,
    )
    return xla_layers.accelerate(model, config.model.fast_layers)
