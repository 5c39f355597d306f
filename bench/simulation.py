"""Simulate engine ray (stages/shared/extraction/on_ray.py): tables of images through tasks that decode and actors that compute.

SimPy (https://simpy.readthedocs.io) keeps the clock. All that runs on a machine shares its cores evenly, half of them for
each of two. What else is wanted by several serves one after another.
"""

from math import ceil, inf
from typing import NamedTuple

import simpy
from simpy.events import ProcessGenerator

BLOCKS = 4  # of a table: on_ray.TOGETHER


class Costs(NamedTuple):
    """What the work takes, in seconds of one core where nothing else is said."""

    start: float  # seconds of a run beside all that follows
    actor: float  # until it has its base
    table: float  # seconds of the driver
    read: float  # seconds that a task waits for an image
    decode: float  # an image
    compute: float  # an image, on all cores of its machine or on a GPU
    write: float  # an image
    row_bytes: float  # an image


class Cluster(NamedTuple):
    """Machines of one kind, and what they share."""

    machines: int
    cores: int  # of a machine
    nodes: int = 1  # of a machine, with an actor each
    tasks: int = 1  # of a node, which decode at once
    block: int = 32  # images that are computed together
    gpu: bool = False  # a node has one
    requests: float = inf  # images a second that their storage gives
    bandwidth: float = inf  # bytes a second that the disk of the arrays takes


class Run(NamedTuple):
    """How a simulated run went."""

    seconds: float
    busy: dict[str, float]  # which share of its time each kind of thing was used


class Job(NamedTuple):
    """A piece of work on cores: the seconds that are left of it, and how many of them it can use at once."""

    left: list[float]  # one number
    width: int
    done: simpy.Event


class Line:
    """What serves one after another."""

    count = 1

    def __init__(self, env: simpy.Environment) -> None:
        self.env, self.until, self.used = env, 0.0, 0.0

    def take(self, seconds: float) -> simpy.Event:
        """Return the event that this was done, which takes `seconds`."""
        self.used += seconds
        self.until = max(self.until, self.env.now) + seconds
        return self.env.timeout(self.until - self.env.now)


class Cores:
    """The cores of a machine, which all jobs on them share evenly."""

    def __init__(self, env: simpy.Environment, count: int) -> None:
        self.env, self.count, self.used = env, count, 0.0
        self.jobs: list[Job] = []
        self.changed = env.event()
        env.process(self._share())

    def take(self, seconds: float, width: int = 1) -> simpy.Event:
        """Return the event that work for `seconds` of one core is done, on up to `width` of them at once."""
        job = Job([seconds], width, self.env.event())
        self.jobs.append(job)
        if not self.changed.triggered:
            self.changed.succeed()
        return job.done

    def _share(self) -> ProcessGenerator:
        while True:
            self.changed, started = self.env.event(), self.env.now
            jobs = sorted(self.jobs, key=lambda job: job.width)  # those that use few leave the others more
            speeds, free = [], float(self.count)
            for place, job in enumerate(jobs):
                speeds.append(min(job.width, free / (len(jobs) - place)))
                free -= speeds[-1]
            ends = [job.left[0] / speed for job, speed in zip(jobs, speeds, strict=True)]
            yield self.changed | self.env.timeout(min(ends)) if ends else self.changed
            passed = self.env.now - started
            self.used += passed * sum(speeds)
            for job, speed, end in zip(jobs, speeds, ends, strict=True):
                job.left[0] -= speed * passed
                if end <= passed * (1 + 1e-9):
                    self.jobs.remove(job)
                    job.done.succeed()


def cut(parts: list[int], block: int) -> list[int]:
    """Return the images of each table of some splits, as on_ray.cut makes them."""
    return [min(BLOCKS * block, part - first) for part in parts for first in range(0, part, BLOCKS * block)]


def simulate(parts: list[int], cluster: Cluster, costs: Costs) -> Run:
    """Return how long `cluster` takes for splits of so many images, and what was used how much of that."""
    env = simpy.Environment()
    todo = cut(parts, cluster.block)
    left, finished = [len(todo)], env.event()
    nodes = cluster.machines * cluster.nodes
    ready = simpy.Store(env, capacity=2 * nodes)  # tables that are decoded
    driver, storage, disk = (Line(env) for _ in range(3))
    machines = [Cores(env, cluster.cores) for _ in range(cluster.machines)]
    gpus = [Line(env) for _ in range(nodes if cluster.gpu else 0)]

    def decode(cores: Cores) -> ProcessGenerator:
        yield env.timeout(costs.start)
        while todo:
            images = todo.pop(0)
            yield driver.take(costs.table)
            yield env.timeout(images * costs.read) & storage.take(images / cluster.requests)
            yield cores.take(images * costs.decode)
            yield ready.put(images)

    def compute(number: int, cores: Cores) -> ProcessGenerator:
        yield env.timeout(costs.start)
        yield cores.take(costs.actor)
        while True:
            images = yield ready.get()
            for _ in range(ceil(images / cluster.block)):  # the last one is filled up
                work = cluster.block * costs.compute
                yield gpus[number].take(work) if gpus else cores.take(work, cluster.cores)
            yield cores.take(images * costs.write) & disk.take(images * costs.row_bytes / cluster.bandwidth)
            left[0] -= 1
            if not left[0]:
                finished.succeed()

    for number in range(nodes):
        cores = machines[number % cluster.machines]
        env.process(compute(number, cores))
        for _ in range(cluster.tasks):
            env.process(decode(cores))
    env.run(finished)
    kinds = {
        "cores": machines,
        "GPUs": gpus,
        "requests for images": [storage],
        "disk of the arrays": [disk],
        "driver": [driver],
    }
    busy = {
        kind: min(1.0, sum(one.used for one in things) / sum(one.count for one in things) / env.now)
        for kind, things in kinds.items()
        if things
    }
    return Run(env.now, busy)
