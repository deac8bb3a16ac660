"""Sections of docs/experiments.md: few-shot learning and robustness, from result files."""

from typing import Any

from markdown import spread, table

Result = dict[str, Any]

HEADER = """# Experiments

What kernel modulation does for a network. Written by `python benchmarks/report.py` from
`benchmarks/results/`; do not edit. Means over seeds with their 95% interval (Student's t).
"""

_CORRUPTION_NOTE = (
    "Corruptions are our own, in the style of Hendrycks and Dietterich 2019 with the severities of "
    'CIFAR-10-C ("CIFAR-10-C-style"); each figure is the mean over five severities.'
)


def omniglot(result: Result) -> str:
    """Accuracy of each variant, and every seed's."""
    rows, means = result["rows"], result["summary"]
    shots = sorted({one["shots"] for one in means})
    variants = list(dict.fromkeys(one["variant"] for one in means))
    found = {(one["variant"], one["shots"]): one for one in means}
    first = {one["variant"]: one for one in rows}
    table_rows = [
        [
            variant,
            f"{first[variant]['parameters']:,}",
            f"{first[variant]['adapted']:,}",
            *[spread(found[variant, count], ".2%") if (variant, count) in found else "" for count in shots],
        ]
        for variant in variants
    ]
    seeds = [
        [
            one["variant"],
            f"{one['shots']}",
            f"{one['seed']}",
            f"{one['accuracy']:.2%}",
            f"{one['over_episodes95']:.2%}",
        ]
        for one in rows
    ]
    characters, iterations = result["characters"], result["iterations"]
    channels = "→".join(map(str, result["network"]["channels"]))
    head = ["inner loop over", "parameters", "of these adapted", *[f"5-way {count}-shot" for count in shots]]
    text = [
        "## Omniglot: few-shot learning\n",
        f"MAML on {characters['training']:,} characters and their rotations, tested on {characters['test']} "
        f"others (the random split of Finn et al. 2017), 14×14 pixels, {rows[0]['episodes']} episodes with "
        f"15 queries per class. Network: {channels} channels, 3×3, every layer keeps even rows and columns, "
        f"no normalisation, all of it deployable. Training: {iterations[0]:,} iterations on a plain network "
        f"whose classifier alone adapts (20-way), {iterations[1]:,} more with it or with the AKM network "
        f"that `convert` makes of it, {iterations[2]:,} of the variant's own inner loop. All variants have "
        "the same number of iterations; one of the AKM network takes about three times as long. What the "
        "inner loops start from was chosen on the validation characters.\n",
        table(head, table_rows),
        f"Over {means[0]['seeds']} seeds.\n",
        table(["variant", "shots", "seed", "accuracy", "± over episodes"], seeds),
    ]
    return "\n".join(text)


def cifar(result: Result) -> str:
    """Clean and corrupted accuracy of each variant."""
    means, rows, images = result["summary"], result["rows"], result["images"]
    corruptions = list(next(iter(means.values()))["each"])
    parameters = {one["variant"]: one["parameters"] for one in rows}
    seconds = {name: [one["cpu_seconds"] for one in rows if one["variant"] == name] for name in means}
    table_rows = [
        [
            name,
            f"{parameters[name]:,}",
            f"{sum(seconds[name]) / len(seconds[name]):.0f} s",
            spread(found["clean"], ".1%"),
            spread(found["corrupted"], ".1%"),
        ]
        for name, found in means.items()
    ]
    each = [
        [name, *[spread(found["each"][corruption], ".1%") for corruption in corruptions]]
        for name, found in means.items()
    ]
    channels = "→".join(map(str, result["channels"]))
    text = [
        "## CIFAR-10: AKM layers against plain convolutions\n",
        "**The images are a quality-75 JPEG re-encoding of CIFAR-10**, so none of these figures compares "
        f"with figures on the original. {images['training']:,} training images, {result['epochs']} epochs, "
        f"{channels} channels, 3×3, three of four layers keep even rows and columns, no normalisation; "
        f"{images['test']:,} test images, {images['corrupted']:,} of them corrupted. {_CORRUPTION_NOTE} Same "
        "start, batches and epochs for all variants of a seed; AKM adds two numbers per channel and takes "
        "longer per epoch (core time of a run beside it).\n",
        table(["quality-75 JPEG", "parameters", "training", "clean", "corrupted, mean"], table_rows),
        table(["quality-75 JPEG", *corruptions], each),
    ]
    return "\n".join(text)
