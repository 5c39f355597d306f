"""The engine of a cluster: a Ray Data job whose tasks decode images and whose actors hold a conv base each.

Ray (https://docs.ray.io) schedules, and tries again what a lost process or machine had not finished. An actor takes
from the store of its machine what that has, computes the rest and keeps it there. Where it sees the project's
folder it writes the rows to their places itself; elsewhere they come through the driver, some blocks at a time.
"""

import json
import os
import secrets
from collections.abc import Iterator
from hashlib import sha256
from importlib.util import find_spec
from logging import ERROR, getLogger
from pathlib import Path
from socket import create_connection
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import stages
from stages.shared.extraction.decode_on_ray import Batch, Refused, decode
from stages.shared.extraction.work import (
    Block,
    Cluster,
    ExtractionParameters,
    MakePasses,
    Part,
    Pixels,
    View,
    Work,
    fingerprint_passes,
    keep,
    make_key,
    store_for,
    versions_of,
)
from stages.shared.images.image_folder import open_folder
from stages.shared.network import conv_base, environment
from stages.shared.pipeline.arrays import ArrayFile
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import scratch_file
from stages.shared.pipeline.image_input import ImageInput

NO_ANSWER_SECONDS = 10
TOGETHER = (
    4  # blocks that one task decodes, and an actor computes before it says so, of images in one version
)


class Share(NamedTuple):
    """What an actor is told of a part."""

    passes: MakePasses
    versions: list[View]
    arrays: dict[str, ArrayFile]


class Job(NamedTuple):
    """What an actor is told of the work."""

    shares: list[Share]
    token: tuple[Path, bytes]  # a file beside the arrays, and what it holds
    parameters: ExtractionParameters


def compute_on_ray(work: Work) -> Iterator[int]:
    """Have a cluster do `work`, and yield how many images are done, some blocks at a time.

    Raises UserError where Ray is not installed, no cluster answers, or its machines are of several kinds.
    """
    shares = [Share(part.passes.elsewhere(), list(part.versions), part.lacking) for part in work.parts]
    settings = work.parameters.conv_base
    settings = settings.model_copy(update={"precision": settings.computes_in})
    parameters = work.parameters.model_copy(update={"conv_base": settings})
    connect(parameters.ray)
    here = describe_machine()
    with scratch_file(next(iter(shares[0].arrays.values())).path.with_name("token")) as token:
        token.write_bytes(secrets.token_bytes(16))
        done = start(work, Job(shares, (token, token.read_bytes()), parameters))
        try:
            for batch in done.iter_batches(batch_size=None, prefetch_batches=1):
                check_machines(batch, here, parameters.ray)
                for number, array in enumerate(shares[batch["part"][0]].arrays.values()):
                    if f"layer {number}" in batch:
                        array.write(batch["row"], batch[f"layer {number}"])
                yield int(batch["absent"].sum())
        except Exception as error:
            if refused := find_refused(error):
                raise UserError(str(refused)) from None
            raise


def connect(cluster: Cluster) -> None:
    """Connect this process to `cluster`, or to one that is started on this machine, until it ends."""
    if not find_spec("ray"):
        raise UserError(
            "params.yaml: engine is 'ray', but Ray is not installed: run make .venv/installed-ray, or set it to local."
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    where: dict[str, Any] = {"address": cluster.address}
    if cluster.address is None:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        where = {"address": "local", "include_dashboard": False}  # None would be any cluster of this machine
    try:
        if cluster.address is not None:  # which Ray itself would ask for minutes
            host, _, port = cluster.address.rpartition(":")
            create_connection((host, int(port)), NO_ANSWER_SECONDS).close()
        start_ray(where)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"params.yaml: ray.address is {cluster.address!r}, but no cluster answers there "
            f"({' '.join(str(error).split())[:200]}): start it (docs/scale.md), or set it to null."
        ) from None


def start_ray(where: dict[str, Any]) -> None:
    """Begin a job of Ray with the code of the stages, once in this process."""
    import ray

    code = {"py_modules": [str(Path(stages.__file__).parent)]}
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if not ray.is_initialized():
        ray.init(**where, **quiet, runtime_env=code)


def start(work: Work, job: Job) -> Any:
    """Return the dataset of the rows that are lacking, which is computed as it is read."""
    import ray
    from ray import data

    getLogger("ray.data").setLevel(ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    tables = [table for number, part in enumerate(work.parts) for table in cut(number, part)]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    cpus, gpus = min(node["CPU"] for node in nodes), int(ray.cluster_resources().get("GPU", 0))
    # Half of a machine's processors are left to tasks that decode, though a pass takes all that it finds. Tasks and
    # actors never ask for the same: Ray Data would make one of them.
    holding: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": cpus // 2 or 0.4}
    folder = open_folder(work.parameters.data.images).absolute()
    image_input = ImageInput(**{name: getattr(work.parameters, name) for name in ImageInput.model_fields})
    task: Any = decode
    decoded = data.from_pandas(tables).map_batches(
        task, batch_size=None, fn_kwargs={"folder": folder, "image_input": image_input}, num_cpus=0.5
    )
    return decoded.map_batches(
        Worker,
        batch_size=None,
        compute=data.ActorPoolStrategy(size=min(gpus or len(nodes), len(tables))),
        fn_constructor_args=(job, [ray.put(work.weights.read_bytes())]),
        **holding,
    )


def cut(number: int, part: Part) -> Iterator[pd.DataFrame]:
    """Yield tables of the images of a part that lack a row, each of as many as a task decodes and an actor computes.

    Their columns are those of the split, part, its number, image, its place in the split, and absent, the versions
    that are lacking, a byte each.
    """
    absent = part.absent
    wanted = np.flatnonzero(absent.any(axis=0))
    images = part.split.iloc[wanted].assign(part=number, image=wanted)
    images["absent"] = [versions.tobytes() for versions in absent[:, wanted].T]
    size = part.passes.block
    step = max(size, TOGETHER * size // len(part.versions))
    return (images.iloc[first : first + step] for first in range(0, len(images), step))


class Worker:
    """Holds a base, and computes what a machine's store does not have."""

    def __init__(self, job: Job, weights: list) -> None:
        import ray

        self.job, self.machine = job, describe_machine()
        self.passes, self.keys, self.stores = [], [], []
        with TemporaryDirectory() as folder:
            file = Path(folder, "conv_base.weights.h5")
            file.write_bytes(ray.get(weights[0]))
            base = conv_base.load(job.parameters.conv_base, job.parameters.image_size, file)
            for share in job.shares:
                passes = share.passes(base, file)
                self.passes.append(passes)
                fingerprint = fingerprint_passes(base, file, passes, job.parameters)
                self.keys.append(make_key(fingerprint, share.versions, job.parameters.image_size))
                self.stores.append(store_for(passes, fingerprint, job.parameters.store))
        token, content = job.token
        self.sees_the_project = token.is_file() and token.read_bytes() == content

    def __call__(self, table: Batch) -> Iterator[Batch]:
        """Yield for each version of some decoded images which rows are done, and what is to be written there."""
        number = int(table["part"][0])  # as of all of them: a table is of one part
        share, size = self.job.shares[number], self.passes[number].block
        count = next(iter(share.arrays.values())).rows // len(share.versions)
        absent = np.frombuffer(b"".join(table["absent"]), bool).reshape(-1, len(share.versions)).T
        for first in range(0, len(table["image"]), size):
            chosen = slice(first, first + size)
            digests, images, pixels = (
                table["sha256"][chosen].tolist(),
                table["image"][chosen],
                table["pixels"][chosen],
            )
            whole = np.concatenate([pixels, np.repeat(pixels[-1:], size - len(pixels), axis=0)])
            for block, drawn in versions_of(whole, images, digests, absent[:, chosen], share.versions):
                outputs = self._find(number, block) or self._compute(number, block, drawn)
                rows = block.version * count + images
                done = {
                    "part": np.full(len(rows), number),
                    "row": rows,
                    "absent": absent[block.version, chosen],
                }
                done |= {"machine": [self.machine] * len(rows)}
                if self.sees_the_project:
                    for layer, values in outputs.items():
                        share.arrays[layer].write(rows, values)
                else:
                    done |= {f"layer {place}": values for place, values in enumerate(outputs.values())}
                yield done

    def _find(self, number: int, block: Block) -> dict[str, np.ndarray] | None:
        """Return what the store of this machine has for `block`, where it has all of it."""
        store, found = self.stores[number], {}
        for layer, array in self.job.shares[number].arrays.items():
            keys = [self.keys[number](layer, block.version, digest) for digest in block.digests]
            values = [value for value in store.read(keys) if value is not None]
            if len(values) < len(keys):
                return None
            store.mark_used(keys)
            found[layer] = np.frombuffer(b"".join(values), array.dtype).reshape(-1, *array.row_shape)
        return found

    def _compute(self, number: int, block: Block, drawn: Pixels) -> dict[str, np.ndarray]:
        arrays = self.job.shares[number].arrays
        layers = zip(arrays.items(), self.passes[number].forward(list(arrays))(drawn), strict=True)
        try:
            outputs = {layer: array.fit(output[: len(block.images)]) for (layer, array), output in layers}
        except UserError as error:
            raise Refused(str(error)) from None
        keep(outputs, block, self.keys[number], self.stores[number])
        return outputs


def describe_machine() -> str:
    """Return, as JSON, on what the last bits of a result depend, with the name of this machine."""
    described = {name: value for name, value in environment.describe().items() if name != "cores"}
    digest = sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    models = [
        line.partition(":")[2].strip() for line in described["processor"] if line.startswith("model name")
    ]
    return json.dumps([digest, os.uname().nodename, *models, described["devices"], described["libraries"]])


def check_machines(batch: Batch, here: str, cluster: Cluster) -> None:
    """Raise UserError where a machine that computed some of `batch` is of another kind than this one."""
    for machine in set(batch["machine"]):
        if json.loads(machine)[0] != json.loads(here)[0] and not cluster.mixed_machines:
            raise UserError(
                f"the machines {json.loads(machine)[1:]} and {json.loads(here)[1:]} are of different kinds, on which the "
                "last bits of a result depend: take machines of one kind, or set ray.mixed_machines to true in params.yaml."
            )


def find_refused(error: BaseException | None) -> Refused | None:
    """Return the Refused from which `error` came, if any."""
    while error and not isinstance(error, Refused):
        error = error.__cause__ or getattr(error, "cause", None)
    return error
