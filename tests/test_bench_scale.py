"""The simulation of a cluster gives what is known by hand, and docs/scale.md shows what it made of the measurement."""

import json

import pytest
import simpy

from bench import plan
from bench.simulation import Cluster, Cores, Costs, cut, simulate
from tests.conftest import PROJECT, search, shows_something

NOTHING = Costs(start=0, actor=0, table=0, read=0, decode=0, compute=0, write=0, row_bytes=0)


@pytest.mark.parametrize(
    ("cluster", "costs", "seconds"),
    [
        (Cluster(1, cores=1), {"compute": 0.5}, 1280 * 0.5),
        (Cluster(1, cores=2), {"compute": 0.5}, 1280 * 0.5 / 2),
        (Cluster(1, cores=2, nodes=4), {"compute": 0.5}, 1280 * 0.5 / 2),  # they share the cores
        (Cluster(2, cores=2), {"compute": 0.5}, 1280 * 0.5 / 4),
        (Cluster(4, cores=2), {"compute": 0.5}, 3 * 128 * 0.5 / 2),  # ten tables: two nodes have three
        (Cluster(1, cores=2, gpu=True), {"compute": 0.5}, 1280 * 0.5),
        (Cluster(1, cores=2), {"decode": 0.5}, 1280 * 0.5),  # a task is one thread
        (Cluster(1, cores=2, tasks=4), {"decode": 0.5}, 1280 * 0.5 / 2),
        (Cluster(1, cores=1, tasks=5), {"read": 0.5}, 1280 * 0.5 / 5),
        (Cluster(5, cores=1, requests=10), {}, 1280 / 10),
        (Cluster(5, cores=1, bandwidth=64), {"row_bytes": 32}, 1280 * 32 / 64),
        (Cluster(5, cores=1), {"table": 0.5}, 10 * 0.5),
        (Cluster(1, cores=1), {"start": 3, "actor": 4}, 3 + 4),
        (Cluster(1, cores=2, nodes=4), {"start": 3, "actor": 4}, 3 + 4 * 4 / 2),
    ],
)
def test_a_run_takes_what_is_known_by_hand(cluster, costs, seconds):
    assert simulate([1280], cluster, NOTHING._replace(**costs)).seconds == pytest.approx(seconds)


def test_what_limits_a_run_was_busy():
    run = simulate([1280], Cluster(2, 2, requests=10), NOTHING._replace(compute=0.1))
    assert run.busy["requests for images"] == pytest.approx(1, abs=0.1)
    assert run.busy["cores"] == pytest.approx(1280 * 0.1 / 4 / run.seconds)


def test_tables_are_those_of_the_engine():
    assert cut([300, 8], 32) == [128, 128, 44, 8]


def test_a_last_block_is_computed_as_a_whole():
    assert simulate([33], Cluster(1, 1), NOTHING._replace(compute=0.5)).seconds == 64 * 0.5


def test_jobs_that_use_few_cores_leave_the_others_more():
    env = simpy.Environment()
    cores, ends = Cores(env, 4), {}

    def work(name: str, seconds: float, width: int):
        yield cores.take(seconds, width)
        ends[name] = env.now

    env.process(work("narrow", 2, 1))
    env.process(work("wide", 9, 4))
    env.run(10)
    assert ends == pytest.approx({"narrow": 2, "wide": 2 + (9 - 2 * 3) / 4})


def test_the_page_and_the_picture_show_what_was_measured(tmp_path):
    results = json.loads(plan.RESULTS.read_text())
    text = (PROJECT / "docs/scale.md").read_text()
    assert search(plan.SECTION.pattern, text, plan.SECTION.flags)[0] == plan.tables(results)
    assert [run["nodes"] for run in results["runs"]] == [1, 1, 2, 4]
    plan.draw(results, tmp_path / "scale.png")
    assert shows_something(tmp_path / "scale.png") and shows_something(PROJECT / "docs/scale.png")
