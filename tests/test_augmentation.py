"""A view is what ImageDataGenerator's words mean, and a function of seed, view and content."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import apply_affine_transform

from stages.extract_views.augmentation import Augmentation, AugmentedView, draw_warp
from tests.conftest import change, run

NOTEBOOK = Augmentation(
    seed=0,
    views=1,
    include_original=False,
    precision="base",
    rotation_degrees=40,
    width_shift=0.2,
    height_shift=0.2,
    shear_degrees=20,
    zoom=0.2,
    horizontal_flip=True,
    fill="nearest",
)
SIZE = 40


def with_only(**settings) -> Augmentation:
    nothing = {
        "rotation_degrees": 0,
        "width_shift": 0,
        "height_shift": 0,
        "shear_degrees": 0,
        "zoom": 0,
        "horizontal_flip": False,
    }
    return NOTEBOOK.model_copy(update={**nothing, **settings})


def image() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    smooth = [100 + 60 * np.sin(rows / 7) + 40 * np.cos(columns / 5), rows * 3.0, columns * 4.0]
    return np.stack(smooth, axis=-1).astype("float32")


def draws(digest: str, view: int = 0) -> np.ndarray:
    """Return the seven uniform draws behind a view of NOTEBOOK's seed."""
    return np.frombuffer(sha256(f"0 {view} {digest}".encode()).digest(), "<u4")[:7] / 2**32


@pytest.mark.parametrize("fill", ["nearest", "reflect", "constant"])
@pytest.mark.parametrize("digest", ["a", "b", "c", "d", "e", "f"])
def test_the_warp_is_the_one_of_image_data_generator(digest, fill):
    either_way = 2 * draws(digest) - 1
    expected = apply_affine_transform(
        image(),
        theta=40 * either_way[0],
        tx=0.2 * SIZE * either_way[1],
        ty=0.2 * SIZE * either_way[2],
        shear=20 * either_way[3],
        zx=1 + 0.2 * either_way[4],
        zy=1 + 0.2 * either_way[5],
        row_axis=0,
        col_axis=1,
        channel_axis=2,
        fill_mode=fill,
        cval=0,
        order=1,
    )
    if draws(digest)[6] < 0.5:
        expected = expected[:, ::-1]
    warped = AugmentedView(NOTEBOOK.model_copy(update={"fill": fill}), 0).draw(image()[np.newaxis], [digest])
    inside = np.abs(warped[0].numpy() - expected) < 0.05
    assert inside.mean() > (0.999 if fill == "nearest" else 0.95)  # SciPy interpolates across other borders


def test_each_word_does_what_it_says():
    down = draw_warp(with_only(height_shift=0.2), 0, "a", SIZE)
    assert down[[0, 1, 2, 3, 4]] == pytest.approx([1, 0, 0, 0, 1]) and abs(down[5]) <= 8 and down[5] != 0
    right = draw_warp(with_only(width_shift=0.2), 0, "a", SIZE)
    assert right[[0, 1, 3, 4, 5]] == pytest.approx([1, 0, 0, 1, 0]) and abs(right[2]) <= 8 and right[2] != 0
    turned = draw_warp(with_only(rotation_degrees=40), 0, "a", SIZE)
    assert (
        turned[[0, 1]] == pytest.approx([turned[4], -turned[3]]) and np.cos(np.deg2rad(40)) <= turned[0] < 1
    )
    zoomed = draw_warp(with_only(zoom=0.2), 0, "a", SIZE)
    assert 0.8 <= zoomed[0] <= 1.2 and 0.8 <= zoomed[4] <= 1.2 and zoomed[0] != zoomed[4]
    flips = [draw_warp(with_only(horizontal_flip=True), 0, str(n), SIZE)[0] for n in range(400)]
    assert set(flips) == {-1, 1} and 160 < flips.count(-1) < 240


def test_nothing_drawn_leaves_the_image_as_it_is():
    assert (AugmentedView(with_only(), 0).draw(image()[np.newaxis], ["a"])[0].numpy() == image()).all()


def test_seed_view_and_content_each_give_another_draw_and_nothing_else_does():
    warp = draw_warp(NOTEBOOK, 0, "a", SIZE)
    assert (warp == draw_warp(NOTEBOOK, 0, "a", SIZE)).all()
    assert (warp == draw_warp(NOTEBOOK.model_copy(update={"views": 9}), 0, "a", SIZE)).all()
    others = [
        draw_warp(NOTEBOOK, 1, "a", SIZE),
        draw_warp(NOTEBOOK, 0, "b", SIZE),
        draw_warp(NOTEBOOK.model_copy(update={"seed": 1}), 0, "a", SIZE),
    ]
    assert all(not np.allclose(warp, other) for other in others)


def test_draws_fill_their_range_evenly():
    angles = []
    for number in range(2000):
        warp = draw_warp(with_only(rotation_degrees=40), 0, str(number), SIZE)
        angles.append(np.rad2deg(np.arctan2(warp[3], warp[0])))
    counts, _ = np.histogram(angles, bins=8, range=(-40, 40))
    assert counts.sum() == 2000 and counts.min() > 190 and counts.max() < 310


VIEWS = [Path("data/views/features.npy"), Path("data/views/activations.npy")]


def test_the_original_among_the_views_is_a_copy_and_the_others_are_drawn_as_without_it(extracted, capsys):
    originals = [Path("data/features/train.npy"), Path("data/default_activations/train.npy")]
    found = [np.load(file) for file in VIEWS]
    for of_views, original in zip(found, originals, strict=True):
        np.testing.assert_array_equal(of_views[0], np.load(original))
    capsys.readouterr()
    change(augmentation__include_original=False)
    run("extract_views")
    assert capsys.readouterr().out.count("0 of 28 images from the store") == 2
    for of_views, other in zip(found, map(np.load, VIEWS), strict=True):
        np.testing.assert_array_equal(other[1], of_views[1])
        assert not np.array_equal(other[0], of_views[0])


def test_the_original_at_another_freeze_point_is_what_a_view_without_a_change_is(extracted):
    names = ("rotation_degrees", "width_shift", "height_shift", "shear_degrees", "zoom")
    change(**{f"augmentation__{name}": 0 for name in names})
    change(augmentation__horizontal_flip=False, fine_tune__freeze_through="block3_pool")
    run("extract_views")
    for original, view in map(np.load, VIEWS):
        np.testing.assert_array_equal(original, view)
