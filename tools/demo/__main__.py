"""Show on a page what a trained model sees in an image: its class, probabilities and a Grad-CAM heat map.

    python -m tools.demo [--port PORT]    PORT 0 is any that is free

The page is served to this machine alone, and asks nothing of others. Images are decoded and resized as in
tools.predict, stay in memory, and are forgotten with the answer. A model is loaded when it is first asked.
"""

import argparse
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import flask
import numpy as np
from PIL import Image

from stages.explain.grad_cam import grad_cam
from stages.shared.images.decoding import decode
from stages.shared.images.fit import resize
from stages.shared.images.opening import fault_of, opened
from stages.shared.network import model_file
from stages.shared.network.inference import compiled
from stages.shared.network.model_file import Classifier
from stages.shared.network.prediction import per_class, with_features
from stages.shared.pipeline.command import UserError
from stages.shared.reporting.heat_maps import describe_place, on_image, overlay
from stages.shared.reporting.thumbnails import as_uri
from stages.shared.reporting.wording import LABELS, MODELS, quoted
from tools.shared import page as pages
from tools.shared.answers import answers_of
from tools.shared.server import Server

LARGEST = 100  # MB, of a file
MEGAPIXELS = 50  # of an image; decoding one takes 8 to 20 bytes a pixel, by its format
SIDE = 600  # pixels, of the pictures on the page


class Model(NamedTuple):
    """What the page asks of a trained model."""

    classifier: Classifier
    infer: Callable[[np.ndarray], list[np.ndarray]]
    heat_map: Callable[[np.ndarray, int], np.ndarray]


class Request(flask.Request):
    """A request whose files stay in memory; Flask writes the larger ones to disk."""

    def _get_file_stream(self, *_, **__) -> BytesIO:
        return BytesIO()


def main(port: int) -> None:
    for model in LABELS:
        find(model)
    with listen(port) as server:
        pages.serve(server)


def listen(port: int) -> Server:
    """Return the server of the page; raises UserError where `port` cannot be used."""
    return pages.listen(port, create_app(), "demo")


def create_app() -> flask.Flask:
    """Return the page as a WSGI application; one image at a time is decoded and predicted."""
    app = pages.create_page(Path(__file__).parent, LARGEST * 10**6)
    app.request_class = Request
    app.config["MAX_FORM_PARTS"] = 2  # model and image
    app.config["MAX_FORM_MEMORY_SIZE"] = 500_000  # bytes of a part that is no file, its headers included
    models, one_at_a_time = cache(load), Lock()

    @app.get("/")
    def start():
        return page()

    @app.post("/")
    def answer():
        request = flask.request
        with one_at_a_time:
            name, file = request.form.get("model"), request.files.get("image")
            if name not in LABELS or file is None:
                flask.abort(400)
            if not file.filename:
                return page(name, problem="Choose an image first."), 400
            try:
                model = models(name)
            except UserError as error:
                return page(name, problem=str(error)), 500
            image_input = model.classifier.image_input
            try:
                with opened(file.read(), MEGAPIXELS) as opened_image:
                    image = decode(opened_image, image_input.white_16_bit)
                    pixels, size = resize(image, image_input), image.size
                    image.thumbnail((SIDE, SIDE))
                    image = image.copy()
            except Exception as error:  # Pillow's plugins raise many kinds on broken files
                fault = fault_of(error)
                return page(name, problem=f"{quoted(file.filename)} cannot be used: {fault}."), 400
            return page(name, file=file.filename, found=look(model, image, size, pixels))

    @app.errorhandler(413)
    def refuse_large(_):
        if (flask.request.content_length or 0) > LARGEST * 10**6:
            return page(problem=f"The file is larger than {LARGEST} MB, the most that this page takes."), 413
        return page(problem="This page takes one file and the name of a model, and nothing else."), 413

    return app


def find(name: str) -> Path:
    """Return the file of a model; raises UserError where it is missing."""
    file = Path(f"data/models/{name}.keras")
    if not file.is_file():
        raise UserError(f"{file} is missing: run dvc repro, or dvc pull it where a colleague pushed it.")
    return file


def load(name: str) -> Model:
    classifier = model_file.load(find(name))
    return Model(classifier, compiled(with_features(classifier.network)), grad_cam(classifier.network))


def look(model: Model, image: Image.Image, size: tuple[int, int], pixels: np.ndarray) -> dict:
    """Return what there is to show of `image`, made small, given its `size` and its `pixels` as the model takes them.

    Its class, the probabilities of all classes, its own first and then the highest, and both pictures as
    data URIs.
    """
    names, rule = model.classifier.class_names, model.classifier.rule
    # Twice, as a batch of one is summed in another order than the batches of tools.predict.
    outputs, features = model.infer(np.stack([pixels, pixels]))
    answer, _ = answers_of(model.classifier, per_class(outputs), features)
    predicted = names.index(answer.predicted)
    heat = model.heat_map(pixels, predicted)
    width, height = size
    placed = on_image(heat, *image.size, model.classifier.image_input)
    return {
        **answer._asdict(),
        "classes": [
            (names[i], str(answer.probabilities[i]))
            for i in sorted(range(len(names)), key=lambda i: (i != predicted, -answer.probabilities[i]))
        ],
        "threshold": rule.threshold,
        "unlike_below": rule.unlike_below,
        "second": names[1],
        "width": width,
        "height": height,
        "picture": as_uri(image, SIDE),
        "heat": overlay(np.asarray(image), placed, SIDE),
        "place": describe_place(placed),
    }


def page(model: str = "fine_tuned", **result: object) -> str:
    """Return the page with `model` chosen, and a `problem`, or what was `found` in a `file`."""
    return flask.render_template(
        "demo.html", nonce=pages.NONCE, chosen=model, labels=LABELS, models=MODELS, **result
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8000, help="the default is 8000; 0: any that is free")
    main(parser.parse_args().port)
