"""Resources of modules as a tree: every module with what is below it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .subsystems import plain


@dataclass
class Module:
    """``cells`` by kind, with those of all modules below; ``children`` most look-up tables first."""

    path: str
    cells: Counter[str] = field(default_factory=Counter)
    children: list["Module"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return plain(self.path.rsplit(".", 1)[-1])


@dataclass(frozen=True)
class Row:
    """A line of the tree as a table: ``parents`` are the lines that it folds into, outermost first."""

    number: int
    parents: tuple[int, ...]
    module: Module

    @property
    def depth(self) -> int:
        return len(self.parents)


def module_tree(counts: Mapping[str, Mapping[str, int]]) -> Module:
    """Tree of modules by their paths; ``counts`` are each module's own cells."""
    root = Module("")
    nodes = {"": root}

    def node(path: str) -> Module:
        if path not in nodes:
            nodes[path] = Module(path)
            node(path.rpartition(".")[0]).children.append(nodes[path])
        return nodes[path]

    for path, cells in counts.items():
        place = node(path)
        while True:
            place.cells.update(cells)
            if not place.path:
                break
            place = node(place.path.rpartition(".")[0])
    for module in nodes.values():
        module.children.sort(key=lambda child: (-child.cells["luts"], -child.cells["registers"], child.path))
    return root


def rows(root: Module) -> list[Row]:
    """Lines of the tree below its root, parents ahead of their children."""
    lines: list[Row] = []

    def walk(module: Module, parents: tuple[int, ...]) -> None:
        for child in module.children:
            line = Row(len(lines), parents, child)
            lines.append(line)
            walk(child, (*parents, line.number))

    walk(root, ())
    return lines
