"""The formats of tools.export, and how each is written and loaded in its own runtime.

TFLite and ONNX runtimes have no convolutions in bfloat16 or float16: of a model that computes in one of them they
get a copy that computes in float32, with the same weights.
"""

import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx
from ai_edge_litert.interpreter import Interpreter
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from stages.shared.network import model_file
from stages.shared.network.inference import compiled
from stages.shared.network.model_file import Classifier
from stages.shared.network.prediction import with_features

FILES = {"keras": "model.keras", "savedmodel": "saved_model", "tflite": "model.tflite", "onnx": "model.onnx"}
ONNX, LITERT = ("probability", "features"), ("output_0", "output_1")  # the names of what comes out
FLOAT32_ONLY = ("tflite", "onnx")
# Pixels, (n, size, size, 3) float32, to the model's output and the features of its base, (n, channels) float32.
Runtime = Callable[[np.ndarray], list[np.ndarray]]


def computes_in(model: keras.Model) -> str:
    """Return bfloat16 or float16 where a layer of `model` computes in it, and float32 otherwise."""
    found = (layer.compute_dtype for layer in model.layers)
    return next((precision for precision in found if precision != "float32"), "float32")


def in_float32(model: keras.Model) -> keras.Model:
    """Return a copy of `model`, with the same weights, that computes in float32 throughout."""
    copy = keras.models.model_from_json(model.to_json().replace(f'"mixed_{computes_in(model)}"', '"float32"'))
    copy.set_weights(model.get_weights())
    return copy


def write(model: Classifier, form: str, file: Path) -> None:
    """Write `model` to `file`, a folder for savedmodel, for batches of any size."""
    network = with_features(model.network)
    if form == "keras":
        model_file.save(model, file)
    elif form == "savedmodel":
        network.export(file, format="tf_saved_model", verbose=False)
    elif form == "tflite":
        supported = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}  # by default some of TensorFlow too
        network.export(file, format="litert", verbose=False, target_spec=supported)
    else:  # Keras's own export makes the constants of ImageNet's preprocessing inputs of the graph
        pixels = tf.TensorSpec(network.input_shape, "float32", name="pixels")
        call = tf.function(lambda pixels: network(pixels, training=False))
        frozen = convert_variables_to_constants_v2(call.get_concrete_function(pixels))
        outputs = tf.function(lambda pixels: dict(zip(ONNX, frozen(pixels), strict=True)))
        tf2onnx.convert.from_function(outputs, [pixels], output_path=file)


def load(form: str, file: Path) -> Runtime:
    """Return what `write` wrote, in its own runtime."""
    if form == "keras":
        return in_keras(model_file.load(file).network)
    if form == "savedmodel":
        saved = tf.saved_model.load(file)
        return lambda pixels: [output.numpy() for output in saved.serve(pixels)]
    if form == "tflite":
        run = Interpreter(str(file), num_threads=os.cpu_count()).get_signature_runner()
        return lambda pixels: [run(pixels=pixels)[name] for name in LITERT]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda pixels: [np.asarray(output) for output in session.run(ONNX, {"pixels": pixels})]


def in_keras(model: keras.Model) -> Runtime:
    return compiled(with_features(model))
