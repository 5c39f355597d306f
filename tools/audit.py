"""Look up the locked packages' known vulnerabilities, and write their licenses to docs/licenses.md.

    python -m tools.audit    exits with 1 where an advisory is found, with 0 where the database does not answer

All that the locks name is looked up, for other systems and versions of Python too, in one request to OSV,
which has the advisories of PyPI, GitHub and others. It gets names and versions.
"""

import json
import platform
import re
import sys
from collections.abc import Iterator
from http.client import HTTPException
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.request import Request, urlopen

DATABASE = "https://api.osv.dev"
NO_ANSWER_SECONDS = 30
FAILURES = (OSError, HTTPException, ValueError, KeyError)  # no answer, or none that is an advisory database's
LOCKS = {  # and the heading of what each brings
    "requirements.txt": "The pipeline, the report, the page",
    "requirements-gpu.txt": "The same with TensorFlow for NVIDIA GPUs",  # in an environment of its own
    "requirements-export.txt": "Also for tools.export",
    "requirements-ray.txt": "Also for engine: ray",
    "requirements-xception.txt": "Also for conv_base.name: xception",
    "requirements-dev.txt": "Also for tests and checks",
    "requirements-peers.txt": "PyTorch, which speed is compared with",  # in an environment of its own
}
PAGE = Path("docs/licenses.md")
SECTION = re.compile(r"(?<=<!-- licenses: make audit -->\n).*(?=<!-- /licenses -->)", re.DOTALL)
NONE_STATED = "states none"
KINDS = {  # what a package's statement, or a line of its license files, says where it asks for a note
    "GPL": r"(?<![AL])GPL|(?<!LESSER )(?<!AFFERO )GENERAL PUBLIC",
    "LGPL": r"LGPL|LESSER GENERAL PUBLIC",
    "AGPL": r"AGPL|AFFERO GENERAL PUBLIC",
    "MPL": r"MPL|MOZILLA",
    "EPL": r"EPL|ECLIPSE",
    "non-commercial": r"\bNC\b|NON-?COMMERCIAL",
    NONE_STATED: NONE_STATED,
}
LICENSE_FILE = re.compile(r"(licen[cs]e|copying)[^/]*(?<!\.py)(?<!\.pyc)$", re.IGNORECASE)
# Lines that put something under a license. Others only name one: the PSF's says what is "GPL-compatible".
DECLARATION = re.compile(
    r"^(?:license(?:\n|:| for).*|\s*GNU (?:lesser |affero )?general public license|.* governed by \w+)",
    re.IGNORECASE | re.MULTILINE,
)


def main(database: str = DATABASE) -> bool:
    """Print what `database` says, write the page, and return whether no advisory was found."""
    locked = {lock: packages(Path(lock).read_text(encoding="utf-8")) for lock in LOCKS}
    every = sorted(set().union(*locked.values()))
    found = 0
    try:
        for package, ids in reported(every, database).items():
            files = ", ".join(lock for lock in LOCKS if package in locked[lock])
            for advisory in advisories(ids, database):
                found += 1
                print(f"{' '.join(package)} ({files}): {advisory}")
        print(
            f"{database} has {found or 'no'} advisories on the {len(every)} packages of {', '.join(LOCKS)}."
        )
    except FAILURES as error:
        print(
            f"Whether the locked packages have known vulnerabilities is not known, as {database} could not be "
            f"asked: {error}."
        )
    before = PAGE.read_text(encoding="utf-8")
    after = SECTION.sub(lambda _: tables(locked), before)
    PAGE.write_text(after, encoding="utf-8")
    print(f"{PAGE}: {'as it was' if after == before else 'renewed'}")
    if missing := without_note(after):
        print(f"{PAGE} needs a note on {', '.join(missing)}: the last column of the tables says why.")
    return not found


def packages(lock: str) -> set[tuple[str, str]]:
    """Return name and version of all that the text of a lock names."""
    return set(re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.MULTILINE))


def reported(locked: list[tuple[str, str]], database: str) -> dict[tuple[str, str], list[str]]:
    """Return the ids of the advisories that `database` has on each of `locked`; raises FAILURES.

    A query whose answer has a token is to be asked again with it: https://google.github.io/osv.dev/api/
    """
    found = {package: [] for package in locked}
    asked: dict[tuple[str, str], dict] = {
        (name, version): {"package": {"ecosystem": "PyPI", "name": name}, "version": version}
        for name, version in locked
    }
    while asked:
        results = ask(f"{database}/v1/querybatch", {"queries": list(asked.values())})["results"]
        tokens = {}
        for package, result in zip(asked, results, strict=True):
            found[package] += [advisory["id"] for advisory in result.get("vulns", [])]
            if "next_page_token" in result:
                tokens[package] = result["next_page_token"]
        asked = {package: asked[package] | {"page_token": token} for package, token in tokens.items()}
    return found


def advisories(ids: list[str], database: str) -> Iterator[str]:
    """Yield what each of `ids` is about, unless it was withdrawn or is one before by another name."""
    said = set()
    for name in ids:
        if name in said:
            continue
        try:
            advisory = ask(f"{database}/v1/vulns/{name}")
        except FAILURES as error:  # the advisory is there all the same
            advisory = {"summary": f"its text could not be read: {error}"}
        if "withdrawn" not in advisory:
            names = [name, *advisory.get("aliases", [])]
            said.update(names)
            yield f"{', '.join(names)}: {advisory.get('summary', 'without a summary')}"


def ask(url: str, content: dict | None = None) -> dict:
    """Return the JSON that `url` answers, to `content` where there is any."""
    body = None if content is None else json.dumps(content).encode()
    request = Request(url, body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=NO_ANSWER_SECONDS) as answer:
        return json.load(answer)


def tables(locked: dict[str, set[tuple[str, str]]]) -> str:
    """Return in Markdown what each lock installs on top of those before it, and under which licenses."""
    system = (
        f"{platform.system()} {platform.machine()}, Python {platform.python_version().rpartition('.')[0]}"
    )
    lines = [f"Looked at on {system}.", ""]
    listed, elsewhere = set(), set()
    for lock, heading in LOCKS.items():
        rows = []
        for name, version in sorted(locked[lock] - listed):
            try:
                package = distribution(name)
            except PackageNotFoundError:
                package = None
            if package is None or package.version != version:
                elsewhere.add(f"{name} {version}")
                continue
            stated = statement(package).replace("|", "\\|")
            rows.append(f"| {name} | {version} | {stated} | {', '.join(kinds(package))} |")
        listed |= locked[lock]
        if rows:
            lines += [f"### {heading}", "", f"Locked in `{lock}`.", ""]
            lines += [
                "| package | version | license | see the notes |",
                "| --- | --- | --- | --- |",
                *rows,
                "",
            ]
    lines += ["### For other systems, versions of Python, GPUs, and `make bench-peers`", ""]
    lines += [f"Locked too, and not installed where this was written: {', '.join(sorted(elsewhere))}.", ""]
    return "\n".join(lines)


def statement(package: Distribution) -> str:
    """Return the license that the metadata of `package` state, and otherwise how its license file begins."""
    metadata = package.metadata
    if expression := metadata.get_all("License-Expression"):
        return expression[0]
    texts = metadata.get_all("License", [])
    stated = [text for text in texts if text and "\n" not in text]  # some have the whole license there
    for classifier in metadata.get_all("Classifier", []):
        *parents, name = classifier.split(" :: ")
        known = any(name.split()[0].lower() in other.lower() for other in stated)  # MIT, and MIT License
        if parents[:1] == ["License"] and name != "OSI Approved" and not known:
            stated.append(name)
    if stated:
        return "; ".join(stated)
    for content in license_texts(package):
        first = next((line for line in content.splitlines() if line.strip()), "")
        return f"{NONE_STATED}; its license file begins: {first.strip()}"
    return NONE_STATED


def kinds(package: Distribution) -> list[str]:
    """Return those of KINDS that `package` states, or that its license files put it or parts of it under."""
    stated = statement(package)
    declared = [line for text in license_texts(package) for line in DECLARATION.findall(text)]
    return [
        kind if re.search(pattern, stated, re.IGNORECASE) else f"{kind} in its files"
        for kind, pattern in KINDS.items()
        if any(re.search(pattern, text, re.IGNORECASE) for text in [stated, *declared])
    ]


def license_texts(package: Distribution) -> Iterator[str]:
    """Yield what is in the license files of `package`, of libraries inside it too."""
    for file in package.files or []:
        if LICENSE_FILE.search(file.as_posix()):
            yield Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")


def without_note(page: str) -> list[str]:
    """Return the packages that `page` has a kind for, and that are not in the notes before its tables."""
    notes = set(re.findall(r"`([^`]+)`", SECTION.sub("", page)))
    rows = re.findall(r"^\| ([\w.-]+) \| \d\S* \| .* \| (\S.*) \|$", page, re.MULTILINE)
    return [name for name, _ in rows if name not in notes]


if __name__ == "__main__":
    sys.exit(not main())
