"""Measure what engine ray costs, run it on 1, 2 and 4 nodes of this machine, and simulate the same.

    python -m bench.scale FOLDER --labels-from filename        some 8 minutes

Writes bench/scale.json, from which `python -m bench.plan` makes docs/scale.md's tables and a picture. All nodes share
the cores of this machine, in the simulation as well; the last of several does not see the project's folder. Costs
are measured apart from the runs: only the start is what the first run takes beyond its simulation. Other work on the
machine makes the runs longer, and the costs hardly.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import psutil

from bench.__main__ import describe_machine, run_module, settings_for
from bench.pipeline import run_stage, write_parameters
from bench.plan import RESULTS
from bench.simulation import Cluster, Costs, simulate
from stages.shared.pipeline.splits import SPLITS, read_split
from tests.ray_cluster import LoopbackCluster, loopback_cluster

SIZE = 64  # pixels
N = 96  # training images of each class
# Nodes, and images; the first one gives the start.
RUNS = ((1, N), (1, 4 * N), (2, 4 * N), (4, 4 * N))
PERIOD = 1.0  # seconds between two looks at the memory


@contextmanager
def watching(cluster: LoopbackCluster) -> Iterator[dict[str, float]]:
    """Give the most megabytes, proportional set size, of the driver and of the largest actor until the block ends."""
    nodes = [psutil.Process(node.pid) for node in cluster.nodes.values()]
    most, stop = {"driver": 0.0, "worker": 0.0}, Event()

    def look() -> None:
        started = [process for node in nodes for process in node.children(recursive=True)]
        actors = [process for process in started if "(Worker)" in " ".join(process.cmdline())]
        drivers = [process for process in psutil.Process().children() if process not in nodes]
        for kind, processes in (("driver", drivers), ("worker", actors)):
            sizes = [process.memory_full_info().pss / 2**20 for process in processes]
            most[kind] = max([most[kind], *sizes])

    def watch() -> None:
        while not stop.wait(PERIOD):
            with suppress(psutil.Error):  # of one that ended just now
                look()

    thread = Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def run(folder: Path, nodes: int, images: int, settings: dict) -> dict:
    """Return the images of each split, the seconds of extract_features on `nodes` of loopback, and its memory."""
    write_parameters(folder, {**settings, "split.train": images})
    run_stage("split_dataset", folder)
    with loopback_cluster(nodes, folder) as cluster:
        os.environ |= cluster.variables
        write_parameters(folder, {"engine": "ray", "ray.address": cluster.address}, folder / "params.yaml")
        with watching(cluster) as megabytes:
            measured = run_stage("extract_features", folder)
    parts = [len(read_split(folder / f"data/splits/{name}.csv")) for name in SPLITS]
    return {"nodes": nodes, "parts": parts, "measured": measured["seconds"], "megabytes": megabytes}


def costs_of_check(costs: dict) -> Costs:
    """Return what the runs on loopback take, but for the start."""
    return Costs(
        start=0.0,
        actor=costs["actor core"],
        table=costs["table"],
        read=costs["read"],
        decode=costs["decode core"],
        compute=costs["pass core"][str(SIZE)],
        write=costs["write core"],
        row_bytes=0,
    )


def simulated(run: dict, costs: Costs) -> float:
    return simulate(run["parts"], Cluster(1, len(os.sched_getaffinity(0)), nodes=run["nodes"]), costs).seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="images of two classes, 400 or more of each")
    parser.add_argument("--labels-from", default="folder", help="as data.labels_from in params.yaml")
    options = parser.parse_args()
    few = {"split.validation": 4, "split.test": 4}
    settings = settings_for(options.folder, options.labels_from) | few
    settings |= {"image_size": SIZE, "conv_base.weights": "random", "augmentation.precision": "base"}
    settings |= {"head.pooling": "average"}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_parameters(folder, {**settings, "split.train": 4 * N})
        run_stage("fetch_weights", folder)
        run_stage("split_dataset", folder)
        costs = run_module(folder, "bench.costs")
        work = costs_of_check(costs)
        results = {"machine": describe_machine(costs.pop("machine")), "costs": costs, "runs": []}
        for nodes, images in RUNS:
            print(f"{nodes} nodes, {2 * images} training images", file=sys.stderr)
            one = run(folder, nodes, images, settings)
            if not results["runs"]:
                costs["start"] = one["measured"] - simulated(one, work)
                work = work._replace(start=costs["start"])
            results["runs"].append(one | {"simulated": simulated(one, work)})
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{RESULTS}: python -m bench.plan puts it into docs/scale.md")


if __name__ == "__main__":
    main()
