"""Parameters of either kind of network with something changed, which their checks have to find."""

import dataclasses

import pytest

from adakern_spec.errors import ShapeError


def replaced(parameters, name: str, index: object, value: int, stage: int | None = None) -> dict[str, object]:
    """The field ``name``, of one ``stage`` if it has several, with one value changed."""
    field = getattr(parameters, name)
    changed = (field if stage is None else field[stage]).copy()
    changed[index] = value
    return {name: changed if stage is None else (*field[:stage], changed, *field[stage + 1 :])}


def assert_refused(parameters, change: dict[str, object], message: str) -> None:
    """With ``change`` there is an error that contains ``message`` and names the mend."""
    with pytest.raises(ShapeError) as caught:
        dataclasses.replace(parameters, **change)
    assert message in str(caught.value)
    assert caught.value.mend
