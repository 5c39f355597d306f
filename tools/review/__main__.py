"""Show the images whose labels are likely wrong on a page, one at a time, and keep what a person says of each.

    python -m tools.review [--port PORT]    PORT 0 is any that is free

The page is served to this machine alone, and asks nothing of others. After each answer the file that
data.labels_corrected names is written anew, as a whole: to end the tool at any time loses nothing.
"""

import argparse
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

import flask
import pandas as pd
from pydantic import Field

from stages.shared.images.decoding import decode
from stages.shared.images.image_folder import ImagesFolder, open_folder
from stages.shared.images.opening import opened
from stages.shared.images.reading import read_unchanged
from stages.shared.labels.decisions import CORRECTED, DECISIONS, check_file, read_decisions, write_decisions
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.image_input import White16Bit
from stages.shared.pipeline.json_and_csv import SUSPECTS, read_table
from stages.shared.pipeline.parameters import Sections, read_parameters
from stages.shared.pipeline.splits import SHARD_COLUMNS, read_class_names, read_split
from stages.shared.reporting.thumbnails import as_uri
from tools.shared import page as pages
from tools.shared.server import Server

SUSPECTS_FILE, SPLIT = Path("data/label_audit/suspects.csv"), Path("data/splits/train.csv")
LARGEST = 10_000  # bytes, of an answer
SIDE = 1200  # pixels, of the image on the page


class Labelled(ImagesFolder):
    labels_corrected: str = Field(min_length=1, description=CORRECTED)


class Parameters(Sections):
    data: Labelled
    white_16_bit: White16Bit


class Review:
    """The suspects, and what a person has said of them; `taken` are the images of this sitting, the last one last."""

    def __init__(self) -> None:
        parameters = read_parameters(Parameters)
        self.file = Path(parameters.data.labels_corrected)
        self.folder, self.white_16_bit = open_folder(parameters.data.images), parameters.white_16_bit
        for file in (SUSPECTS_FILE, SPLIT):
            if not file.is_file():
                raise UserError(
                    f"{file} is missing: run dvc repro, or dvc pull it where a colleague pushed it."
                )
        suspects = read_table(SUSPECTS_FILE, SUSPECTS, SHARD_COLUMNS)
        self.suspects = suspects.drop_duplicates("sha256").set_index("sha256", drop=False)
        self.class_names = read_class_names(read_split(SPLIT))
        self.taken: list[str] = []
        check_file(self.file)
        read_decisions(self.file)

    def find_next(self) -> tuple[pd.Series | None, int]:
        """Return the first suspect without a decision, None where there is none, and how many have one."""
        decided = self.suspects.index.isin(read_decisions(self.file).index)
        waiting = self.suspects[~decided]
        return (None if waiting.empty else waiting.iloc[0]), int(decided.sum())

    def decide(self, digest: str, decision: str, label: str) -> None:
        """Keep a decision on a suspect."""
        decisions = read_decisions(self.file).drop(digest, errors="ignore")
        decisions.loc[digest] = [self.suspects["path"].to_dict()[digest], decision, label]
        write_decisions(self.file, decisions)
        self.taken.append(digest)

    def take_back(self) -> None:
        """Forget the last decision of this sitting, so that its suspect is the next one again."""
        if self.taken:
            write_decisions(self.file, read_decisions(self.file).drop(self.taken.pop(), errors="ignore"))

    def describe(self, image: pd.Series) -> dict:
        """Return what the page shows of a suspect: its row, its picture or what is wrong with that, other classes."""
        said = {"image": image, "others": [name for name in self.class_names if name != image["label"]]}
        try:
            with opened(read_unchanged(self.folder, image)) as file:
                return {**said, "picture": as_uri(decode(file, self.white_16_bit), SIDE)}
        except UserError as error:
            return {**said, "problem": str(error)}


def main(port: int) -> None:
    with listen(port) as server:
        pages.serve(server)


def listen(port: int) -> Server:
    """Return the server of the page; raises UserError where `port` cannot be used or there is nothing to review."""
    return pages.listen(port, create_app(), "review")


def create_app() -> flask.Flask:
    """Return the page as a WSGI application, which answers one request at a time."""
    app = pages.create_page(Path(__file__).parent, LARGEST)
    review, token, one_at_a_time = Review(), secrets.token_urlsafe(), Lock()

    @app.get("/")
    def start():
        with one_at_a_time:
            try:
                image, decided = review.find_next()
            except UserError as error:
                return flask.render_template("review.html", nonce=pages.NONCE, problem=str(error)), 500
            return flask.render_template(
                "review.html",
                nonce=pages.NONCE,
                token=token,
                decided=decided,
                suspects=len(review.suspects),
                may_go_back=bool(review.taken),
                file=review.file,
                **({} if image is None else review.describe(image)),
            )

    @app.post("/")
    def answer():
        form = flask.request.form
        if not secrets.compare_digest(form.get("token", "").encode(), token.encode()):
            flask.abort(403, "This page takes forms from itself only.")
        with (
            one_at_a_time,
            suppress(UserError),
        ):  # of a file that another program damaged, which the page then says
            if form.get("decision") == "back":
                review.take_back()
            else:
                review.decide(*read_answer(form, review))
        return flask.redirect("/", 303)

    return app


def read_answer(form: Mapping[str, str], review: Review) -> tuple[str, str, str]:
    """Return the suspect's SHA-256, the decision and the label that `form` has; ends with 400 where it has others."""
    digest, decision, label = (form.get(name, "") for name in ("sha256", "decision", "label"))
    if digest not in review.suspects.index or decision not in DECISIONS:
        flask.abort(400, "This is no answer on a suspect.")
    before = str(review.suspects.loc[digest, "label"])
    if label not in {"right": ["", before], "wrong": ["", *review.class_names], "unsure": [""]}[decision]:
        flask.abort(400, "This is no answer on a suspect.")
    return digest, decision, before if decision == "right" else label


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.review",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8001, help="the default is 8001; 0: any that is free")
    main(parser.parse_args().port)
