"""Turn bench/scale.json into docs/scale.md's tables and docs/scale.png: what a cluster took, and what larger ones would.

    python -m bench.plan       after an edit of ASSUMED too

What a run takes on machines that nobody measured follows from the costs measured here, from ASSUMED, and from the
simulation. What stands between the comments of that page is replaced.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from bench.simulation import BLOCKS, Cluster, Costs, simulate
from stages.shared.images.image_folder import InS3
from stages.shared.images.reading import BLOCK

RESULTS = Path(__file__).with_name("scale.json")
PAGE = Path(__file__).parents[1] / "docs/scale.md"
SECTION = re.compile(r"(?<=<!-- plan: python -m bench.plan -->\n).*?(?=<!-- /plan -->)", re.DOTALL)
ASSUMED = {  # round figures of 2026-11-28, none of them measured and none an offer
    "cores of a machine without a GPU": 16,
    "its price, dollars an hour": 0.6,
    "cores of a machine with a GPU": 8,
    "its price with the GPU, dollars an hour": 1.0,
    "images a second that the GPU passes": 2000,
    "seconds until S3 gives an image": 0.03,
    "images a second that a folder in S3 gives": 5500,
    "price of 1,000 reads from S3, dollars": 0.0004,
    "price of a GB a month, dollars": 0.023,
    "bytes a second into the shared folder of the arrays": 1_000_000_000,
}
VIEWS, TRAIN, VALIDATION = 4, 0.5, 0.25  # drawn views of a training image, and fractions of all
SIZES = {10**5: (4, 1), 10**7: (32, 4), 10**9: (64, 16)}  # images: machines without a GPU, and with one
MACHINES = 1, 2, 4, 8, 16, 32, 64
UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6}
LARGEST_FILE = 2**44  # bytes, on ext4


class Rate(NamedTuple):
    """Images a second of a cluster once it runs, and what does not allow for more."""

    images: float
    limit: str


def row_bytes(costs: dict, layers: tuple[str, ...]) -> float:
    """Return the bytes of an image's rows in the arrays of some layers."""
    item = {"float32": 4, "float16": 2}[costs["dtype"]]
    height_width_channels = (costs[layer] for layer in layers)
    return sum(height * width * channels * item for height, width, channels in height_width_channels)


def rate(costs: dict, machines: int, gpu: bool, views: int = 0) -> Rate:
    """Return how fast `machines` extract features, or so many views of each image with their activations."""
    layers = ("features", "activations") if views else ("features",)
    passes, features = max(views, 1), row_bytes(costs, ("features",))
    written = passes * row_bytes(costs, layers)
    each = 1 / ASSUMED["images a second that the GPU passes"] if gpu else costs["pass core"]["150"]
    work = Costs(
        start=0,
        actor=0,
        table=costs["table"],
        read=ASSUMED["seconds until S3 gives an image"] / InS3.readers,
        decode=costs["decode core"],
        compute=passes * each,
        write=costs["write core"] * written / features,
        row_bytes=written,
    )
    cores = int(ASSUMED[f"cores of a machine {'with' if gpu else 'without'} a GPU"])
    cluster = Cluster(
        machines,
        cores,
        tasks=2 * cores if gpu else cores,  # of half a core each, on those that no actor holds
        block=8 * BLOCK if gpu else BLOCK,  # as OwnPrecision has it
        gpu=gpu,
        requests=ASSUMED["images a second that a folder in S3 gives"],
        bandwidth=ASSUMED["bytes a second into the shared folder of the arrays"],
    )
    table = BLOCKS * cluster.block * machines
    first, whole = (simulate([count * cluster.tasks * table], cluster, work) for count in (1, 2))
    kind, share = max(whole.busy.items(), key=lambda item: item[1])
    limit = kind if share > 0.7 else f"{kind}, which wait"
    return Rate(cluster.tasks * table / (whole.seconds - first.seconds), limit)


def check_table(results: dict) -> list[str]:
    """Return the rows of the runs, measured and simulated; the first one gave the start."""
    lines = [
        "| nodes | images | measured | simulated | difference | driver | actor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for place, run in enumerate(results["runs"]):
        difference = f"{run['simulated'] / run['measured'] - 1:+.0%}" if place else "gave the start"
        memory = " | ".join(f"{run['megabytes'][who]:.0f} MB" for who in ("driver", "worker"))
        lines.append(
            f"| {run['nodes']} | {sum(run['parts'])} | {run['measured']:.0f} s | "
            f"{run['simulated']:.0f} s | {difference} | {memory} |"
        )
    return lines


def plan(costs: dict, images: int) -> dict[str, str]:
    """Return the rows of the plan, and what so many images take in each."""
    rows, reads = {}, images * (1 + TRAIN)
    kinds = zip(("without", "with"), SIZES[images], strict=True)
    prices = ASSUMED["its price, dollars an hour"], ASSUMED["its price with the GPU, dollars an hour"]
    for (kind, machines), price in zip(kinds, prices, strict=True):
        features, views = (rate(costs, machines, kind == "with", views) for views in (0, VIEWS))
        start = costs["start"] + costs["actor core"]
        seconds = start + images / features.images, start + images * TRAIN / views.images
        asked = reads / 1000 * ASSUMED["price of 1,000 reads from S3, dollars"]
        rows |= {
            f"machines {kind} a GPU": str(machines),
            f"features, {kind} GPUs: time and limit": f"{span(seconds[0])}, {features.limit}",
            f"views, {kind} GPUs: time and limit": f"{span(seconds[1])}, {views.limit}",
            f"dollars, {kind} GPUs": f"{sum(seconds) / 3600 * machines * price + asked:,.2f}",
        }
    features = images * row_bytes(costs, ("features",))
    views = images * TRAIN * VIEWS * row_bytes(costs, ("features", "activations"))
    views += images * (1 - TRAIN) * row_bytes(costs, ("activations",))  # of validation and test
    kept, hashed = images * costs["image bytes"] + features + views, costs["dvc add"]
    trained = images * (TRAIN + VALIDATION)
    return rows | {
        "images read": size(reads * costs["image bytes"]),
        "pixels from tasks to actors": size(reads * 3 * 150**2),
        "features written": size(features),
        "views and activations written": size(views),
        "dollars a month of these and the images": f"{kept / 1e9 * ASSUMED['price of a GB a month, dollars']:,.2f}",
        "`dvc add` of the images, a file each": span(images * hashed["seconds of a file"]),
        "DVC's hashes of the arrays": span((features + views) * hashed["seconds of a byte"]),
        "the split in memory": size(images * costs["row of a split"]),
        "an epoch of the head": span(trained * costs["training head"]),
        "an epoch of fine-tuning": span(trained * costs["training top"]),
    }


def span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    unit, length = next((unit, length) for unit, length in UNITS.items() if count >= length)
    return f"{count / length:,.0f} {unit}" if count >= 10 * length else f"{count / length:.1f} {unit}"


def tables(results: dict) -> str:
    costs, machine = results["costs"], results["machine"]
    largest = LARGEST_FILE / (TRAIN * VIEWS * row_bytes(costs, ("activations",)))
    lines = [
        (
            f"On {machine['cores']} cores of {machine['processor']}, which all nodes share, "
            f"with VGG16 at 64 pixels. The start takes {costs['start']:.0f} s. Memory is the largest proportional set size."
        ),
        "",
        *check_table(results),
        "",
        "![Images a second: measured and simulated on this machine, and simulated on larger clusters](scale.png)",
        "",
        "| VGG16 at 150 pixels, images: | 10⁵ | 10⁷ | 10⁹ |",
        "| --- | --- | --- | --- |",
    ]
    columns = [plan(costs, images) for images in SIZES]
    lines += [f"| {row} | {' | '.join(column[row] for column in columns)} |" for row in columns[0]]
    lines += [
        "",
        (
            f"The driver alone allows for {BLOCKS * BLOCK / costs['table']:,.0f} images a second without GPUs. "
            f"One `.npy` file of the views' activations is as large as ext4 allows, 16 TiB, at {largest / 1e6:.0f} "
            "million images, half of them in training."
        ),
        "",
        "| measured on this machine, of an image | |",
        "| --- | --- |",
        f"| a pass at 150 pixels | {costs['pass core']['150'] * 1000:.0f} ms of a core |",
        f"| to decode and resize a photo of {costs['image bytes'] / 1000:.0f} kB | {costs['decode core'] * 1000:.1f} ms of a core |",
        f"| to read it from disk, from S3 on loopback | {costs['read'] * 1000:.2f} ms, {costs['read from S3'] * 1000:.1f} ms |",
        f"| to write its features | {costs['write core'] * 1000:.2f} ms of a core |",
        f"| `dvc add`: a file; a GB | {costs['dvc add']['seconds of a file'] * 1000:.2f} ms; {costs['dvc add']['seconds of a byte'] * 1e9:.1f} s |",
        f"| a step of the head, of fine-tuning | {costs['training head'] * 1000:.2f} ms, {costs['training top'] * 1000:.0f} ms |",
        f"| a table of {BLOCKS} blocks | {costs['table'] * 1000:.0f} ms of the driver's core |",
        f"| an actor until it has its base | {costs['actor core']:.0f} s of a core |",
        "",
        "| assumed on 2026-11-28 | |",
        "| --- | --- |",
        *(f"| {name} | {value:,} |" for name, value in ASSUMED.items()),
    ]
    return "\n".join([*lines, ""])


def draw(results: dict, picture: Path) -> None:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    runs = [run for run in results["runs"][1:] if run["parts"] == results["runs"][1]["parts"]]
    nodes, images = [run["nodes"] for run in runs], sum(runs[0]["parts"])
    for name, style in (("measured", "o"), ("simulated", "x--")):
        left.plot(nodes, [images / run[name] for run in runs], style, label=name)
    left.set(
        xlabel="nodes",
        ylabel="images a second, start included",
        title=f"Nodes that share {results['machine']['cores']} cores",
    )
    left.set(xticks=nodes, ylim=(0, None))
    for gpu, name in ((False, "16 cores"), (True, "8 cores and a GPU")):
        rates = [rate(results["costs"], machines, gpu).images for machines in MACHINES]
        right.plot(MACHINES, rates, "x--", color="tab:green" if gpu else "tab:orange", label=name)
    right.set(xlabel="machines", ylabel="images a second", title="Simulated with assumptions")
    right.loglog(base=2)
    right.set_xticks(MACHINES, [str(machines) for machines in MACHINES])
    for axes in (left, right):
        axes.legend()
    figure.savefig(picture, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    measured = json.loads(RESULTS.read_text())
    PAGE.write_text(SECTION.sub(lambda _: tables(measured), PAGE.read_text()))
    draw(measured, PAGE.with_name("scale.png"))
    print(f"{PAGE.name} and docs/scale.png: made from bench/{RESULTS.name}")
