"""Turn bench/results.json and bench/peers.json into the tables of docs/speed-and-store.md and bench/results.png.

What stands between the two bench comments of that page, and between the two peers comments, is replaced.
"""

import json
import re
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

RESULTS = Path(__file__).with_name("results.json")
PEERS_RESULTS = Path(__file__).with_name("peers.json")
PAGE = Path(__file__).parents[1] / "docs/speed-and-store.md"
SECTION = re.compile(r"(?<=<!-- bench: python -m bench.report -->\n).*?(?=<!-- /bench -->)", re.DOTALL)
PEERS_SECTION = re.compile(r"(?<=<!-- peers: python -m bench.report -->\n).*?(?=<!-- /peers -->)", re.DOTALL)
STAGES = {  # how often the notebook's work contains that of the small run (n = 100 + 50 + 50 images, two views)
    "fetch_weights": 1,
    "split_dataset": 4000 / 200,
    "extract_features": 4000 / 200,
    "audit_leakage": 4000 / 200,
    "extract_views": 30 * 2000 / (2 * 100),
    "train_head": 2000 / 100,
    "train_augmented": 2000 / 100,
    "fine_tune": 100 * 2000 / (2 * 100),
    "evaluate": 1000 / 50,
    "draw_plots": 1,
}
TECHNIQUES = {  # the notebook's, and the stages that do their work
    "head on stored features": ("fetch_weights", "split_dataset", "extract_features", "train_head"),
    "frozen base with augmentation": ("extract_views", "train_augmented"),
    "fine-tuning": ("fine_tune",),
}

PEERS = {"notebook": "notebook", "keras_guide": "Keras guide", "pytorch": "PyTorch"}
WHOLE = "the whole"
ROWS = {  # of the peers' table, and the stages that do their work; WHOLE has all stages
    "extraction of 4,000 images": ("extract_features",),
    "30 augmented epochs": ("extract_views", "train_augmented"),
    "100 epochs of fine-tuning": ("fine_tune",),
    "prediction of 1,000 files": ("predict",),
}


def notebook_seconds(steps: dict[str, float]) -> dict[str, float]:
    """Return the seconds of the notebook's techniques: 4,000 images in batches of 20, 30, 30 and 100 epochs."""
    epoch = {
        name: 100 * steps[name] + 50 * steps[f"{name}_validation"] for name in ("augmented", "fine_tuning")
    }
    return {
        "head on stored features": 200 * steps["extraction"] + 30 * 100 * steps["head"],
        "frozen base with augmentation": 30 * epoch["augmented"],
        "fine-tuning": 100 * epoch["fine_tuning"],
    }


def more(measured: dict, stage: str) -> float:
    """Return the seconds that the work of the small run costs a stage, once it has started."""
    return (measured["4n"][stage]["seconds"] - measured["n"][stage]["seconds"]) / 3


def stage_seconds(measured: dict) -> dict[str, float]:
    """Return the seconds of each stage for the notebook's work, from n and 4n images."""
    return {
        stage: measured["n"][stage]["seconds"] + max(0, more(measured, stage)) * (times - 1)
        for stage, times in STAGES.items()
        if stage in measured["n"]  # results of before draw_plots have it in the trainings and evaluate
    }


def figures(rounds: list[dict]) -> dict[str, float]:
    """Return the medians over rounds of what the tables show; ratios are taken within a round."""
    each: dict[str, list] = {}

    def add(name: str, value: float) -> None:
        each.setdefault(name, []).append(value)

    for measured in rounds:
        ceiling = measured["ceiling"]["milliseconds_per_image"]
        best = {precision: min(sizes.values()) for precision, sizes in ceiling.items()}
        notebook, stages = notebook_seconds(measured["notebook"]), stage_seconds(measured)
        ours = {technique: sum(stages[stage] for stage in names) for technique, names in TECHNIQUES.items()}
        for precision, milliseconds in best.items():
            add(f"ceiling {precision}", milliseconds)
        for stage in ("extract_features", "extract_views"):
            milliseconds = more(measured, stage) / 200 * 1000
            add(f"{stage} milliseconds", milliseconds)
            add(f"{stage} share", min(best.values()) / milliseconds)
            add(f"{stage} share of bfloat16", best["bfloat16"] / milliseconds)
        for technique, seconds in notebook.items():
            add(f"notebook {technique}", seconds)
            add(f"ours {technique}", ours[technique])
            add(f"ratio {technique}", seconds / ours[technique])
        add("notebook", sum(notebook.values()))
        add("ours", sum(stages.values()))
        add("ratio", sum(notebook.values()) / sum(stages.values()))
        add("notebook epoch", notebook["fine-tuning"] / 100)
        add("epoch", more(measured, "fine_tune") * 10)  # 2 × 100 images to 2000
        add("epoch ratio", notebook["fine-tuning"] / 100 / (more(measured, "fine_tune") * 10))
        head = measured["ceiling"]["head_milliseconds_per_step"]
        products = head["forward_product"] + head["gradient_product"]
        add("head step", head["training_step"])
        add("head products", products)
        add("head update", head["update"])
        add("head copy", head["copy_of_the_weights"])
        add("head share", head["training_step"] / (products + head["update"]))
        add("store filling", measured["store"]["filling"])
        add("store filled", measured["store"]["filled"])
        for name, rate in measured.get("around", {}).items():  # results of before bench.around have none
            add(f"around {name}", rate)
        for size in ("n", "4n"):
            for stage, taken in measured[size].items():
                add(f"megabytes {stage} {size}", taken["megabytes"])
    return {name: median(values) for name, values in each.items()}


def tables(results: dict) -> str:
    found, machine = figures(results["rounds"]), results["machine"]
    hours = lambda seconds: f"{seconds / 3600:.2f} h"  # noqa: E731
    lines = [
        (
            f"Medians over {len(results['rounds'])} round(s) on {machine['cores']} cores of {machine['processor']}, "
            f"TensorFlow {machine['tensorflow']}, Keras {machine['keras']}; `conv_base.precision: auto`."
        ),
        "",
        "| the notebook's work: 2000 / 1000 / 1000 images | notebook | Freezepoint | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for technique in TECHNIQUES:
        lines.append(
            f"| {technique} | {hours(found[f'notebook {technique}'])} | {hours(found[f'ours {technique}'])} | "
            f"{found[f'ratio {technique}']:.1f} |"
        )
    lines += [
        f"| all, evaluation included | {hours(found['notebook'])} | {hours(found['ours'])} | **{found['ratio']:.1f}** |",
        f"| an epoch of fine-tuning | {found['notebook epoch']:.0f} s | {found['epoch']:.0f} s | {found['epoch ratio']:.1f} |",
    ]
    if results["whole"]:
        sizes = " / ".join(str(images) for images in results["whole"]["images_per_class"].values())
        seconds = sum(
            results["whole"]["stages"][stage]["seconds"]
            for stage in STAGES
            if stage in results["whole"]["stages"]
        )
        accuracies = ", ".join(
            f"{name} {value:.3f}" for name, value in results["whole"]["test_accuracy"].items()
        )
        lines += [
            "",
            f"Run as a whole, with {sizes} images per class: {hours(seconds)}; test accuracies: {accuracies}.",
        ]
    lines += [
        "",
        "| VGG16 at 150 pixels | ms per image | share of the ceiling |",
        "| --- | --- | --- |",
        f"| the base alone, float32 | {found['ceiling float32']:.0f} | |",
        f"| the base alone, bfloat16 | {found['ceiling bfloat16']:.0f} | |",
    ]
    for stage in ("extract_features", "extract_views"):
        lines.append(
            f"| `{stage}` | {found[f'{stage} milliseconds']:.0f} | {found[f'{stage} share']:.0%}"
            f" ({found[f'{stage} share of bfloat16']:.0%} of bfloat16's) |"
        )
    lines += [
        "",
        (
            f"A step of the head on flattened features (batch 20, 2 million weights) takes {found['head step']:.1f} ms, "
            f"{found['head share']:.2f} times what its two matrix products ({found['head products']:.1f} ms) and RMSprop's "
            f"update of the weights ({found['head update']:.1f} ms; copying them takes {found['head copy']:.1f}) take alone. "
            f"`extract_views` of 800 views took {found['store filling']:.0f} s to fill the store, and "
            f"{found['store filled']:.0f} s when all was there."
        ),
    ]
    if "around extracted" in found:
        lines += [
            "",
            (
                f"Around a base that costs next to nothing (MobileNet at 32 pixels) {found['around extracted']:.0f} images "
                f"a second are extracted, in {found['around extracted milliseconds']:.1f} ms of processor time each; Pillow alone "
                f"decodes and resizes {found['around decoded']:.0f}, in {found['around decoded milliseconds']:.1f} ms."
            ),
        ]
    lines += [
        "",
        "| peak memory in MB | 200 images | 800 images |",
        "| --- | --- | --- |",
    ]
    for stage in results["rounds"][0]["n"]:
        lines.append(
            f"| `{stage}` | {found[f'megabytes {stage} n']:.0f} | {found[f'megabytes {stage} 4n']:.0f} |"
        )
    return "\n".join([*lines, "", "![The notebook's work](../bench/results.png)", ""])


def peer_seconds(steps: dict[str, float]) -> dict[str, float]:
    """Return the seconds of a peer for ROWS and WHOLE, in which a head on stored features trains, too.

    The notebook has no prediction of files: it evaluates images from files, in batches like those of validation.
    """
    techniques = notebook_seconds(steps)
    prediction = 50 * steps.get("prediction", steps["fine_tuning_validation"])
    parts = (
        200 * steps["extraction"],
        techniques["frozen base with augmentation"],
        techniques["fine-tuning"],
        prediction,
    )
    return {**dict(zip(ROWS, parts, strict=True)), WHOLE: sum(techniques.values()) + prediction}


def our_seconds(measured: dict) -> dict[str, float]:
    """Return the seconds of this pipeline for ROWS and WHOLE, the start of each process included.

    Raises ValueError where 4n images took no longer than n: other work on the machine was measured, not ours.
    """
    for stage in ("extract_features", "extract_views", "fine_tune", "predict"):
        if more(measured, stage) <= 0:
            raise ValueError(f"{stage} took no longer on 4n images than on n: measure on a quiet machine.")
    stages = stage_seconds(measured)
    stages["predict"] = measured["n"]["predict"]["seconds"] + more(measured, "predict") * (1000 / 200 - 1)
    return {
        **{row: sum(stages[stage] for stage in names) for row, names in ROWS.items()},
        WHOLE: sum(stages.values()),
    }


def peers_table(results: dict) -> str:
    """Return medians over rounds; ratios are taken within a round."""
    machine, rounds = results["machine"], []
    for measured in results["rounds"]:
        taken = {name: peer_seconds(measured[name]) for name in PEERS} | {"ours": our_seconds(measured)}
        fastest = {row: min(taken[name][row] for name in PEERS) for row in taken["ours"]}
        taken["ratio"] = {row: taken["pytorch"][row] / ours for row, ours in taken["ours"].items()}
        taken["lead"] = {row: fastest[row] / ours for row, ours in taken["ours"].items()}
        views = more(measured, "extract_views") * (100 - 30) * 2000 / (2 * 100)
        taken["fresh"] = {"more": views, "ratio": taken["pytorch"][WHOLE] / (taken["ours"][WHOLE] + views)}
        rounds.append(taken)

    def middle(name: str, row: str) -> float:
        return median(taken[name][row] for taken in rounds)

    lines = [
        (
            f"Medians over {len(rounds)} round(s) on {machine['cores']} cores of {machine['processor']}, "
            f"TensorFlow {machine['tensorflow']}, Keras {machine['keras']}, PyTorch {machine['torch']} in "
            f"{results['precision']}, torchvision {machine['torchvision']}. In minutes:"
        ),
        "",
        f"| 2000 / 1000 / 1000 images | {' | '.join(PEERS.values())} | Freezepoint | PyTorch ÷ Freezepoint |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in (*ROWS, WHOLE):
        minutes = " | ".join(f"{middle(name, row) / 60:.1f}" for name in (*PEERS, "ours"))
        lines.append(f"| {row} | {minutes} | {middle('ratio', row):.1f} |")
    behind = [row for row in (*ROWS, WHOLE) if middle("lead", row) < 1]
    lines += [
        "",
        f"Behind the fastest of the others in: {', '.join(behind) or 'no row'}.",
        (
            f"With `augmentation.views: 100`, every epoch of fine-tuning would see fresh views here too: "
            f"that is {middle('fresh', 'more') / 60:.1f} minutes more, and PyTorch's whole then takes "
            f"{middle('fresh', 'ratio'):.1f} times ours."
        ),
    ]
    return "\n".join([*lines, ""])


def draw(results: dict, picture: Path) -> None:
    found = figures(results["rounds"])
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    left = {"notebook": 0.0, "ours": 0.0}
    for technique, color in zip(TECHNIQUES, ("tab:blue", "tab:orange", "tab:green"), strict=True):
        for row, who in enumerate(("ours", "notebook")):
            hours = found[f"{who} {technique}"] / 3600
            axes.barh(row, hours, left=left[who], color=color, label=technique if row else None)
            left[who] += hours
    axes.set_yticks([0, 1], ["Freezepoint", "the notebook\nas written"])
    axes.set(xlabel="hours", title=f"The notebook's work: {found['ratio']:.1f} times as fast")
    axes.legend()
    figure.savefig(picture, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    content = json.loads(RESULTS.read_text())
    peers = json.loads(PEERS_RESULTS.read_text())
    page = SECTION.sub(lambda _: tables(content), PAGE.read_text())
    PAGE.write_text(PEERS_SECTION.sub(lambda _: peers_table(peers), page))
    draw(content, RESULTS.with_suffix(".png"))
    print(f"{PAGE.name} and bench/{RESULTS.stem}.png: made from {RESULTS.name}, {PEERS_RESULTS.name}")
