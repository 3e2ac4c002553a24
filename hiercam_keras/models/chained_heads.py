"""The heads, and what each sees: pooled features, and a coarser head's.

Today's form of multiple granularities in one network (Wang et al. 2015; with a gate for
the gradient, Chang et al. 2021, arXiv:2011.09040): a coarse head has features of its
own, and the next finer head sees them next to the backbone's features.
"""

from collections.abc import Mapping

import keras

from hiercam_keras.errors import UserError

CHAINS = ("none", "on", "stop_gradient")


class Identity(keras.layers.Identity):
    """Hands its input on; in training no gradient goes back through it.

    Only in training: a CAM of the fine head has to count the evidence that comes to it
    by way of the coarse one. Saved as the stock layer, for which that holds always.
    """

    __module__ = "keras.layers"

    def call(self, inputs, training=None):
        """Inputs of any shape, unchanged."""
        return keras.ops.stop_gradient(inputs) if training else inputs


def logits_name(rank: str) -> str:
    """The name of the Dense layer that answers at a rank."""
    return f"logits_{rank}"


def rank_logits(
    features: keras.KerasTensor,
    num_labels: Mapping[str, int],
    head_features: int = 0,
    head_chain: str = "none",
) -> dict[str, keras.KerasTensor]:
    """Float32 logits (B, labels) of each rank, in the order of `num_labels`.

    Args:
      features: (B, C), of the backbone.
      num_labels: number of labels by rank. Ranks are taken from coarse to fine by this
        number, those with as many (every genus has one species) in the order that they
        come in: coarse to fine, then.
      head_features: units of a hidden layer (swish) of each head, "features_<rank>"; 0
        for none.
      head_chain: "none"; "on": a head also sees the next coarser one's hidden features
        (its logits where head_features is 0); "stop_gradient": the same, but the loss
        of the finer head does not train the coarser one through it.

    Raises:
      UserError: another chain, or a negative number of units.
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
