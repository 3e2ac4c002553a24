"""The layer and the method of the guide's step maps.

The default is LayerCAM at the last addition of the first stage at 1/16 of the image. Of
24 combinations (6 layers, 4 methods) for the species model of `make demo` it names the
planted part of most taxa on the validation images; README.md has the results on the
test images. For other networks the layer is selected by the same rule, without a
measurement.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras.cam import recommended
from hiercam_keras.modes.load import RunData

AUTO = "auto"


def with_view(data: RunData, fields: Any, given: Iterable[str] = ()) -> RunData:
    """Returns the run with the guide's layer and method in its `config.cam`.

    Args:
      data: the run; its config includes the overrides of the command line.
      fields: the config's `guide`.
      given: dotted names of the fields set on the command line; --method and
        --config.cam.layer have priority over the guide's settings.
    """
    config, given = ConfigDict(data.config.to_dict()), set(given)
    if "cam.method" not in given:
        config.cam.method = fields.method
    if "cam.layer" not in given:
        config.cam.layer = fields.layer
        if fields.layer == AUTO:
            config.cam.layer = recommended.early_layer(config.model.backbone)
    config.cam.method, config.cam.layer = recommended.resolved(
        config.cam.method, config.cam.layer, config.model.backbone
    )
    return replace(data, config=FrozenConfigDict(config))
