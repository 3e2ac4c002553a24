"""A backbone of a stem and two blocks of EfficientNet's kind, compiled in seconds."""

import keras

L = keras.layers


def build(image_size):
    """Depthwise convolutions, batch norm, swish, squeeze and excitation, one skip."""
    image = keras.Input((image_size, image_size, 3))
    x = L.Rescaling(1 / 127.5, -1)(image)
    x = _normed(L.Conv2D(16, 3, 2, "same", use_bias=False, name="stem_conv")(x), "stem")
    x = _block(x, 24, 2, "block1")
    x = _block(x, 24, 1, "block2")
    x = L.Conv2D(64, 1, use_bias=False, name="top_conv")(x)
    return keras.Model(image, _normed(x, "top"))


def stem(image_size):
    """A convolution and one by channel, the least with both kinds of kernels."""
    image = keras.Input((image_size, image_size, 3))
    x = L.Rescaling(1 / 127.5, -1)(image)
    x = _normed(L.Conv2D(16, 3, 2, "same", use_bias=False, name="stem_conv")(x), "stem")
    x = L.DepthwiseConv2D(3, 1, "same", name="top_conv")(x)
    return keras.Model(image, _normed(x, "top"))


def _normed(x, name):
    x = L.BatchNormalization(name=f"{name}_bn")(x)
    return L.Activation("swish", name=f"{name}_activation")(x)


def _block(inputs, filters, stride, name):
    wide = 4 * inputs.shape[-1]
    x = L.Conv2D(wide, 1, use_bias=False, name=f"{name}_expand_conv")(inputs)
    x = _normed(x, f"{name}_expand")
    x = L.DepthwiseConv2D(3, stride, "same", use_bias=False, name=f"{name}_dwconv")(x)
    x = _normed(x, name)
    squeezed = L.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se")(x)
    squeezed = L.Conv2D(8, 1, activation="swish", name=f"{name}_se_reduce")(squeezed)
    gate = L.Conv2D(wide, 1, activation="sigmoid", name=f"{name}_se_expand")(squeezed)
    x = L.Multiply(name=f"{name}_excite")([x, gate])
    x = L.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = L.BatchNormalization(name=f"{name}_project_bn")(x)
    if stride == 1 and inputs.shape[-1] == filters:
        x = L.Add(name=f"{name}_add")([x, inputs])
    return x
