"""A wrong parameter ends a stage with a sentence that names key, value and what is allowed."""

from pathlib import Path

import pytest

from tests.conftest import arguments, call, change, run


@pytest.mark.parametrize(
    "stage, changes, message",
    [
        (
            "train_head",
            {"head__dropout": 1.5},
            "head.dropout is 1.5, but it takes a fraction, at least 0 and below 1.",
        ),
        ("train_head", {"head__unitz": 5}, "head.unitz (value 5) is no parameter: did you mean units?"),
        (
            "train_head",
            {"head__units": "many"},
            "head.units is 'many', but it takes a whole number from 1 to 65536.",
        ),
        (
            "train_head",
            {"head__units": 2.5},
            "head.units is 2.5, but it takes a whole number from 1 to 65536.",
        ),
        (
            "train_head",
            {"head__units": True},
            "head.units is True, but it takes a whole number from 1 to 65536.",
        ),
        ("train_head", {"head__pooling": "max"}, "head.pooling is 'max', but it takes flatten or average."),
        (
            "train_head",
            {"image_size": 10},
            "image_size is 10, but it takes a whole number of pixels from 32 to 2048.",
        ),
        (
            "train_head",
            {"conv_base__name": "vgg"},
            "conv_base.name is 'vgg', but it takes one of vgg16, vgg19,",
        ),
        (
            "audit_leakage",
            {"leakage__cosine_similarity": 1.5},
            "leakage.cosine_similarity is 1.5, but it takes a number above 0, at most 1.",
        ),
        (
            "audit_leakage",
            {"leakage__hash_bits": 65},
            "leakage.hash_bits is 65, but it takes a whole number of bits from 0 to 64.",
        ),
        (
            "train_head",
            {"head__patience_epochs": 0},
            "head.patience_epochs is 0, but it takes a whole number of epochs",
        ),
        (
            "train_augmented",
            {"augmented__class_weights": None},
            "augmented.class_weights is None, but it takes none or",
        ),
        (
            "extract_views",
            {"augmentation__zoom": -1},
            "augmentation.zoom is -1, but it takes a fraction of the size",
        ),
        (
            "extract_views",
            {"augmentation__fill": "mirror"},
            "augmentation.fill is 'mirror', but it takes nearest, reflect or constant",
        ),
        (
            "extract_features",
            {"interpolation": "cubic"},
            "interpolation is 'cubic', but it takes bilinear or nearest.",
        ),
        (
            "fetch_weights",
            {"conv_base__weights": 3},
            "conv_base.weights is 3, but it takes imagenet, random, or the path",
        ),
        (
            "fine_tune",
            {"fine_tune__learning_rate": 0},
            "fine_tune.learning_rate is 0, but it takes a number above 0",
        ),
        (
            "fine_tune",
            {"fine_tune__units": 64},
            "fine_tune.units (value 64) is no parameter",
        ),
        (
            "extract_views",
            {"augmentation__views": 10**9},
            "augmentation.views is 1000000000, but it takes a whole number from 1 to 1000.",
        ),
        (
            "split_dataset",
            {"data__on_bad_image": "skip"},
            "data.on_bad_image is 'skip', but it takes fail or exclude.",
        ),
    ],
)
def test_message(workspace, stage, changes, message):
    change(**changes)
    with pytest.raises(SystemExit) as end:
        run(stage)
    assert end.value.code.startswith("params.yaml: ") and message in end.value.code
    assert "\n" not in end.value.code


def test_all_wrong_parameters_are_named_at_once(workspace):
    change(head__dropout=2, head__units=0)
    with pytest.raises(SystemExit) as end:
        run("train_head")
    assert [line.split(" is ")[0] for line in end.value.code.splitlines()] == [
        "params.yaml: head.units",
        "params.yaml: head.dropout",
    ]


def test_a_missing_key_a_missing_section_and_a_section_that_is_none(workspace):
    text = Path("params.yaml").read_text()
    for wrong, message in [
        (
            text.replace("  units: 8\n", "", 1),
            "params.yaml: head.units is missing: it takes a whole number from 1 to 65536.",
        ),
        (
            text.replace("\nhead:", "\nhaed:"),
            "params.yaml: head is missing: it takes a section of parameters.",
        ),
        (
            "head: 3\nimage_size: 64\nconv_base: 4",
            "params.yaml: head is 3, but it takes a section of parameters.",
        ),
        ("head: [", "params.yaml is not valid YAML"),
        ("- a", "params.yaml: it takes sections of parameters."),
        ("3: 3\n" + text, "params.yaml: 3 is no parameter: names are words, like those in README.md."),
        (text.replace("\nhead:", "\nhead:\n  null: 3"), "params.yaml: None is no parameter: names are"),
    ]:
        Path("params.yaml").write_text(wrong)
        with pytest.raises(SystemExit) as end:
            run("train_head")
        assert message in end.value.code


def test_a_file_that_cannot_be_read(workspace):
    Path("params.yaml").unlink()
    Path("params.yaml").mkdir()
    with pytest.raises(SystemExit, match="^params.yaml cannot be read: Is a directory.$"):
        run("train_head")


def test_an_unknown_section_is_named_by_every_stage(workspace):
    Path("params.yaml").write_text("imagesize: 224\nfoo: 1\n" + Path("params.yaml").read_text())
    with pytest.raises(SystemExit) as end:
        run("split_dataset")
    assert end.value.code == (
        "params.yaml: imagesize (value 224) is no parameter: did you mean image_size?\n"
        "params.yaml: foo (value 1) is no parameter: there are data, split, image_size, interpolation, conv_base, "
        "leakage, augmentation, head, augmented, fine_tune, store, gate."
    )


def test_scientific_notation_is_a_number_as_dvc_reads_it(workspace):
    from stages.shared.parameters import read_parameters
    from stages.train_head import Parameters

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
    assert ended.stderr.startswith("params.yaml: split.test is 7.5, but it takes a fraction of each class")
    assert len(ended.stderr.splitlines()) == 1
