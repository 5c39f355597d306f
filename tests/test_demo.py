"""The page of tools.demo, in a browser, with images, with files that are none, and asked by others."""

import io
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path

import flask
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.shared.reporting.wording import LABELS, quoted
from tests.asking import ask, head, heard, say
from tests.browser import CHROMIUM, browsing
from tests.conftest import CLASSES, refused, search, states, variables_for
from tools.demo import __main__ as demo
from tools.predict import __main__ as predict
from tools.shared import server as serving
from tools.shared.page import HOST

HOSTILE = "<img src=x onerror=document.title='hacked'>"
READ_RESULTS = """[...document.querySelectorAll("#results article")].map(article => ({
    text: article.innerText, model: article.querySelector("p")?.textContent,
    classes: [...article.querySelectorAll("tr")].map(row => [row.cells[0].textContent, row.querySelector("data").value]),
    bars: [...article.querySelectorAll("svg")].map(
        bar => bar.firstElementChild.getBoundingClientRect().width / bar.getBoundingClientRect().width),
    pictures: [...article.querySelectorAll("img")].map(image => [image.naturalWidth, image.naturalHeight, image.src]),
}))"""
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture
def project(trained, monkeypatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture(scope="module")
def address(trained) -> Iterator[str]:
    """Where the page of the trained models is, while the tests of this module run."""
    with chdir(trained), demo.listen(0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://{HOST}:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(browser, address, project):
    browser.open(address)
    return browser


@pytest.fixture
def photo(tmp_path) -> Path:
    """An image that is wider than the page shows it, and lies on its side but for its EXIF orientation."""
    file = tmp_path / f"{HOSTILE}.jpg"
    rng = np.random.default_rng(0)
    upright = Image.fromarray(rng.integers(0, 256, (30, 45, 3)).astype("uint8")).resize((900, 600))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif)
    return file


def png(width: int, height: int) -> bytes:
    """Return a whole black PNG, a bit a pixel."""
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes((width // 8 + 1) * height), 1),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def predicted(capsys, file: Path, model: str) -> dict[str, float]:
    """Return what tools.predict says of `file`, the predicted class first, and then the most probable."""
    capsys.readouterr()
    predict.main([str(file)], model, "csv")
    row = pd.read_csv(io.StringIO(capsys.readouterr().out)).iloc[0]
    ranked = sorted(CLASSES, key=lambda name: (name != row["predicted"], -row[f"probability_{name}"]))
    return {name: row[f"probability_{name}"] for name in ranked}


def results(tab, number: int) -> list[dict]:
    """Return the results on the page, the latest first, once there are `number`."""
    tab.wait(f"document.querySelectorAll('#results article').length == {number}")
    tab.wait(
        "[...document.images].every(image => image.complete) && !document.querySelector('#progress').innerText"
    )
    return tab.run(READ_RESULTS)


@needs_chromium
def test_an_image_that_is_dropped_and_each_model(tab, photo, capsys):
    tab.drop(photo)
    assert len(results(tab, 1)) == 1
    tab.run("document.querySelector('[value=augmented]').click()")
    results(tab, 2)
    tab.run("document.querySelector('[value=head]').click()")
    found = results(tab, 3)
    assert tab.errors == []
    for result, model in zip(found, ("head", "augmented", "fine_tuned"), strict=True):
        expected = predicted(capsys, photo, model)
        ranked = list(expected)
        assert [name for name, _ in result["classes"]] == ranked
        probabilities = [float(probability) for _, probability in result["classes"]]
        assert probabilities == pytest.approx([expected[name] for name in ranked], abs=1e-6)
        assert result["bars"] == pytest.approx(probabilities, abs=0.01)
        facts = (LABELS[model], photo.name, f"“{ranked[0]}”", f"{probabilities[0]:.3f}")
        assert states(result["model"], *facts) and states(result["text"], "900 × 600")
        (*size, picture), (*size_of_heat, heat) = result["pictures"]
        assert size == size_of_heat == [600, 400] and picture != heat
        assert "nothing in the image" not in result["text"]


@needs_chromium
def test_files_that_are_no_images_and_then_one(tab, photo, tmp_path):
    contents = {
        f"cut {HOSTILE}.png": png(800, 800)[:60],
        "text.png": b"no image",
        "empty.png": b"",
        "bomb.png": png(20_000, 20_000),
    }
    files = [tmp_path / name for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_bytes(content)
    heavy = tmp_path / "heavy.tif"
    with heavy.open("wb") as file:
        file.truncate((demo.LARGEST + 1) * 10**6)
    folder = tmp_path / "folder"
    folder.mkdir()
    tab.choose(*files, heavy)
    results(tab, 5)
    tab.drop(folder, photo)
    found = results(tab, 7)
    expected = [
        ("folder", "cannot be read"),
        ("larger", "100 MB"),
        (quoted("bomb.png"), "20,000 × 20,000 pixels", "50 megapixels"),
        (quoted("empty.png"), "empty"),
        (quoted("text.png"), "not an image"),
        (quoted(files[0].name), "truncated"),
    ]
    for result, facts in zip(found[1:], expected, strict=True):
        assert states(result["text"], *facts)
    assert found[0]["classes"]
    assert tab.run("document.title") == "Freezepoint: what a model sees"


@needs_chromium
def test_without_scripts(tab, address, photo):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(address)
        tab.choose(photo)
        tab.run(
            "document.querySelector('[value=head]').checked = true; document.querySelector('button').click()"
        )
        tab.wait("document.querySelectorAll('#results article').length == 1")
        assert tab.run("document.querySelector('[value=head]').checked")
        assert len(tab.run(READ_RESULTS)[0]["pictures"]) == 2
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


@needs_chromium
def test_on_a_phone_and_in_both_colour_schemes(tab, photo):
    tab.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    tab.drop(photo)
    results(tab, 1)
    assert tab.run("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    brightness = []
    for scheme in ("light", "dark"):
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.run("scrollTo(0, 0)")
        brightness.append(np.asarray(tab.screenshot().convert("L")).mean())
    assert brightness[0] > 170 and brightness[1] < 90


@needs_chromium
def test_by_keyboard(tab):
    focused = []
    for _ in range(2):
        for kind in ("rawKeyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        focused.append(tab.run("document.activeElement.value || document.activeElement.labels[0].innerText"))
    assert focused == ["fine_tuned", "Drop an image here\nor choose a file"]


def post(
    address: str, content: bytes, model: str = "head", name: str = "a.png", **headers
) -> tuple[int, str]:
    """Post a form as a browser does, and return the answer's status and text."""
    body = (
        f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'
        f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    ).encode() + content + b"\r\n--b--\r\n"  # fmt: skip
    return ask(address, "POST", body, **{"Content-Type": "multipart/form-data; boundary=b", **headers})


def test_status(address):
    assert post(address, b"no image")[0] == 400
    assert post(address, bytes(demo.LARGEST * 10**6))[0] == 413
    assert post(address, b"", model="../../mine")[0] == 400
    assert post(address, b"", name="")[0] == 400
    assert "Choose an image first." in post(address, b"", name="")[1]
    assert ask(address, "POST")[0] == 400
    assert ask(address, "GET")[0] == 200


def test_a_large_file_that_is_slow_to_come_is_refused_in_words(address):
    size = (demo.LARGEST + 1) * 10**6

    def body():
        time.sleep(0.3)
        yield bytes(size)

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(size)}
    status, page = ask(address, "POST", body(), **headers)
    assert status == 413 and states(page, "larger", "100 MB")


ONE_FILE = 'name="image"; filename="a.png"'


def form(*parts: str, content: bytes = b"") -> bytes:
    """Return a form of `parts`, of which the last has `content`."""
    heads = "x\r\n".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n\r\n" for part in parts)
    return heads.encode() + content + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    "body, status",
    [
        (form(*['name="model"'] * 1001, ONE_FILE), 413),
        (form(ONE_FILE, ONE_FILE, ONE_FILE), 413),
        (form('name="model"', content=b"x" * 10**6), 413),
        (b"--b\r\n" + b"X: x\r\n" * 2_000_000, 413),
        (b"--b\r\nX: " + b"x" * 20_000_000, 413),
        (b"\r\n--b" * 4_000_000, 413),
        (b"", 400),
    ],
)
def test_a_form_of_another_kind(address, body, status):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    found, page = ask(address, "POST", body, **headers)
    assert found == status
    assert status == 400 or states(page, "one file", "the name of a model")


@pytest.mark.parametrize(
    "request_, status, facts",
    [
        (head(Transfer_Encoding="chunked") + b"1\r\nx\r\n0\r\n\r\n", 411, ["how long"]),
        (head(Content_Length="-1"), 411, ["how long"]),
        (head(Content_Length="1e3"), 411, ["how long"]),
        (head(Content_Length="9" * 5000), 411, ["how long"]),
        (head(Content_Length=10**15), 413, ["larger", "100 MB"]),
        (head(f"GET /{'x' * 70_000} HTTP/1.1"), 414, []),
        (head("GET / HTTP/1.1", X="x" * 70_000), 431, []),
        (head("GET / HTTP/1.1", **{f"X{number}": "x" for number in range(200)}), 431, []),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n", None, ["Bad request"]),
        (head("GET / HTTP/1.1") * 3, 200, ["What does the model see?"]),  # and no more
        (head("DELETE / HTTP/1.1"), 405, []),
    ],
)
def test_a_request_of_another_kind(address, request_, status, facts):
    answer = heard(say(address, request_))
    assert answer.count("HTTP/1.0 ") == (status is not None) and states(answer, *facts)
    assert answer.startswith(f"HTTP/1.0 {status} " if status else "<main")


def test_a_client_that_says_no_more(address):
    client = say(address, head(Content_Length=100), b"x" * 99)
    client.shutdown(socket.SHUT_WR)
    assert states(heard(client), "400", "shorter than it says")
    client = say(address, head("GET / HTTP/1.1"))
    client.shutdown(socket.SHUT_WR)
    assert states(heard(client), "200")
    say(address, head(Content_Length=100), b"x" * 99).close()
    say(address).close()
    assert ask(address, "GET")[0] == 200


def test_a_client_that_waits_to_be_asked(address):
    content = form('name="model"', ONE_FILE)
    client = say(
        address,
        head(
            Content_Length=len(content), Expect="100-continue", Content_Type="multipart/form-data; boundary=b"
        ),
    )
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(content)
    assert heard(client).startswith("HTTP/1.0 400 ")


@pytest.mark.parametrize("begun", [b"", b"POST / HT", head(Content_Length=100), head("GET / HTTP/1.1")])
def test_a_client_that_is_slow(address, monkeypatch, begun):
    """It sends a byte at a time, and reads nothing until the server has given up."""
    monkeypatch.setattr(serving, "SECONDS", 0.5)
    client, ended = say(address, begun), threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while not ended.wait(0.05):
                client.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert ask(address, "GET")[0] == 200
        answer = b""
        with suppress(ConnectionResetError):  # what comes after the answer is not read
            while piece := client.recv(2**16):
                answer += piece
        expected = ["200"] if begun.startswith(b"GET") else ["408", "0.5 s"]
        assert states(answer.decode(), *expected)
    finally:
        ended.set()
        dripping.join()
        client.close()


@pytest.mark.parametrize("begun", [b"", head(Content_Length=100), head("GET / HTTP/1.1")])
def test_more_clients_than_there_are_places(address, begun):
    clients = []
    try:
        for _ in range(2 * serving.PLACES):
            clients.append(say(address, begun))
        assert ask(address, "GET")[0] == 200
        assert post(address, b"no image")[0] == 400
        assert states(heard(clients[0]), "200" if begun.startswith(b"GET") else "408")
    finally:
        for client in clients:
            client.close()


def test_bodies_that_would_take_all_memory(address, monkeypatch):
    monkeypatch.setattr(serving, "BODIES", 5)
    clients = []
    try:
        for _ in range(8):
            clients.append(say(address, head(Content_Length=2 * 10**6), bytes(10**6)))
            assert ask(address, "GET")[0] == 200
        assert post(address, bytes(3 * 10**6))[0] == 400
        assert states(heard(clients[0]), "408", "others needed its place")
        clients[-1].sendall(bytes(10**6))
        assert states(heard(clients[-1]), "400")
    finally:
        for client in clients:
            client.close()


def test_clients_that_are_all_worked_for(monkeypatch):
    """Those that come wait then; none is ended."""
    monkeypatch.setattr(serving, "PLACES", 3)
    go_on = threading.Event()
    app = flask.Flask("slow")
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.get("/")(lambda: "done" if go_on.wait(30) else "")
    with serving.Server((HOST, 0), app) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        clients = [say(f"http://{HOST}:{server.server_port}/", head("GET / HTTP/1.1")) for _ in range(7)]
        time.sleep(2 * serving.GRACE)
        go_on.set()
        assert [heard(client).splitlines()[-1] for client in clients] == ["done"] * 7
        server.shutdown()
        thread.join()


def jpeg(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.slow
def test_large_images_take_no_more_memory_than_the_largest_that_is_taken(project):
    with demo_process() as (server, address):
        for name in LABELS:
            assert post(address, png(104, 104), model=name)[0] == 200
        before = peak_memory(server)
        for image in (png(13_000, 13_000), jpeg(13_000)):
            status, page = post(address, image)
            assert status == 400 and states(page, "13,000 × 13,000 pixels", "50 megapixels")
        assert peak_memory(server) - before < 100
        assert post(address, png(8000, 6000))[0] == 200
        assert peak_memory(server) - before < 1000
        server.send_signal(signal.SIGINT)


def peak_memory(process: subprocess.Popen) -> float:
    """Return the most megabytes that `process` has ever had."""
    return int(search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) / 1000


def test_other_sites_are_refused(address):
    port = address.split(":")[2].strip("/")
    assert ask(address, "GET", Host=f"localhost:{port}")[0] == 200
    for host in (f"example.org:{port}", f"localhost.example.org:{port}", ""):
        assert ask(address, "GET", Host=host)[0] == 400
    own, others = address.rstrip("/"), ("https://example.org", "null", "http://127.0.0.1:1")
    assert post(address, b"no image", Origin=own)[0] == 400
    for origin in others:
        assert post(address, b"no image", Origin=origin)[0] == 403


def test_nothing_is_written_to_disk(address, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    image = io.BytesIO()
    Image.effect_noise((1500, 1500), 50).save(image, "PNG")
    assert image.tell() > 10**6
    assert post(address, image.getvalue())[0] == 200


def test_a_model_that_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/models").mkdir(parents=True)
    Path("data/models/head.keras").write_text("no model")
    form = {"model": "head", "image": (io.BytesIO(b"no image"), "a.png")}
    answer = demo.create_app().test_client().post("/", data=form)
    assert answer.status_code == 500
    assert states(answer.text, "data/models/head.keras", "no model", "not a zip file")


def test_many_classes():
    shown_of_one = dict.fromkeys(("predicted", "width", "height", "picture", "heat", "place", "second"), "")
    classes = [(f"class {i}", "0.1") for i in range(12)]
    shown_of_one |= {"remark": "unlike", "typicality": 0.005, "nearest": ["a/1.png"], "possible": ["class 0"]}
    with demo.create_app().test_request_context():
        shown = demo.page(file="a.png", found={**shown_of_one, "threshold": None, "classes": classes})
    before, after = shown.split("<details><summary>2 more</summary>")
    assert "unlike all that the model learnt" in before and states(before, "0.5 %") and "a/1.png" in before
    assert (before.count("<data"), after.count("<data")) == (10, 2)


def test_models_that_are_missing(workspace):
    with refused("data/models/head.keras", "dvc repro", "dvc pull"):
        demo.main(0)


@pytest.mark.parametrize("reason", ["Address already in use", "there are 0 to 65535"])
def test_a_port_that_cannot_be_had(project, address, reason):
    port = address.split(":")[2].strip("/") if "use" in reason else "70000"
    with refused(f"port {port}", reason, "--port 0"):
        demo.main(int(port))


@contextmanager
def demo_process() -> Iterator[tuple[subprocess.Popen, str]]:
    """Start the tool itself, and give its process and address."""
    with subprocess.Popen(
        [sys.executable, "-m", "tools.demo", "--port", "0"],
        env=variables_for(),
        stdout=-1,
        stderr=-1,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (a shell's & ignores it)
    ) as server:
        assert server.stdout
        try:
            address = search(r"^(http://127\.0\.0\.1:\d+), Ctrl-C ends it\n$", server.stdout.readline())[1]
            yield server, f"{address}/"
        finally:
            server.kill()


def test_it_says_where_it_is_and_ends_quietly(project):
    with demo_process() as (server, address):
        assert ask(address, "GET")[0] == 200
        assert post(address, b"no image")[0] == 400
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=30)
    assert rest[0] == "" and "Traceback" not in rest[1]
