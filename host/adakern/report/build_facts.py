"""Facts of a build: what its report says, as plain values that go into JSON and onto the page."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adakern_hw.bitstream import Bitstream, Order, Sources
from adakern_hw.footprint import read_footprint
from adakern_hw.prediction import predict
from adakern_spec import cycles, networks
from adakern_spec.akm import AkmShape, LayerFold
from adakern_spec.network import Fold, in_turns
from adakern_spec.networks import Shape

from ..artifact import Artifact

MHZ = 1e6

Facts = dict[str, Any]


def build_facts(order: Order, sources: Sources, made: Bitstream) -> Facts:
    """What is known of a build of any model with the order's shape; times in the units of the names.

    ``clock`` is the engine's; the critical path is that of the clock with the least slack.
    """
    placement = made.placement
    board, worst = order.board, placement.timing.worst
    clock = min(placement.clocks, key=lambda clock: abs(clock.wanted * MHZ - order.clock_hz))
    return {
        "board": board.name,
        "part": board.about,
        "tools": sources.tools,
        "clock": {
            "wanted_mhz": clock.wanted,
            "reached_mhz": clock.reached,
            "slack_ns": clock.slack,
            "worst_path": str(worst),
            "seed": placement.seed,
        },
        "clocks": [
            {
                "name": one.name,
                "wanted_mhz": one.wanted,
                "reached_mhz": one.reached,
                "slack_ns": one.slack,
            }
            for one in placement.clocks
        ],
        "network": _network(order, clock.reached * MHZ),
        "resources": {
            "total": made.modules[""],
            "capacity": vars(board.capacity),
            "used": read_footprint(board.family, placement.utilisation, made.modules[""]).to_json(),
            "estimate": predict(board, order.shape, order.folds, order.clock),
        },
        "modules": {module: counts for module, counts in made.modules.items() if module},
        "critical_path": {"wanted_mhz": placement.timing.wanted, **worst.to_json(made.hierarchy)},
        "floorplan": made.floorplan.to_json(),
        "utilisation": placement.utilisation,
        "seconds": made.seconds,
    }


def _network(order: Order, reached_hz: float) -> Facts:
    """What the network costs in cycles, and in time at the board's clock and at the fastest that is met."""
    shape, folds, link, clock_hz = order.shape, order.folds, order.board.link, order.clock_hz
    length = networks.usual_length(shape)
    interval, latency = networks.interval(shape, folds, length, link), networks.latency(shape, folds, length)
    return {
        "channels": [stage.in_channels for stage in shape.stages] + [shape.stages[-1].out_channels],
        "height": shape.height,
        "weight_bits": shape.weight_bits,
        "length": length,
        "folds": [list(_numbers(fold)) for fold in folds],
        "stages": stage_facts(shape, folds, length),
        "macs_per_map": shape.macs(length),
        "multipliers": networks.multipliers(shape, folds),
        "cycles_per_pixel": networks.pace(shape, folds),
        "utilisation": networks.utilisation(shape, folds, length, link),
        "cycles_per_map": interval,
        "latency_cycles": latency,
        "clock_hz": clock_hz,
        "maps_per_second": clock_hz / interval,
        "latency_us": 1e6 * latency / clock_hz,
        "maps_per_second_at_reached": reached_hz / interval,
        "latency_us_at_reached": 1e6 * latency / reached_hz,
    }


def _numbers(fold: Fold | LayerFold) -> tuple[int, ...]:
    """Channels, elements and, of a layer, lanes of its smoother."""
    return (*_numbers(fold.conv), fold.lanes) if isinstance(fold, LayerFold) else (fold.pe, fold.simd)


def stage_facts(shape: Shape, folds: tuple[Any, ...], length: int) -> list[Facts]:
    """What each conv stage, or layer with its smoother, takes; per pixel of the map that it gets."""
    if isinstance(shape, AkmShape):
        more = _layers(shape, folds, length)
        needed = [fold.interval(stage) for stage, fold in zip(shape.stages, folds, strict=True)]
        multipliers = [fold.multipliers(shape.radius) for fold in folds]
    else:
        shared = in_turns(shape, folds)
        served = folds * len(shape.stages) if shared else folds
        multipliers = [fold.multipliers for fold in served]
        needed = [
            cycles.turn(stage, fold) if shared else fold.interval(stage)
            for stage, fold in zip(shape.stages, served, strict=True)
        ]
        more = [{}] * len(shape.stages)
    return [
        {
            "in_channels": stage.in_channels,
            "out_channels": stage.out_channels,
            "multipliers": count,
            "macs_per_pixel": stage.macs,
            "cycles_per_pixel": pace,
            **facts,
        }
        for stage, count, pace, facts in zip(shape.stages, multipliers, needed, more, strict=True)
    ]


def _layers(shape: AkmShape, folds: tuple[LayerFold, ...], length: int) -> list[Facts]:
    """What a layer has beside its conv stage, and the map that it gets."""
    sizes = zip(shape.heights, shape.lengths(length), strict=True)
    return [
        {
            "map": [rows, columns],
            "conv_multipliers": fold.conv.multipliers,
            "smoother_multipliers": fold.multipliers(shape.radius) - fold.conv.multipliers,
            "lanes": fold.lanes,
            "downsample": layer.downsample.value,
        }
        for layer, fold, (rows, columns) in zip(shape.layers, folds, sizes, strict=False)
    ]


def model_facts(model: Path, artifact: Artifact, options: Mapping[str, object]) -> Facts:
    """What a report adds for the model that the build was made for, and the command that makes it again.

    ``options`` of ``adakern build`` by name; those that are None were not given.
    """
    given = [f"--{name} {value}" for name, value in options.items() if value is not None]
    return {
        "model": {
            "file": model.name,
            "spec_digest": artifact.digest.hex(),
            "parameter_crc": f"{artifact.parameters.crc:08x}",
        },
        "command": " ".join(["adakern build", shlex.quote(model.name), *given]),
        "quantisation": dict(artifact.report),
    }


def facts_text(facts: Mapping[str, Any]) -> str:
    """JSON with one line for each fact, for the floorplan alone has thousands of numbers."""
    lines = (f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in facts.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
