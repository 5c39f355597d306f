"""The conv bases of keras.applications: an entry is all that is known of one."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
from keras import applications
from keras.applications import imagenet_utils


class Architecture(NamedTuple):
    build: Callable[..., keras.Model]  # without preprocessing
    preprocess: Callable  # RGB pixels 0 to 255 to what the ImageNet weights expect
    freeze_through: str  # the default: below it stays frozen when fine-tuning
    smallest_image: int  # pixels
    weights_file: str  # what Keras calls the ImageNet weights without the top, in its cache
    license: str  # of the ImageNet weights, as the documentation of Keras 2 states it


# Of those that Keras builds with their preprocessing inside: there it would be in the precision of the base.
IN_DEVIATIONS = partial(imagenet_utils.preprocess_input, mode="torch")
FROM_MINUS_ONE = partial(imagenet_utils.preprocess_input, mode="tf")

# Where nobody states a license for the weights themselves, "repository" follows that of the repository with the
# checkpoints that Keras converted: tensorflow/models for MobileNetV3, google/automl, facebookresearch/ConvNeXt.
ARCHITECTURES = {
    "vgg16": Architecture(
        applications.VGG16,
        applications.vgg16.preprocess_input,
        "block4_pool",
        32,
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "CC BY 4.0",
    ),
    "vgg19": Architecture(
        applications.VGG19,
        applications.vgg19.preprocess_input,
        "block4_pool",
        32,
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "CC BY 4.0",
    ),
    "xception": Architecture(
        applications.Xception,
        applications.xception.preprocess_input,
        "add_10",
        71,
        "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "MIT",
    ),
    "inception_v3": Architecture(
        applications.InceptionV3,
        applications.inception_v3.preprocess_input,
        "mixed8",
        75,
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "Apache 2.0",
    ),
    "resnet50": Architecture(
        applications.ResNet50,
        applications.resnet50.preprocess_input,
        "conv4_block6_out",
        32,
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "MIT",
    ),
    "mobilenet": Architecture(
        applications.MobileNet,
        applications.mobilenet.preprocess_input,
        "conv_pw_11_relu",
        32,
        "mobilenet_1_0_224_tf_no_top.h5",
        "Apache 2.0",
    ),
    "mobilenet_v3_large": Architecture(
        partial(applications.MobileNetV3Large, include_preprocessing=False),
        FROM_MINUS_ONE,
        "expanded_conv_11_add",
        32,
        "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "Apache 2.0 (repository)",
    ),
    "densenet121": Architecture(
        applications.DenseNet121,
        applications.densenet.preprocess_input,
        "pool4_pool",
        32,
        "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "BSD 3-Clause",
    ),
    "efficientnet_v2_b0": Architecture(
        partial(applications.EfficientNetV2B0, include_preprocessing=False),
        IN_DEVIATIONS,
        "block5e_add",
        32,
        "efficientnetv2-b0_notop.h5",
        "Apache 2.0 (repository)",
    ),
    "efficientnet_v2_s": Architecture(
        partial(applications.EfficientNetV2S, include_preprocessing=False),
        lambda pixels: pixels / 128 - 1,
        "block5i_add",
        32,
        "efficientnetv2-s_notop.h5",
        "Apache 2.0 (repository)",
    ),
    "convnext_tiny": Architecture(
        partial(applications.ConvNeXtTiny, include_preprocessing=False),
        IN_DEVIATIONS,
        "convnext_tiny_downsampling_block_2",
        32,
        "convnext_tiny_notop.h5",
        "MIT (repository)",
    ),
}
