"""One pass through a model as a pure function, every layer in the mode asked for.

`keras.Model.stateless_call` runs the model's `call` and not its `__call__`, as `fit`
and `predict` do on the JAX backend (keras 3.15). Keras hands `training` down to the
layers in `__call__` only, so a subclassed model whose `call` does not pass it on leaves
every layer its own default: augmentation layers act, batch normalization infers.
"""

from collections.abc import Sequence
from typing import Any

import keras


def call(
    model: keras.Model,
    trainable: Sequence[Any],
    non_trainable: Sequence[Any],
    inputs: Any,
    *,
    training: bool,
) -> tuple[Any, list[Any]]:
    """Outputs of the model, and its non-trainable variables after the pass.

    Args:
      model: built.
      trainable, non_trainable: values of the model's variables, in their order.
      inputs: as the model takes them.
      training: the mode of all layers, except those to which the model's own code
        hands another one.
    """
    pairs = [
        *zip(model.trainable_variables, trainable, strict=True),
        *zip(model.non_trainable_variables, non_trainable, strict=True),
    ]
    with keras.StatelessScope(state_mapping=pairs) as scope:
        outputs = model(inputs, training=training)
    state = [scope.get_current_value(v) for v in model.non_trainable_variables]
    return outputs, state
