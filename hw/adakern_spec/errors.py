"""Errors a user sees: one line that says what was wrong, where, and the mend."""


class AdakernError(Exception):
    """A problem with what the user gave or has.

    Parameters
    ----------
    what : str
        What is wrong, with the offending value.
    where : str
        File, line, layer, device or argument; empty if there is no place to name.
    mend : str
        What to do about it; empty if nothing can be done.
    """

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(what, where, mend)

    def __str__(self) -> str:
        # A device's URL may end in the colon itself.
        line = f"{self.where.removesuffix(':')}: {self.what}" if self.where else self.what
        if self.mend:
            line = f"{line}; {self.mend}"
        return " ".join(line.split())


class ShapeError(AdakernError):
    """A network, map or parameter block of a shape that cannot be built or does not fit."""


class ArtifactError(AdakernError):
    """A model artifact that is missing, damaged, of another version or inconsistent."""


class DeviceError(AdakernError):
    """A device that is absent, silent, built for something else, or that answered with an error."""


class InputError(AdakernError):
    """A sequence, map or file of the user's that cannot be used as it is."""
