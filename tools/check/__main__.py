"""Find what would stop the pipeline later, before it starts: in parameters, labels, weights and disk.

    python -m tools.check    exits with 0 where nothing would, with 1 and a sentence for each thing that would

Runs no stage, reads no image and writes nothing. make repro begins with it. What only the images' bytes
tell, such as broken files, split_dataset finds.
"""

from stages.shared.pipeline.command import UserError
from tools.check.findings import Findings
from tools.check.images import check_images
from tools.check.leftovers import mend_leftovers
from tools.check.network import check_network
from tools.check.parameters import check_parameters
from tools.check.project import check_folder, read_project


def main() -> None:
    """Print what was checked; raises UserError, a line for each problem, where something is wrong."""
    check_folder()
    for sentence in mend_leftovers():
        print(sentence)
    project = read_project()
    findings = Findings()
    check_parameters(findings)
    images = check_images(project, findings)
    check_network(project, images, findings)
    for notice in findings.notices:
        print(notice)
    if findings.problems:
        raise UserError("\n".join(findings.problems))
    print(f"checked: {', '.join(findings.checked)}")


if __name__ == "__main__":
    main()
