"""Layers and methods that an experiment will ask its networks for.

They are checked before the first training: after hours of trainings a misspelt name
would be found by the first map.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hiercam_keras.errors import UserError
from hiercam_keras.experiments import map_settings
from hiercam_keras.experiments.training_grid import TrainingSpec
from hiercam_keras.modes.settings import Settings


@dataclass(frozen=True)
class MapFields:
    """Names by the config field that has them.

    Attributes:
      layers: by field, as for `cam.Explainer`; "" is the usual one.
      methods: of `cam.methods.METHODS`.
    """

    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def any_layer(self) -> bool:
        """Whether a layer is named, which only a network can know."""
        return any(any(names) for names in self.layers.values())

    @classmethod
    def usual(cls, spec: TrainingSpec) -> "MapFields":
        """What the maps of --mode=cam are asked for."""
        view = map_settings.usual(spec)
        return cls({"cam.layer": (view.layer,)}, {"cam.method": (view.method,)})

    def check_methods(self) -> None:
        """A UserError that names the field of a method that does not exist."""
        from hiercam_keras.cam.methods import get_methods

        for name, methods in self.methods.items():
            with _named(name):
                get_methods(methods)


@contextlib.contextmanager
def _named(field_name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"config.{field_name}: {error}") from error


def check_layers(settings: Settings, fields: MapFields) -> None:
    """A UserError that names the field of a layer that the network does not have.

    Builds the network of a training with random weights.

    Args:
      settings: of the training.
      fields: what will be asked for.
    """
    from hiercam_keras.cam import Explainer
    from hiercam_keras.models import from_config

    model = from_config.build(settings.config, {settings.rank[-1]: 2}, weights="none")
    for name, layers in fields.layers.items():
        if any(layers):
            with _named(name):
                Explainer(model, [one for one in layers if one])
