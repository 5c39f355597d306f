"""The page of tools.review: each answer is in the file at once, by key, without scripts, and from no other site."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from stages.shared.labels.decisions import read_decisions
from stages.shared.pipeline.splits import SPLITS, read_split
from tests.asking import ask, head, heard, say
from tests.browser import CHROMIUM, browsing
from tests.conftest import TINY, class_folders, draw_images, refused, run, states, write_parameters
from tools.review import __main__ as review
from tools.shared.page import HOST

FILE, SUSPECTS = Path("data/labels_corrected.csv"), Path("data/label_audit/suspects.csv")
CLASSES = ("apple", "<img src=x onerror=document.title='hacked'>", "pear")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory) -> Path:
    """A project with five suspects: three of training, one each of validation and test. It stays as it is."""
    folder = tmp_path_factory.mktemp("reviewed")
    with chdir(folder):
        write_parameters(folder, TINY)
        draw_images(folder / "images", class_folders(CLASSES))
        run("split_dataset")
        chosen = [
            read_split(Path(f"data/splits/{name}.csv")).groupby("label").head(1).head(rows).assign(split=name)
            for name, rows in zip(SPLITS, (3, 1, 1), strict=True)
        ]
        suspects = pd.concat(chosen).assign(probability_of_label=0.1, probability_of_suggested=0.8)
        suspects["suggested"] = [CLASSES[1] if label != CLASSES[1] else "pear" for label in suspects["label"]]
        SUSPECTS.parent.mkdir()
        FILE.write_text("sha256,path,decision,label\n")
        columns = [
            "split",
            "path",
            "label",
            "suggested",
            "sha256",
            "probability_of_label",
            "probability_of_suggested",
        ]
        suspects[columns].to_csv(SUSPECTS, index=False)
    return folder


@pytest.fixture
def project(reviewed, tmp_path, monkeypatch) -> Path:
    """A copy of it, as the working directory."""
    monkeypatch.chdir(shutil.copytree(reviewed, tmp_path / "project"))
    return tmp_path / "project"


@pytest.fixture
def suspects(project) -> pd.DataFrame:
    return pd.read_csv(SUSPECTS)


class Client:
    """A browser without scripts that presses one button of the page after another."""

    def __init__(self) -> None:
        self.client = review.create_app().test_client()
        self.read()

    def read(self) -> None:
        answer = self.client.get("/")
        self.status, self.page = answer.status_code, answer.text

    def fields(self) -> dict[str, str]:
        return {
            name: re.findall(rf'name="{name}" value="(.*?)"', self.page)[0] for name in ("token", "sha256")
        }

    def answer(self, decision: str, label: str = "") -> None:
        form = {**self.fields(), "decision": decision, "label": label}
        assert self.client.post("/", data=form).status_code == 303
        self.read()


def decided() -> list[tuple]:
    """Return what the file says: path, decision and label of each image."""
    return sorted(read_decisions(FILE).itertuples(index=False, name=None))


def test_each_answer_is_in_the_file_at_once(suspects):
    client = Client()
    expected = []
    answers = (("right", CLASSES[1]), ("wrong", "pear"), ("wrong", ""), ("unsure", ""), ("wrong", "apple"))
    for (_, image), (decision, label) in zip(suspects.iterrows(), answers, strict=True):
        assert image["sha256"] in client.page and image["path"].split("/")[1] in client.page
        client.answer(decision, label)
        expected.append((image["path"], decision, label))
        assert decided() == sorted(expected)
    assert states(client.page, "All 5", "dvc repro", FILE)
    assert FILE.read_text().startswith("sha256,path,decision,label\n") and b"\r" not in FILE.read_bytes()
    assert [line[:64] for line in FILE.read_text().splitlines()[1:]] == sorted(suspects["sha256"])
    run("split_dataset")  # it takes what the page has written
    assert len(decided()) == 5


def test_back_forgets_the_last_answers_of_this_sitting(suspects):
    client = Client()
    client.answer("unsure")
    client = Client()  # another sitting goes on with the second, and does not go back beyond it
    assert 'value="back"' not in client.page and suspects["sha256"][1] in client.page
    client.answer("unsure")
    client.answer("right")
    for row in (2, 1):
        client.answer("back")
        assert client.fields()["sha256"] == suspects["sha256"][row] and len(decided()) == row
    assert 'value="back"' not in client.page
    client.answer("back")
    assert len(decided()) == 1


def test_decisions_that_others_write_meanwhile_are_kept(suspects):
    client = Client()
    FILE.write_text(f"{FILE.read_text()}{'a' * 64},elsewhere.png,right,apple\n")
    client.answer("unsure")
    assert [row[0] for row in decided()] == sorted([suspects["path"][0], "elsewhere.png"])


def test_a_file_that_is_damaged_meanwhile_is_said_and_stays(suspects):
    client = Client()
    FILE.write_text("no,decisions\n")
    client.answer("unsure")
    assert client.status == 500 and states(client.page, FILE, "sha256", "decision")
    assert FILE.read_text() == "no,decisions\n"


def test_an_image_that_is_gone_can_be_answered(suspects):
    Path("images", suspects["path"][0]).unlink()
    client = Client()
    assert client.status == 200 and "can no longer be read" in client.page
    client.answer("unsure")
    assert len(decided()) == 1 and "can no longer be read" not in client.page


def test_answers_on_no_suspect_change_nothing(suspects):
    client = Client()
    others = set(read_split(Path("data/splits/train.csv"))["sha256"]) - set(suspects["sha256"])
    own = client.fields()
    wrong = [
        {"sha256": digest, "decision": "unsure"}
        for digest in (min(others), "../../params.yaml", "", "0" * 64)
    ]
    wrong += [{"decision": decision} for decision in ("", "delete", "unsure\n")]
    wrong += [{"decision": "wrong", "label": label} for label in ("no class", "../apple", "apple\n")]
    wrong += [{"decision": "unsure", "label": "pear"}, {"decision": "right", "label": "pear"}]
    before = FILE.read_bytes()
    for form in wrong:
        assert client.client.post("/", data=own | form).status_code == 400, form
    for token in ("", "x", own["token"][:-1], "é"):
        assert client.client.post("/", data=own | {"token": token, "decision": "unsure"}).status_code == 403
    assert client.client.post("/", data=own | {"decision": "wrong", "label": "x" * 20_000}).status_code == 413
    for path in ("/images/" + suspects["path"][0], "/../params.yaml", "/data/labels_corrected.csv"):
        assert client.client.get(path).status_code == 404
    assert FILE.read_bytes() == before


@pytest.fixture
def address(project) -> Iterator[str]:
    with review.listen(0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://{HOST}:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_other_sites_are_refused(address):
    status, page = ask(address, "GET")
    assert status == 200
    own = {name: re.findall(rf'name="{name}" value="(.*?)"', page)[0] for name in ("token", "sha256")}
    form = "&".join(f"{name}={value}" for name, value in {**own, "decision": "unsure"}.items()).encode()
    kind, port, before = (
        {"Content-Type": "application/x-www-form-urlencoded"},
        address.split(":")[2],
        FILE.read_bytes(),
    )
    for host in (f"example.org:{port}", f"localhost.example.org:{port}", ""):
        assert ask(address, "GET", Host=host)[0] == 400
        assert ask(address, "POST", form, Host=host, **kind)[0] == 400
    for origin in ("https://example.org", "null", "http://127.0.0.1:1"):
        assert ask(address, "POST", form, Origin=origin, **kind)[0] == 403
    assert heard(say(address, head(Content_Length=10**9))).startswith("HTTP/1.0 413 ")
    assert FILE.read_bytes() == before
    assert ask(address, "POST", form, Origin=address.rstrip("/"), **kind)[0] == 303
    assert FILE.read_bytes() != before


@needs_chromium
def test_by_keys_and_on_a_phone(address, suspects, tmp_path):
    with browsing(tmp_path / "profile") as tab:
        tab.call(
            "Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True
        )
        tab.open(address)
        assert tab.run("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
        bottom = "Math.max(...[...document.querySelectorAll('button')].map(button => button.getBoundingClientRect().bottom))"
        assert tab.run("document.images[0].naturalWidth") == Image.open(f"images/{suspects['path'][0]}").width
        assert isinstance(tab.run(bottom), (int, float)) and tab.run(f"{bottom} < 800")

        def press(key: str, then: int) -> None:
            for kind in ("rawKeyDown", "char", "keyUp"):
                text = {"text": key} if kind == "char" else {}
                tab.call("Input.dispatchKeyEvent", type=kind, key=key, **text)
            tab.wait(
                f"document.querySelector('progress')?.value == {then} && document.readyState == 'complete'"
            )

        for number, key in enumerate("rwnu", start=1):
            press(key, then=number)
        assert [
            row[1:] for row in (read_decisions(FILE).loc[suspects["sha256"][:4]].itertuples(index=False))
        ] == [
            ("right", CLASSES[1]),
            ("wrong", CLASSES[1]),
            ("wrong", ""),
            ("unsure", ""),
        ]
        press("b", then=3)
        press("u", then=4)
        press("c", then=4)
        assert tab.run("document.activeElement.name") == "label"
        tab.run("document.activeElement.value = 'pear'")
        press("Enter", then=5)
        assert read_decisions(FILE)["label"].to_dict()[suspects["sha256"][4]] == "pear"
        assert tab.errors == [] and tab.run("document.title") == "Freezepoint: is the label right?"


def test_where_there_is_nothing_to_review(project):
    FILE.unlink()
    with refused("data.labels_corrected", FILE, "sha256,path,decision,label"):
        review.create_app()
    SUSPECTS.unlink()
    with refused(SUSPECTS, "dvc repro", "dvc pull"):
        review.create_app()
    with refused("port 70000", "there are 0 to 65535", "python -m tools.review --port 0"):
        SUSPECTS.write_text("split,path,label,suggested,sha256\n")
        FILE.write_text("sha256,path,decision,label\n")
        assert states(Client().page, "No label looks wrong.")
        review.listen(70000)
