"""The networks of keras.applications, with stable names and preprocessing.

Each function takes a float tensor (B, S, S, 3) of RGB images in 0..255 and returns a
Functional model that ends in feature maps. The published preprocessing is part of the
model, as stock layers. `keras.applications` numbers some layers automatically; those
that this package refers to get fixed names here.
"""

from collections.abc import Callable

import keras

from hiercam_keras.models.weights import set_normalization

# Mean of RGB in 0..255 (Caffe) that ResNet50 (V1) of keras.applications subtracts.
CAFFE_MEAN = (123.68, 116.779, 103.939)


def efficientnet(variant: str) -> Callable[[keras.KerasTensor], keras.Model]:
    """EfficientNet B0 to B7 (Tan and Le 2019, arXiv:1905.11946).

    `keras.applications` builds a different graph for weights="imagenet" (one more
    Rescaling) than for weights=None. This function always builds the graph of
    weights=None. Its Normalization layer holds the ImageNet mean and variance, so it
    computes (x/255 - mean)/std, as the other graph does with two Rescalings.
    """

    def build(image: keras.KerasTensor) -> keras.Model:
        make = getattr(keras.applications, f"EfficientNet{variant}")
        graph = make(include_top=False, weights=None, input_tensor=image)
        set_normalization(graph)
        # The model of keras.applications takes its input as a list of one tensor.
        return keras.Model(image, graph.output, name=f"efficientnet{variant.lower()}")

    return build


def efficientnet_v2_b0(image: keras.KerasTensor) -> keras.Model:
    """EfficientNetV2-B0 (Tan and Le 2021, arXiv:2104.00298)."""
    graph = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_tensor=image
    )
    return keras.Model(image, graph.output, name="efficientnetv2-b0")


def resnet50(image: keras.KerasTensor) -> keras.Model:
    """ResNet50 V1 (He et al. 2015, arXiv:1512.03385), used by Cole et al. 2022.

    The network expects unscaled BGR minus the ImageNet mean. The conversion from RGB is
    part of the graph, so weights trained elsewhere with this preprocessing fit
    unchanged.
    """
    centered = keras.layers.Normalization(
        mean=CAFFE_MEAN, variance=(1.0, 1.0, 1.0), name="minus_mean"
    )(image)
    bgr = keras.ops.flip(centered, axis=-1)
    graph = keras.applications.ResNet50(
        include_top=False, weights=None, input_tensor=bgr
    )
    return keras.Model(image, graph.output, name="resnet50")


def resnet50_v2(image: keras.KerasTensor) -> keras.Model:
    """ResNet50V2 (He et al. 2016, arXiv:1603.05027); scales the images to -1..1."""
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0, name="rescale")(image)
    graph = keras.applications.ResNet50V2(
        include_top=False, weights=None, input_tensor=scaled
    )
    pools = [
        layer
        for layer in graph.layers
        if isinstance(layer, keras.layers.MaxPooling2D) and layer.pool_size == (1, 1)
    ]
    # Shortcuts of the last blocks of three stages, which halve the map.
    blocks = ("conv2_block3", "conv3_block4", "conv4_block6")
    for layer, block in zip(pools, blocks, strict=True):
        layer.name = f"{block}_0_pool"
    return keras.Model(image, graph.output, name="resnet50v2")


def convnext_tiny(image: keras.KerasTensor) -> keras.Model:
    """ConvNeXt-Tiny (Liu et al. 2022, arXiv:2201.03545).

    The model ends in a layer norm at each position, as `keras.applications` builds it
    without the top; the paper's head normalizes after the pooling. Stochastic depth is
    a Dropout over whole blocks named `..._drop`, as in EfficientNet; its rate increases
    linearly with depth up to 0.2.
    """
    graph = keras.applications.ConvNeXtTiny(
        include_top=False, weights=None, input_tensor=image
    )
    graph.layers[-1].name = "top_norm"
    plain = [layer.name for layer in graph.layers if layer.name.endswith("_identity")]

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Sequential):  # rebuilt for any map size
            inner = [
                one.__class__.from_config(one.get_config()) for one in layer.layers
            ]
            return keras.Sequential(inner, name=layer.name)
        if layer.name not in plain:
            return layer.__class__.from_config(layer.get_config())
        return keras.layers.Dropout(
            0.2 * plain.index(layer.name) / (len(plain) - 1),
            noise_shape=(None, 1, 1, 1),
            name=layer.name.replace("_identity", "_drop"),
        )

    graph = keras.Model(image, graph.output, name="convnext_tiny")
    return keras.models.clone_model(graph, clone_function=clone)


def mobilenet_v3(size: str) -> Callable[[keras.KerasTensor], keras.Model]:
    """MobileNetV3 (Howard et al. 2019, arXiv:1905.02244), "Small" or "Large".

    The model ends in the last activation before the pooling, at 1/32 of the image size.
    """

    def build(image: keras.KerasTensor) -> keras.Model:
        make = getattr(keras.applications, f"MobileNetV3{size}")
        graph = make(include_top=False, weights=None, input_tensor=image)
        graph.layers[-1].name = "top_activation"
        name = f"mobilenet_v3_{size.lower()}"
        return keras.Model(image, graph.output, name=name)

    return build
