"""Markdown for docs/benchmarks.md."""

from typing import Any


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown table, all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: Any, form: str = ",") -> str:
    """A figure, a range of two, or nothing where there is none."""
    if value is None:
        return ""
    return " to ".join(f"{one:{form}}" for one in (value if isinstance(value, list) else [value]))


def share(value: float | None) -> str:
    """A percentage, or nothing where there is none."""
    return "" if value is None else f"{value:.1%}"


def spread(figure: dict[str, Any], form: str = ".4f") -> str:
    """A mean, with the half width of its 95% interval where there is one."""
    half = figure["interval95"]
    return f"{figure['mean']:{form}}" + ("" if half is None else f" ± {half:{form}}")
