"""Logit heads for each rank, optionally chained from coarse to fine.

In a chain the input of a head is the backbone's features concatenated with the features
of the next coarser head (Wang et al. 2015; with a stopped gradient, Chang et al. 2021,
arXiv:2011.09040).
"""

from collections.abc import Mapping

import keras

from hiercam_keras.errors import UserError

CHAINS = ("none", "on", "stop_gradient")


class Identity(keras.layers.Identity):
    """Identity that stops the gradient in training only.

    Outside training the gradient passes, because a CAM of the fine head must include
    the evidence that reaches it through the coarse head. Saved as
    `keras.layers.Identity`, which always passes the gradient.
    """

    __module__ = "keras.layers"

    def call(self, inputs, training=None):
        """Returns inputs of any shape unchanged."""
        return keras.ops.stop_gradient(inputs) if training else inputs


def logits_name(rank: str) -> str:
    """Name of the Dense layer with the logits of a rank."""
    return f"logits_{rank}"


def rank_logits(
    features: keras.KerasTensor,
    num_labels: Mapping[str, int],
    head_features: int = 0,
    head_chain: str = "none",
) -> dict[str, keras.KerasTensor]:
    """Builds float32 logits (B, labels) for each rank, in the order of `num_labels`.

    Args:
      features: pooled features (B, C) of the backbone.
      num_labels: number of labels by rank. The chain runs from the fewest labels to the
        most; ranks with equal numbers keep their order in the mapping, which should
        therefore be coarse to fine.
      head_features: units of the hidden layer "features_<rank>" (swish) of each head; 0
        for no hidden layer.
      head_chain: "none": independent heads; "on": a head also takes the hidden features
        of the next coarser head (its logits if `head_features` is 0); "stop_gradient":
        as "on", but the loss of the finer head does not train the coarser one.

    Raises:
      UserError: `head_chain` is unknown, or `head_features` is negative.
    """
    if head_chain not in CHAINS:
        raise UserError(
            f"config.model.head_chain is {head_chain!r}, expected one of "
            f"{', '.join(CHAINS)}."
        )
    if head_features < 0:
        raise UserError(
            f"config.model.head_features is {head_features}, expected 0 or more."
        )
    logits, handed = {}, None
    for rank in sorted(num_labels, key=num_labels.get):
        inputs = features
        if handed is not None and head_chain != "none":
            if head_chain == "stop_gradient":
                handed = Identity(name=f"handed_{rank}", dtype="float32")(handed)
            join = keras.layers.Concatenate(name=f"chain_{rank}", dtype="float32")
            inputs = join([features, handed])
        if head_features:
            inputs = keras.layers.Dense(
                head_features,
                activation="swish",
                name=f"features_{rank}",
                dtype="float32",
            )(inputs)
        dense = keras.layers.Dense(
            num_labels[rank], name=logits_name(rank), dtype="float32"
        )
        logits[rank] = dense(inputs)
        handed = inputs if head_features else logits[rank]
    return {rank: logits[rank] for rank in num_labels}
