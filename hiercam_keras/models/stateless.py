"""A forward pass as a pure function, with all layers in the given training mode.

On the JAX backend (keras 3.15) `keras.Model.stateless_call`, `fit` and `predict` run a
model's `call`, not its `__call__`. Keras propagates `training` to nested layers in
`__call__` only. If the `call` of a subclassed model does not pass `training` on, each
layer uses its own default: augmentation layers are active, and batch normalization runs
in inference mode.
"""

from collections.abc import Sequence
from typing import Any

import keras


def variables(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """The trainable and the non-trainable variables, as `call` takes their values."""
    return model.trainable_variables, model.non_trainable_variables


def order(trainable: Sequence[Any], non_trainable: Sequence[Any]) -> tuple[int, ...]:
    """Identifies the order of a model's variables.

    `trainable` of a layer moves its variables from one list to the other. A compiled
    pass keeps the order of its trace, so it is found by this one as well as by shapes.
    """
    return tuple(map(id, (*trainable, *non_trainable)))


def call(
    model: keras.Model,
    trainable: Sequence[Any],
    non_trainable: Sequence[Any],
    inputs: Any,
    *,
    training: bool,
) -> tuple[Any, list[Any]]:
    """Returns the outputs of the model and its non-trainable variables after the pass.

    Args:
      model: built.
      trainable, non_trainable: values of the model's variables, in their order.
      inputs: of the model's call.
      training: mode of all layers, except where the model's code passes another one.
    """
    pairs = [
        *zip(model.trainable_variables, trainable, strict=True),
        *zip(model.non_trainable_variables, non_trainable, strict=True),
    ]
    with keras.StatelessScope(state_mapping=pairs) as scope:
        outputs = model(inputs, training=training)
    state = [scope.get_current_value(v) for v in model.non_trainable_variables]
    return outputs, state
