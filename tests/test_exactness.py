"""Caching is no approximation: training on what is stored is training on the images."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from stages import fine_tune, train_augmented
from stages.extract_views.augmentation import Augmentation, AugmentedView
from stages.shared.images.image_folder import open_folder
from stages.shared.images.reading import BLOCK, read_blocks, read_pixels
from stages.shared.network import conv_base, model_file
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.freeze_point import freeze
from stages.shared.network.inference import forward
from stages.shared.network.precision import describe_processor, multiplies_bfloat16_fast
from stages.shared.pipeline.image_input import ImageInput
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import read_split
from stages.shared.training.head import add_head, set_temperature
from stages.train_head import Parameters as HeadParameters
from tests.conftest import CLASSES, SIZE, THREE_CLASSES, TRAINED, change, image_input, run, variables_for

WEIGHTS = Path("data/weights/conv_base.weights.h5")


def train_end_to_end(classifier: keras.Model, through: str, training) -> None:
    """Train as the notebook does: augmented images in, the frozen base inside the model."""
    tf.config.experimental.enable_op_determinism()
    freeze(classifier, through)
    split = read_split(Path("data/splits/train.csv"))
    rate = training.learning_rate
    if training.decay == "cosine":
        steps = training.epochs * -(-len(split) // training.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    classifier.compile(keras.optimizers.RMSprop(rate), loss="binary_crossentropy", jit_compile=False)
    augmentation = read_parameters(Augmented).augmentation
    assert augmentation.include_original and 1 < augmentation.views < training.epochs
    images = split.to_dict("records")
    pixels = np.stack([read_pixels(open_folder("images"), image, image_input(64)) for image in images])
    labels = split["class_index"].to_numpy("float32")
    for epoch in range(training.epochs):
        view = epoch % augmentation.views
        order = np.random.default_rng((training.seed, epoch)).permutation(len(split))
        for start in range(0, len(split), training.batch_size):
            rows = order[start : start + training.batch_size]
            images = pixels[rows].astype("float32")
            if view > 0:
                images = AugmentedView(augmentation, view).draw(images, split["sha256"][rows].tolist())
            classifier.train_on_batch(images, labels[rows, np.newaxis])


class Augmented(Sections):
    augmentation: Augmentation


def assert_same_weights(classifier: keras.Model, file: str) -> None:
    stored = model_file.load(Path(file)).network
    assert [w.path for w in stored.weights] == [w.path for w in classifier.weights]
    for ours, theirs in zip(stored.weights, classifier.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-8, err_msg=ours.path)


def test_stored_views_train_to_the_weights_of_end_to_end_training(extracted):
    change(augmented__batch_size=5, augmented__epochs=4, augmented__learning_rate=1e-3)
    run("train_augmented")
    parameters = read_parameters(train_augmented.Parameters)
    base = conv_base.load(parameters.conv_base, 64, WEIGHTS)
    classifier = add_head(base, parameters.augmented, 2, parameters.augmented.seed)
    untrained = classifier.get_layer("dense").kernel.numpy()
    train_end_to_end(classifier, "block5_pool", parameters.augmented)
    assert np.abs(classifier.get_layer("dense").kernel.numpy() - untrained).max() > 1e-3
    assert_same_weights(classifier, "data/models/augmented.keras")


def test_stored_activations_fine_tune_to_the_weights_of_end_to_end_training(extracted):
    change(fine_tune__batch_size=5, fine_tune__epochs=3, fine_tune__learning_rate=1e-5)
    run("train_augmented", "fine_tune")
    classifier = model_file.load(Path("data/models/augmented.keras")).network
    set_temperature(classifier, 1)
    before = classifier.get_layer("block5_conv1").kernel.numpy()
    train_end_to_end(classifier, "block4_pool", read_parameters(fine_tune.Parameters).fine_tune)
    assert np.abs(classifier.get_layer("block5_conv1").kernel.numpy() - before).max() > 5e-5
    assert_same_weights(classifier, "data/models/fine_tuned.keras")


PREDICT = """
import sys, json, zipfile, keras, numpy as np
from PIL import Image
size, files, images = json.loads(sys.argv[1])
images = [Image.open(path).resize((size, size), Image.Resampling.BILINEAR) for path in images]
batch = np.resize(np.stack(images), (32, size, size, 3))  # as large as ours: another may sum in another order
for file in files:
    model = keras.saving.load_model(file, safe_mode=True)
    metadata = json.loads(zipfile.ZipFile(file).read("metadata.json"))
    print(json.dumps([metadata, model.predict(batch, verbose=0)[: len(images)].tolist()]))
"""


def assert_saved_models_predict_what_evaluate_found(classes: tuple[str, ...], size: int) -> None:
    """From images of `size` × `size` pixels, loaded without any module of ours."""
    images = [str(Path("images", path).resolve()) for path in pd.read_csv("data/splits/test.csv")["path"]]
    assert len(images) == 4 * len(classes)
    names = ("head", "augmented", "fine_tuned")
    files = [str(Path(f"data/models/{name}.keras").resolve()) for name in names]
    command = [sys.executable, "-I", "-c", PREDICT, json.dumps([size, files, images])]
    ended = subprocess.run(command, cwd="/", env=variables_for(), capture_output=True, text=True, check=True)
    for name, line in zip(names, ended.stdout.splitlines()[-3:], strict=True):
        table = pd.read_csv(f"data/evaluation/{name}_predictions.csv")
        metadata, output = json.loads(line)
        assert metadata["class_names"] == list(classes)
        assert ImageInput(**metadata) == image_input(size)
        assert (metadata["threshold"] is None) == (len(classes) > 2)
        columns = [f"probability_{label}" for label in (classes[1:] if len(classes) == 2 else classes)]
        np.testing.assert_allclose(np.array(output), table[columns].to_numpy(), atol=1e-6)
        assert (table[[f"probability_{label}" for label in classes]].sum(axis=1) - 1).abs().max() < 1e-6


def test_saved_models_predict_from_images_what_evaluate_found(trained, monkeypatch):
    monkeypatch.chdir(trained)
    assert np.load("data/features/train.npy", allow_pickle=False).dtype == "float32"
    assert_saved_models_predict_what_evaluate_found(tuple(sorted(CLASSES)), SIZE)


def test_saved_models_of_three_classes_in_bfloat16_do_so_too(trained_in_bfloat16, monkeypatch):
    monkeypatch.chdir(trained_in_bfloat16)
    assert np.load("data/features/train.npy", allow_pickle=False).dtype == "float16"
    assert_saved_models_predict_what_evaluate_found(THREE_CLASSES, SIZE)


def test_a_row_depends_on_no_other_image(trained, monkeypatch):
    monkeypatch.chdir(trained)
    parameters = read_parameters(HeadParameters)
    run_base = forward(conv_base.load(parameters.conv_base, SIZE, WEIGHTS), ["block5_pool"])
    split = read_split(Path("data/splits/test.csv"))
    stored = np.load("data/features/test.npy", allow_pickle=False)
    for row in range(len(split)):
        alone = split.iloc[[row]]
        _, pixels = next(read_blocks(alone, open_folder("images"), image_input()))
        np.testing.assert_array_equal(run_base(pixels)[0][0], stored[row])


@pytest.mark.slow
def test_a_row_depends_neither_on_its_place_nor_on_the_size_of_its_block():
    """TensorFlow's own convolutions, without oneDNN, break this on several cores."""
    base = conv_base.build("vgg16", 64)
    run_base = forward(base, [base.layers[-1].name])
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BLOCK, *base.input_shape[1:])).astype("uint8")
    features = np.asarray(run_base(pixels)[0])
    assert np.ptp(features, axis=0).any()
    for _ in range(4):
        order = rng.permutation(BLOCK)
        np.testing.assert_array_equal(run_base(pixels[order])[0], features[order])
    for block in (2, 3, 16):
        np.testing.assert_array_equal(run_base(pixels[:block])[0], features[:block])


THREADS = """
import stages, hashlib, sys
import keras, numpy, tensorflow
from stages.extract_views.augmentation import Augmentation, AugmentedView
from stages.shared.network.architectures import ARCHITECTURES
from stages.shared.network.conv_base import build
from stages.shared.network.inference import forward
tensorflow.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
pixels = numpy.random.default_rng(0).integers(0, 256, (32, 96, 96, 3)).astype("uint8")
drawn = Augmentation(
    seed=0, views=1, include_original=False, precision="base", rotation_degrees=40, width_shift=0.2, height_shift=0.2, shear_degrees=0.2,
    zoom=0.2, horizontal_flip=True, fill="nearest"
)
images = AugmentedView(drawn, 0).draw(pixels, list("0123456789abcdefghijklmnopqrstuv"))
for name in ARCHITECTURES:
    for precision in ("float32", "bfloat16") if name in ("vgg16", "xception", "mobilenet") else ("float32",):
        keras.utils.set_random_seed(0)
        base = build(name, 96, computes_in=precision)
        features = numpy.asarray(forward(base, [base.layers[-1].name])(images)[0])
        assert features.std() > 0
        print(name, precision, hashlib.sha256(features.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_no_row_depends_on_the_number_of_cores():
    """Therefore the store's key has none, but where bfloat16 is emulated: there sums are split among them."""
    one, three = (
        subprocess.run(
            [sys.executable, "-c", THREADS, threads],
            env=variables_for(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for threads in ("1", "3")
    )
    fast = multiplies_bfloat16_fast(describe_processor())
    same = [found for found in zip(one, three, strict=True) if fast or "float32" in found[0]]
    assert len(same) == len(ARCHITECTURES) + (3 if fast else 0)
    assert all(first == second for first, second in same)


@pytest.mark.parametrize("set_by_user, found", [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_onednn_is_on_unless_the_user_says_otherwise(set_by_user, found):
    others = {name: value for name, value in variables_for().items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    code = "import os, stages; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env={**others, **set_by_user}, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == found


def test_views_hold_the_base_on_each_view_and_their_activations_lead_to_their_features(extracted):
    features = np.load("data/views/features.npy", allow_pickle=False)
    activations = np.load("data/views/activations.npy", allow_pickle=False)
    assert features.shape == (2, 14, 2, 2, 512) and activations.shape == (2, 14, 4, 4, 512)
    parameters = read_parameters(HeadParameters)
    base = conv_base.load(parameters.conv_base, 64, WEIGHTS)
    augmentation = read_parameters(Augmented).augmentation
    split = read_split(Path("data/splits/train.csv"))
    for view, row in [(0, 0), (1, 0), (1, 13)]:
        image = split.iloc[row]
        drawn = read_pixels(open_folder("images"), image, image_input(64))[np.newaxis]
        if view > 0:
            drawn = AugmentedView(augmentation, view).draw(drawn, [image["sha256"]])
        np.testing.assert_allclose(base(drawn)[0].numpy(), features[view, row], rtol=1e-4, atol=1e-3)
    top = keras.Model(base.get_layer("block4_pool").output, base.output)
    np.testing.assert_allclose(top(activations[1]).numpy(), features[1], rtol=1e-5, atol=1e-4)


def test_equal_runs_write_equal_bytes(trained, trained_copy):
    """Also where the files of the first run are still there."""

    def written(folder: Path) -> dict[str, bytes]:
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.glob("*/**/*.*")
            if file.suffix in (".keras", ".csv", ".png", ".json", ".npy")
        }

    run(*TRAINED)
    first = written(trained)
    assert first == written(trained_copy)
    assert sum(name.endswith(".keras") for name in first) == 3
