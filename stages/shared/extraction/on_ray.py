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
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

import stages
from stages.shared.extraction.work import (
    Block,
    Cluster,
    ExtractionParameters,
    Key,
    MakePasses,
    View,
    Work,
    keep,
    make_key,
    versions_of,
)
from stages.shared.images.reading import block_for, read_pixels
from stages.shared.network import conv_base, environment
from stages.shared.pipeline.arrays import ArrayFile
from stages.shared.pipeline.command import UserError
from stages.shared.pipeline.files import scratch_file

TOGETHER = 4  # blocks that one task decodes, and one actor computes before it says so
Batch = dict[str, Any]  # of columns, each with a value for every image


class Refused(Exception):
    """A UserError on its way to the driver: SystemExit would end the worker."""


class Job(NamedTuple):
    """What an actor is told of the work."""

    passes: MakePasses
    versions: list[View]
    arrays: dict[str, ArrayFile]
    token: tuple[Path, bytes]  # a file beside them, and what it holds
    parameters: ExtractionParameters


def compute_on_ray(work: Work, key: Key) -> Iterator[int]:
    """Have a cluster compute what `work` lacks, and yield how many images are done, some blocks at a time.

    Raises UserError where Ray is not installed, no cluster answers, or its machines are of several kinds.
    """
    first = next(iter(work.arrays.values())).path
    connect(work.parameters.ray)
    with scratch_file(first.with_name("token")) as token:
        token.write_bytes(secrets.token_bytes(16))
        settings = work.parameters.conv_base
        parameters = work.parameters.model_copy(
            update={"conv_base": settings.model_copy(update={"precision": settings.computes_in})}
        )
        job = Job(
            work.passes.elsewhere(), list(work.versions), work.arrays, (token, token.read_bytes()), parameters
        )
        here = describe_machine()
        try:
            for batch in start(work, job).iter_batches(batch_size=None, prefetch_batches=1):
                check_machines(batch, here, work.parameters.ray)
                for number, array in enumerate(work.arrays.values()):
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
    where: dict[str, Any] = {"address": cluster.address}
    if cluster.address is None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        where = {"include_dashboard": False}
    import ray

    code = {"py_modules": [str(Path(stages.__file__).parent)]}
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if not ray.is_initialized():
            ray.init(**where, **quiet, runtime_env=code)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            f"params.yaml: ray.address is {cluster.address!r}, but no cluster answers there "
            f"({' '.join(str(error).split())[:200]}): start it (docs/scale.md), or set it to null."
        ) from None


def start(work: Work, job: Job) -> Any:
    """Return the dataset of the rows that `work` lacks, which is computed as it is read."""
    import ray
    from ray import data

    getLogger("ray.data").setLevel(ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    wanted = np.flatnonzero(work.absent.any(axis=0))
    images = work.split.iloc[wanted][["path", "sha256"]].assign(image=wanted)
    images["absent"] = list(work.absent[:, wanted].T)
    size = block_for(work.parameters.image_size)
    parts = [images.iloc[first : first + TOGETHER * size] for first in range(0, len(images), TOGETHER * size)]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    cpus, gpus = min(node["CPU"] for node in nodes), int(ray.cluster_resources().get("GPU", 0))
    # Half of a machine's processors are left to tasks that decode, though a pass takes all that it finds. Tasks and
    # actors never ask for the same: Ray Data would make one of them.
    holding = {"num_gpus": 1} if gpus else {"num_cpus": cpus // 2 or 0.4}
    folder = Path(work.parameters.data.images).absolute()
    decoded = data.from_pandas(parts).map_batches(
        decode,
        batch_size=size,
        fn_kwargs={"folder": folder, "parameters": job.parameters},
        num_cpus=0.5,
    )
    return decoded.map_batches(
        Worker,
        batch_size=size,
        compute=data.ActorPoolStrategy(size=min(gpus or len(nodes), len(parts))),
        fn_constructor_args=(job, [ray.put(work.weights.read_bytes())]),
        **holding,
    )


def decode(images: Batch, folder: Path, parameters: ExtractionParameters) -> Batch:
    """Add the pixels of some images, (m, size, size, 3) uint8."""
    pairs = zip(images["path"], images["sha256"], strict=True)
    try:
        pixels = [read_pixels(folder / path, digest, parameters) for path, digest in pairs]
    except UserError as error:
        raise Refused(str(error)) from None
    return {**images, "pixels": np.stack(pixels)}


class Worker:
    """Holds a base, and computes what a machine's store does not have."""

    def __init__(self, job: Job, weights: list) -> None:
        import ray

        self.job, self.machine = job, describe_machine()
        with TemporaryDirectory() as folder:
            file = Path(folder, "conv_base.weights.h5")
            file.write_bytes(ray.get(weights[0]))
            base = conv_base.load(job.parameters.conv_base, job.parameters.image_size, file)
            passes = job.passes(base, file)
            self.key = make_key(base, file, passes, job.versions, job.parameters)
        self.compute = passes.forward(list(job.arrays))
        token, content = job.token
        self.sees_the_project = token.is_file() and token.read_bytes() == content

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """Yield for each version of some decoded images which rows are done, and what is to be written there."""
        digests, images, pixels = batch["sha256"].tolist(), batch["image"], batch["pixels"]
        size = block_for(self.job.parameters.image_size)
        whole = np.concatenate([pixels, np.repeat(pixels[-1:], size - len(pixels), axis=0)])
        absent = np.stack(batch["absent"]).T
        count = self.job.arrays[next(iter(self.job.arrays))].rows // len(self.job.versions)
        for block, drawn in versions_of(whole, images, digests, absent, self.job.versions):
            outputs = self._find(block) or self._compute(block, drawn)
            rows = block.version * count + images
            done = {"row": rows, "absent": absent[block.version], "machine": [self.machine] * len(rows)}
            if self.sees_the_project:
                for layer, values in outputs.items():
                    self.job.arrays[layer].write(rows, values)
                yield done
            else:
                yield done | {f"layer {number}": values for number, values in enumerate(outputs.values())}

    def _find(self, block: Block) -> dict[str, np.ndarray] | None:
        """Return what the store of this machine has for `block`, where it has all of it."""
        store, found = self.job.parameters.store, {}
        for layer, array in self.job.arrays.items():
            keys = [self.key(layer, block.version, digest) for digest in block.digests]
            values = store.read(keys)
            if None in values:
                return None
            store.mark_used(keys)
            found[layer] = np.frombuffer(b"".join(values), array.dtype).reshape(-1, *array.row_shape)
        return found

    def _compute(self, block: Block, drawn: np.ndarray) -> dict[str, np.ndarray]:
        try:
            outputs = {
                layer: array.fit(output[: len(block.images)])
                for (layer, array), output in zip(self.job.arrays.items(), self.compute(drawn), strict=True)
            }
        except UserError as error:
            raise Refused(str(error)) from None
        keep(outputs, block, self.key, self.job.parameters.store)
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
