"""What synthesis must be told about registers: attributes, and the Yosys commands that act on them."""

UNINITIALISED = "uninitialised"
"""Attribute of a register whose initial value does not matter: a block RAM needs no logic that clears its
output."""

COPY = "copy"
"""Attribute of a register that holds the same as another one, to be near what it drives: it is not merged."""

SYNTHESIS = f"setattr -unset init a:{UNINITIALISED}; setattr -set keep 1 a:{COPY} %ci1 t:$dff* %i"
"""Yosys commands ahead of synthesis."""
