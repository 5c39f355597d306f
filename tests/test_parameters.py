"""A wrong parameter ends a stage with a sentence that names key, value and what is allowed."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.shared.pipeline.parameters import read_parameters
from stages.train_head import Parameters
from tests.conftest import DEFAULTS, arguments, call, change, refused, run, states, write_parameters
from tools import gate

INFINITY, NOT_A_NUMBER = float("inf"), float("nan")


@pytest.mark.parametrize(
    "stage, key, value, allowed",
    [
        ("train_head", "head.dropout", 1.5, "0 1"),
        ("train_head", "head.unitz", 5, "units"),
        ("train_head", "head.units", "many", "1 65536"),
        ("train_head", "head.units", 2.5, "1 65536"),
        ("train_head", "head.units", True, "1 65536"),
        ("train_head", "head.pooling", "max", "flatten average"),
        ("train_head", "head.patience_epochs", 0, "1 null"),
        ("train_head", "head.epochs", 10**30, "1 1000000"),
        ("train_head", "head.batch_size", 10**30, "1 1000000"),
        ("train_head", "head.seed", 2**32, "0 4294967295"),
        ("train_head", "image_size", 10, "32 2048"),
        ("train_head", "image_size", "64", "32 2048"),
        ("extract_features", "image_size", 64.0, "32 2048"),
        ("model_card", "image_size", True, "32 2048"),
        ("model_card", "interpolation", 3, "bilinear nearest"),
        ("train_head", "conv_base.name", "vgg", "vgg16 vgg19 xception inception_v3 resnet50 mobilenet"),
        ("audit_leakage", "leakage.cosine_similarity", 1.5, "0 1"),
        ("audit_leakage", "leakage.hash_bits", 65, "0 64"),
        ("train_augmented", "augmented.class_weights", None, "none balanced"),
        ("extract_views", "augmentation.zoom", -1, "0 1"),
        ("extract_views", "augmentation.fill", "mirror", "nearest reflect constant"),
        ("extract_views", "augmentation.views", 10**9, "1 1000"),
        ("extract_features", "interpolation", "cubic", "bilinear nearest"),
        ("extract_features", "store.gigabytes", INFINITY, "0"),
        ("extract_features", "store.gigabytes", "20", "0"),
        ("extract_features", "store.folder", "a\0b", "path"),
        ("extract_features", "data.images", "\ud800", "path"),
        ("extract_views", "augmentation.rotation_degrees", NOT_A_NUMBER, "0 180"),
        ("fine_tune", "fine_tune.learning_rate", INFINITY, "0 1"),
        ("extract_features", "fit", "stretch", "squash crop pad"),
        ("train_head", "image_size", 64.0, "32 2048"),
        ("split_dataset", "white_16_bit", 65536, "255 65535"),
        ("audit_leakage", "white_16_bit", "4095", "255 65535"),
        ("split_dataset", "data.max_megapixels", 0, "megapixels 0"),
        ("fetch_weights", "conv_base.weights", 3, "imagenet random path"),
        ("fine_tune", "fine_tune.learning_rate", 0, "0 1"),
        ("fine_tune", "fine_tune.units", 64, ""),
        ("split_dataset", "data.on_bad_image", "skip", "fail exclude"),
    ],
)
def test_message(workspace, stage, key, value, allowed):
    write_parameters(workspace, {key: value}, Path("params.yaml"))
    with refused("params.yaml", key, repr(value), *allowed.split()):
        run(stage)


def test_the_gate_s_parameters_are_as_strict(workspace):
    for value in (INFINITY, NOT_A_NUMBER, "2", True):
        change(gate__standard_errors=value)
        with refused("params.yaml", "gate.standard_errors", repr(value), 0):
            gate.main()


def test_all_wrong_parameters_are_named_at_once(workspace):
    change(head__dropout=2, head__units=0)
    with pytest.raises(SystemExit) as end:
        run("train_head")
    units, dropout = str(end.value).splitlines()
    assert states(units, "head.units", 0) and states(dropout, "head.dropout", 2)


def test_a_missing_key_a_missing_section_and_a_section_that_is_none(workspace):
    text = Path("params.yaml").read_text()
    for wrong, facts in [
        (text.replace("  units: 8\n", "", 1), ("head.units", "missing", 1, 65536)),
        (text.replace("\nhead:", "\nhaed:"), ("head", "missing", "section")),
        ("head: 3\nimage_size: 64\nconv_base: 4", ("head", 3, "section")),
        ("head: [", ("YAML",)),
        ("head: 2001-99-99", ("YAML", "month")),
        ("head: 1" + 5000 * "0", ("YAML", 5001)),
        (f"head: {5000 * '['}{5000 * ']'}", ("YAML",)),
        (f"head: {10**6 * '['}", ("YAML",)),
        ("head: !!bool maybe", ("YAML", "maybe")),
        ("- a", ("sections",)),
        ("3: 3\n" + text, (3, "no parameter")),
        (text.replace("\nhead:", "\nhead:\n  null: 3"), ("None", "no parameter")),
    ]:
        Path("params.yaml").write_text(wrong)
        with pytest.raises(SystemExit) as end:
            run("train_head")
        assert states(str(end.value), "params.yaml", *facts)


def test_a_file_that_cannot_be_read(workspace):
    Path("params.yaml").unlink()
    Path("params.yaml").mkdir()
    with refused("params.yaml", "Is a directory"):
        run("train_head")


def test_an_unknown_section_is_named_by_one_stage(workspace):
    Path("params.yaml").write_text("imagesize: 224\nfoo: 1\n" + Path("params.yaml").read_text())
    assert read_parameters(Parameters).head.units == 8  # train_head's: it minds what it reads
    with pytest.raises(SystemExit) as end:
        run("split_dataset")
    near, far = str(end.value).splitlines()
    assert states(near, "params.yaml", "imagesize", 224, "image_size") and "fine_tune" not in near
    assert states(far, "params.yaml", "foo", 1, *YAML(typ="safe").load(DEFAULTS))


def test_scientific_notation_is_a_number_as_dvc_reads_it(workspace):
    Path("params.yaml").write_text(
        Path("params.yaml").read_text().replace("learning_rate: 3.0e-4", "learning_rate: 3e-5")
    )
    assert read_parameters(Parameters).head.learning_rate == 3e-5


@pytest.mark.slow
def test_the_user_sees_a_sentence_and_no_traceback(workspace):
    change(split__test=7.5)
    ended = call(workspace, "python", "-m", "stages.split_dataset", *arguments("split_dataset"))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert (
        states(ended.stderr, "params.yaml", "split.test", 7.5, 0, 1) and len(ended.stderr.splitlines()) == 1
    )
