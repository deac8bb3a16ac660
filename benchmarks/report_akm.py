"""Sections on kernel modulation, from result files: the smoother's error, adaptation, integers."""

from typing import Any

from markdown import table

Result = dict[str, Any]


def smoother_error(result: Result) -> str:
    """How far the integer smoother is off float64."""
    rows = [
        [
            {"zero": "both directions, zero padding", "copy": "length alone, border untouched"}[
                one["border"]
            ],
            f"{one['largest']:.3f}",
            f"{one['mean']:.3f}",
            f"{one['differ_from_rounded']:.2%}",
        ]
        for one in result["rows"]
    ]
    text = [
        "## Smoother: error in LSB of its 8-bit output\n",
        f"Integers against float64 (scipy) on the same integer input, gate and ReLU included: "
        f"{result['sigmas']:,} widths up to the largest of radius {result['radius']}, "
        f"{len(result['gates'])} gates, random and worst-case maps; {result['rows'][0]['values'] / 1e6:.0f} "
        "million values a row. Rounding to integers alone is off by 0.5 at most.\n",
        table(["mode", "largest", "mean", "differ from float64 rounded"], rows),
    ]
    return "\n".join(text)


def adaptation(result: Result) -> str:
    """Round trip of new widths and gates."""
    rows = [
        [
            one["network"],
            f"{one['bytes_up']:,} + {one['bytes_down']:,}",
            f"{one['cycles']:,}",
            f"{one['line_ms']:.2f} ms",
            f"{one['device_ms']:.2f} ms",
            f"{one['round_trip_ms']:.2f} ms",
            "exact" if one["answers_exact"] else "wrong",
        ]
        for one in result["rows"]
    ]
    head = ["four layers", "bytes up + down", "cycles", "line", "device", "round trip", "answers"]
    text = [
        "## Adaptation of a running device\n",
        "`device.adapt(r, s)` on the Verilated device, every r and s new: bytes of requests and replies with "
        f"10 bits each at {result['baud'] / 1e6:g} Mbaud, plus the cycles from first byte to last reply at "
        f"{result['clock_hz'] / 1e6:g} MHz, most of which the CRC over the whole block and the load of the "
        "engine take. Answers before and after are compared with the two reference networks', every bit. "
        "A build whose engine has a clock of its own is slower than the table: it loads a byte every 5 "
        "cycles of the link's clock (`tests/hw/test_link_commit.py`), not one in each.\n",
        table(head, rows),
    ]
    return "\n".join(text)


def omniglot_integers(result: Result) -> str:
    """Integers and gateware beside float, on the same episodes."""
    gateware = {(row["variant"], row["shots"]): row for row in result["rows"] if row["gateware"]}
    rows = []
    for one in result["summary"]:
        simulated = gateware.get((one["variant"], one["shots"]))
        equal = f"{simulated['equal_on_gateware']:,} of {simulated['images']:,}" if simulated else ""
        half = one["difference"]["interval95"]
        difference = f"{100 * one['difference']['mean']:+.2f}"
        rows.append(
            [
                one["variant"],
                str(one["shots"]),
                str(one["float"]["seeds"]),
                f"{one['float']['mean']:.2%}",
                f"{one['integers']['mean']:.2%}",
                difference if half is None else f"{difference} ± {100 * half:.2f}",
                equal,
            ]
        )
    head = ["variant", "shots", "seeds", "float", "integers", "difference, points", "gateware equal"]
    text = [
        "## Omniglot in integers\n",
        f"The learners of the table above on {result['episodes']} test episodes a seed: adapted in float "
        "on the host, rounded, queries answered in exact integers (8 bit). Where r, s or the classifier "
        "adapt, one artifact serves all episodes and each is an update of it; where every parameter adapts, "
        f"each episode's network is quantised anew, in {result['anew']} of them. The gateware is the "
        "Verilated device, updated between the episodes: of its answers so many equal the integers', "
        "every bit.\n",
        table(head, rows),
    ]
    return "\n".join(text)
