"""Find what would stop the pipeline later, before it starts, and what is damaged of what is stored.

    python -m tools.check             exits with 0 where nothing would, with 1 and a sentence for each thing that would
    python -m tools.check --stored    hashes each file in the workspace and DVC's cache: is it what was recorded?
    python -m tools.check --remote    the same of the remote; with --push, puts there again what is whole here

The first looks at parameters, labels, weights and disk, and make repro begins with it. It reads no image: what
only their bytes tell, such as broken files, split_dataset finds. It also mends what a kill left, while no
other DVC works here, and says so: an unreadable .dvc/tmp/rwlock, files and folders that nobody finished, and of
a dvc.lock that is cut short the whole stages are kept. The others do that too, and of damage say the command
that mends it. Otherwise nothing is written.
"""

import argparse

from stages.shared.pipeline.command import UserError
from tools.check.findings import Findings
from tools.check.images import check_images
from tools.check.leftovers import mend_leftovers
from tools.check.network import check_network
from tools.check.parameters import check_parameters
from tools.check.project import check_folder, read_project
from tools.check.remote import check_remote
from tools.check.stored import check_stored


def main(*, stored: bool = False, remote: bool = False, push: bool = False) -> None:
    """Print what was checked; raises UserError, a line for each problem, where something is wrong."""
    check_folder()
    for sentence in mend_leftovers():
        print(sentence)
    project = read_project()
    findings = Findings()
    if stored:
        check_stored(findings)
    if remote:
        check_remote(findings, push=push)
    if not (stored or remote):
        check_parameters(findings)
        images = check_images(project, findings)
        check_network(project, images, findings)
    for notice in findings.notices:
        print(notice)
    if stored or remote or not findings.problems:
        print(f"checked: {', '.join(findings.checked)}")
    if findings.problems:
        raise UserError("\n".join(findings.problems))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stored", action="store_true")
    parser.add_argument("--remote", action="store_true")
    parser.add_argument("--push", action="store_true", help="with --remote")
    main(**vars(parser.parse_args()))
