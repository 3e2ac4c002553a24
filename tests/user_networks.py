"""Networks as users write them: nested models, attention, custom layers."""

import keras

L = keras.layers


def nested(image_size):
    """A model inside a model inside the backbone; two layers have the name "conv"."""
    innermost = keras.Sequential([L.Conv2D(4, 1, name="conv")], name="innermost")
    maps = keras.Input((None, None, 4))
    x = L.Conv2D(4, 3, padding="same", name="conv")(maps)
    x = L.BatchNormalization(name="bn", momentum=0.5)(x)
    inner = keras.Model(maps, innermost(x), name="inner")
    image = keras.Input((image_size, image_size, 3))
    x = L.Rescaling(1 / 255)(image)
    x = L.Conv2D(4, 3, 8, activation="relu", name="conv")(x)
    return keras.Model(image, L.ReLU(name="maps")(inner(x)))


def nested_last(image_size):
    """A nested model is the last layer, so it gives the maps."""
    maps = keras.Input((None, None, 4))
    inner = keras.Model(maps, L.Conv2D(4, 3, padding="same")(maps), name="inner")
    image = keras.Input((image_size, image_size, 3))
    x = L.Conv2D(4, 3, 8, activation="relu")(L.Rescaling(1 / 255)(image))
    return keras.Model(image, inner(x))


def attention(image_size):
    """Attention over the cells of a map, in layers without names."""
    image = keras.Input((image_size, image_size, 3))
    x = L.Conv2D(4, 3, 8)(L.Rescaling(1 / 255)(image))
    side = x.shape[1]
    tokens = L.Reshape((side * side, 4))(x)
    tokens = L.LayerNormalization()(tokens + L.MultiHeadAttention(2, 2)(tokens, tokens))
    return keras.Model(image, L.Reshape((side, side, 4), name="maps")(tokens))


class Block(L.Layer):
    """A layer with a layer inside, and two weights without names."""

    def __init__(self, scale=1.0, **options):
        super().__init__(**options)
        self.scale = scale
        self.inner = L.Dense(4, name="inner")

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.shift = self.add_weight(shape=(shape[-1],))
        self.inner.build(shape)

    def call(self, x):
        return self.scale * self.inner(x * self.gain + self.shift)


class Forgets(Block):
    """Its config lacks an argument, so the loaded layer has another value."""

    def get_config(self):
        return L.Layer.get_config(self)


class Unsaid(Block):
    """Its argument has no default and is not in its config."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def get_config(self):
        return L.Layer.get_config(self)


@keras.saving.register_keras_serializable("theirs")
class Registered(Block):
    """Registered with Keras once this module is imported."""


class Noise(L.Layer):
    """Also random in inference, by a generator with a state saved in the model."""

    def __init__(self, **options):
        super().__init__(**options)
        self.generator = keras.random.SeedGenerator()

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)


def twice(x):
    return 2 * x


def _with(layer):
    def build(image_size):
        image = keras.Input((image_size, image_size, 3))
        x = L.Conv2D(4, 3, 8, name="conv")(L.Rescaling(1 / 255)(image))
        return keras.Model(image, L.ReLU(name="maps")(layer()(x)))

    return build


block = _with(lambda: Block(2.0))


def block_last(image_size):
    image = keras.Input((image_size, image_size, 3))
    x = Block()(L.Conv2D(4, 3, 8)(L.Rescaling(1 / 255)(image)))
    return keras.Model(image, Block()(x))


registered = _with(lambda: Registered(2.0))
function = _with(lambda: L.Lambda(twice, name="doubled"))
activation = _with(lambda: L.Activation(twice, name="doubled"))
lambda_ = _with(lambda: L.Lambda(lambda x: 2 * x, name="doubled"))
forgets = _with(lambda: Forgets(2.0, name="block"))
noise = _with(Noise)
unsaid = _with(lambda: Unsaid(3, name="block"))


def local(image_size):
    class Hidden(Block):
        pass

    return _with(lambda: Hidden(name="block"))(image_size)


def local_function(image_size):
    def hidden(x):
        return 2 * x

    return _with(lambda: L.Activation(hidden, name="doubled"))(image_size)
