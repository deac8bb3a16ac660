"""``adakern verify``."""

from typing import Annotated

import typer

from adakern_spec.errors import DeviceError

from .console import DeviceUrl, Json, Model, Multipliers, emit, progress, say


def verify(
    model: Model,
    device: DeviceUrl = None,
    count: Annotated[int, typer.Option(min=0, help="Random maps, beside the adversarial ones.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the random maps and parameters.")] = 0,
    longest: Annotated[
        int | None,
        typer.Option(min=1, help="Longest map to try; default: the longest that the device is built for."),
    ] = None,
    multipliers: Multipliers = 144,
    json: Json = False,
) -> None:
    """Compare a device with the reference on random and adversarial maps, every bit.

    Extremes of values and lengths, with the model's own and with saturating weights. On a mismatch it
    says which stage, pixel and channel differ first, and ends with status 1.
    """
    from .. import artifact, registry, verification

    loaded = artifact.load(model)
    with registry.open(device, loaded, multipliers=multipliers, status=say) as opened:
        with progress("verifying", verification.cases_in_all(count), "maps") as counter:
            outcome = verification.verify(opened, loaded.parameters, count, seed, longest, counter)
        url = opened.url
    if json:
        mismatch = outcome.mismatch and outcome.mismatch.to_json()
        emit({"device": url, "maps": outcome.maps, "agree": mismatch is None, "mismatch": mismatch})
    if outcome.mismatch is not None:
        raise DeviceError(
            str(outcome.mismatch), url, "do not use its answers: rebuild the gateware and verify again"
        )
    if not json:
        print(f"{url} agrees with the reference on {outcome.maps} maps, every bit")
