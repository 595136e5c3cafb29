"""A random program as data: a tree of statements that prints as plain PyTorch code, and that can be taken apart.

Every statement runs under `at(number)`, which notes an exception and goes on, as a program with `try` would. So a program
stays valid whatever is left out of it, and a failing one shrinks by dropping statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Line:
    """A simple statement (or several, separated by semicolons)."""

    text: str


@dataclass(frozen=True)
class Block:
    """A compound statement: headers such as `if c:` and `else:`, each with its body."""

    parts: tuple[tuple[str, tuple[Node, ...]], ...]


@dataclass(frozen=True)
class Threads:
    """Bodies that run in threads of their own, all at once, while the program waits. `names` are what they assign."""

    bodies: tuple[tuple[Node, ...], ...]
    names: tuple[str, ...]


Node = Line | Block | Threads


@dataclass(frozen=True)
class Program:
    """`setup` runs once, `body` for i = 0, 1, ... `steps` - 1. In an `exact` one all numbers are small integers."""

    seed: int
    exact: bool
    setup: tuple[Node, ...]
    body: tuple[Node, ...]
    steps: int

    def source(self) -> tuple[str, str]:
        """The code of the setup and of a step; statements are numbered through both."""
        writer = Writer()
        setup = writer.code(self.setup)
        return setup, writer.code(self.body)

    def __str__(self) -> str:
        setup, body = self.source()
        indented = "\n".join("    " + line for line in body.splitlines())
        return f"# seed {self.seed}\n{setup}\nfor i in range({self.steps}):\n{indented}\n"


class Writer:
    """Prints nodes; counts the statements."""

    def __init__(self) -> None:
        self.count = 0

    def code(self, nodes: tuple[Node, ...], indent: str = "") -> str:
        lines: list[str] = []
        for node in nodes:
            self.count += 1
            guard = f"{indent}with at({self.count}):"
            if isinstance(node, Line):
                compound = node.text.startswith(("if ", "for ", "with "))
                lines += [guard, f"{indent}    {node.text}"] if compound else [f"{guard} {node.text}"]
            else:
                inner = self.block if isinstance(node, Block) else self.threads
                lines += [guard, *inner(node, indent + "    ")]
        return "\n".join(lines)

    def block(self, node: Block, indent: str) -> Iterator[str]:
        for header, body in node.parts:
            yield indent + header
            yield self.code(body, indent + "    ") or f"{indent}    pass"

    def threads(self, node: Threads, indent: str) -> Iterator[str]:
        names = [f"part{self.count}_{nr}" for nr in range(len(node.bodies))]
        for name, body in zip(names, node.bodies):
            yield f"{indent}def {name}():"
            if node.names:
                yield f"{indent}    global {', '.join(node.names)}"
            yield self.code(body, indent + "    ") or f"{indent}    pass"
        yield f"{indent}in_threads({', '.join(names)})"


def smaller(program: Program) -> Iterator[Program]:
    """Programs that are simpler than this one by one cut, the largest cuts first."""
    for steps in {1, program.steps // 2, program.steps - 1} - {0, program.steps}:
        yield replace(program, steps=steps)
    for field in ("body", "setup"):
        nodes = getattr(program, field)
        size = len(nodes)
        while size:
            for start in range(0, len(nodes), size):
                yield replace(program, **{field: nodes[:start] + nodes[start + size :]})
            size //= 2
        for where, node in enumerate(nodes):
            for less in _inside(node):
                yield replace(program, **{field: nodes[:where] + less + nodes[where + 1 :]})


def _inside(node: Node) -> Iterator[tuple[Node, ...]]:
    """What may stand in the place of a compound statement: one of its bodies, or itself with less in it."""
    if isinstance(node, Line):
        return
    bodies = [body for _, body in node.parts] if isinstance(node, Block) else list(node.bodies)
    yield from bodies
    for which, body in enumerate(bodies):
        shorter = [body[:i] + body[i + 1 :] for i in range(len(body))]
        shorter += [body[:i] + less + body[i + 1 :] for i, inner in enumerate(body) for less in _inside(inner)]
        for less in shorter:
            if isinstance(node, Block):
                parts = tuple((h, less if nr == which else b) for nr, (h, b) in enumerate(node.parts))
                yield (Block(parts),)
            else:
                yield (replace(node, bodies=tuple(less if nr == which else b for nr, b in enumerate(bodies))),)
