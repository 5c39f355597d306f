"""Self-contained classifiers as `.keras` files whose bytes depend on their content alone."""

import json
import re
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

import keras

from stages.shared.files import whole


def save(model: keras.Model, path: Path, class_names: list[str], threshold: float | None) -> None:
    """Write `model` to `path`, with `class_names` and `threshold` in the archive's metadata.json.

    Keras stamps the date into the archive and its entries, and memory addresses into config.json
    as the ids of shared objects: here entries have one date, and ids count from 0.
    """
    with whole(path) as undated, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        dated = Path(folder, "dated.keras")
        model.save(dated)
        with zipfile.ZipFile(dated) as source, zipfile.ZipFile(undated, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    version = json.loads(content)["keras_version"]
                    ours = {"class_names": class_names, "threshold": threshold}
                    content = json.dumps({"keras_version": version, **ours})
                if name == "config.json":
                    ids: dict[str, int] = defaultdict(lambda: len(ids))
                    content = re.sub(
                        r'(?<="shared_object_id": )\d+', lambda found: str(ids[found[0]]), content.decode()
                    )
                target.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)


def load(path: Path) -> tuple[keras.Model, list[str], float | None]:
    """Return the model in `path`, its class names, the one with class_index 0 first, and its threshold.

    Above that probability of class 1 the image is one of it; None where there are more than two classes.
    """
    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    model = keras.saving.load_model(path, safe_mode=True)
    return model, metadata["class_names"], metadata["threshold"]
