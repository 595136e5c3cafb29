"""Draws whole programs: what people do in training scripts, and what they should not do.

Tensors with and without history, views and writes through them, networks and optimizers, hooks, branches and loops on
values, memory shared with NumPy, errors in the middle of a step, threads. The step runs several times, and now and then
differs from the last: replayed, diverging and compiled execution all get their share.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.engine.fuzz.expressions import FLOATS, Expr, Expressions, Shape, view_patterns
from tests.engine.fuzz.program import Block, Line, Node, Program, Threads
from tests.engine.fuzz.training import Trainings

Nodes = list[Node]


def program(seed: int) -> Program:
    """The program of a seed."""
    return Grammar(seed).program()


class Grammar(Trainings, Expressions):
    """The statements; `scope` holds the variables that exist where the next statement will stand."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        super().__init__(draw, exact=draw.random() < 0.6)
        self.seed = seed
        self.names = 0
        self.level = 0

    def program(self) -> Program:
        setup = self.setup()
        persistent = list(self.scope)
        body = self.beginning()
        for _ in range(self.draw.randint(4, 14)):
            body += self.statement()
        body += [
            Line(f"{name} = {name}.detach()")
            for name in persistent
            if name in self.scope and self.scope[name].grad and not self.scope[name].leaf and self.draw.random() < 0.9
        ]
        steps = self.draw.choice((3, 4, 5, 6))
        return Program(self.seed, self.exact, tuple(setup), tuple(body), steps)

    def fresh(self, letter: str = "v") -> str:
        self.names += 1
        return f"{letter}{self.names}"

    def bind(self, x: Expr, letter: str = "v") -> Line:
        """A statement that gives an expression a new name."""
        name = self.fresh(letter)
        self.scope[name] = Expr(name, x.shape, x.dtype, x.grad, x.leaf, name)
        return Line(f"{name} = {x.text}")

    # -- the beginning -------------------------------------------------------------------------------------------

    def setup(self) -> Nodes:
        nodes: Nodes = []
        dtype = self.draw.choices(FLOATS, (1, 1, 14, 4))[0]
        for _ in range(self.draw.randint(2, 4)):
            nodes.append(self.bind(self.numbers(self.shape(), dtype), "x"))
        for _ in range(self.draw.randint(0, 2)):
            leaf = self.numbers(self.shape(), dtype)
            nodes.append(self.bind(replace(leaf.then("{}.requires_grad_()"), grad=True, leaf=True), "w"))
        if self.draw.random() < 0.4:
            nodes.append(self.bind(Expr("torch.arange(6).view(2, 3)", (2, 3), "int64"), "n"))
        if self.draw.random() < 0.45:
            nodes += self.network()
        return nodes

    def numbers(self, shape: Shape, dtype: str) -> Expr:
        """Data: small integers, or normally distributed."""
        text = f"torch.randint(-3, 4, {shape})" if self.exact else f"torch.randn({shape})"
        if self.exact or dtype != "float32":
            text += f".to(torch.{dtype})"
        return Expr(text, shape, dtype)

    def beginning(self) -> Nodes:
        """What a step begins with: new data, sometimes a ragged last batch."""
        nodes: Nodes = []
        if self.draw.random() < 0.6:
            old = self.variable(plain=True)
            if old is not None and not old.leaf and self.draw.random() < 0.5:
                nodes.append(Line(f"{old.name} = {self.numbers(old.shape, old.dtype).text}"))
            else:
                nodes.append(self.bind(self.numbers(self.shape(), "float32"), "b"))
        x = self.variable(dims=1)
        if x is not None and x.shape[0] > 1 and self.draw.random() < 0.25:
            when = self.draw.randint(1, 4)
            nodes.append(self.bind(x.then(f"{{}}[: {x.shape[0] - 1} if i == {when} else {x.shape[0]}]"), "r"))
        return nodes

    # -- statements ----------------------------------------------------------------------------------------------

    def statement(self) -> Nodes:
        kinds: Sequence[tuple[Callable[[], Nodes], float]] = (
            (self.assignment, 6), (self.view, 3), (self.write, 6), (self.masked, 1), (self.observation, 2),
            (self.backward, 2.5), (self.gradients, 1.5), (self.hook, 0.7), (self.train, 3), (self.mode, 1), (self.shared, 0.8),
            (self.mistake, 1), (self.randomness, 1), (self.conversion, 0.7), (self.carried, 0.7), (self.meddle, 0.8),
            (self.forgotten, 0.4),
        )  # fmt: skip
        if self.level < 2:
            kinds = (*kinds, (self.branch, 1.5), (self.loop, 0.7), (self.sometimes, 1), (self.attempt, 0.6))
        if self.level == 0:
            kinds = (*kinds, (self.threads, 0.5))
        for _ in range(20):
            nodes = self.draw.choices([k for k, _ in kinds], [w for _, w in kinds])[0]()
            if nodes:
                return nodes
        return []

    def suite(self, most: int = 3) -> Nodes:
        """The body of a compound statement; what it names is forgotten after it."""
        before = dict(self.scope)
        self.level += 1
        nodes = [node for _ in range(self.draw.randint(1, most)) for node in self.statement()]
        self.level -= 1
        self.scope = {name: self.scope.get(name, x) for name, x in before.items()}
        return nodes

    def assignment(self) -> Nodes:
        return [self.bind(self.expression())]

    def view(self) -> Nodes:
        x = self.variable()
        if x is None:
            return []
        choice = self.draw.random()
        if choice < 0.15:
            made = replace(x.then("{}.detach()"), grad=False)
        elif choice < 0.3:
            made = replace(x.then("{}.data"), grad=False)
        else:
            views = view_patterns(self.draw, x)
            if not views:
                return []
            made = x.then(*self.draw.choice(views))
        return [self.bind(made, "u")]

    def write(self) -> Nodes:
        """An in-place op on a variable or on a view of it; leaves only under no_grad or through .data, mostly."""
        x = self.variable()
        if x is None:
            return []
        target, shape = x.text, x.shape
        views = [v for v in view_patterns(self.draw, x) if "expand" not in v[0] and "reshape" not in v[0]]
        if views and self.draw.random() < 0.5:
            pattern, shape = self.draw.choice(views)
            target = pattern.replace("{}", target)
        y = self.like(Expr("", shape, x.dtype))
        if y.grad and not x.grad:
            if self.draw.random() < 0.5:
                y = replace(y.then("{}.detach()"), grad=False)
            elif not x.leaf:
                x.grad = True
        bound = "clamp_(-8, 8)" if self.exact else "clamp_(-2, 2)"
        number = self.draw.randint(-2, 2) if self.exact else round(self.draw.uniform(-1, 1), 3)
        simple = target.endswith("]") or target == x.text
        patterns = [
            f"{target}.add_({y.text}).{bound}", f"{target}.sub_({y.text}, alpha=2).{bound}", f"{target}.mul_({y.text}).{bound}",
            f"{target}.copy_({y.text})", f"{target}.zero_()", f"{target}.fill_({number})", f"{target}.{bound}",
            f"{target}.add_({number})", f"{target}.neg_()", f"{target}.relu_()", f"{target}.mul_({number})",
        ]  # fmt: skip
        if simple:
            patterns += [f"{target} += {number}", f"{target} *= {number}", f"{target} -= {y.text}"]
        if target == x.text and y.shape == shape:
            patterns.append(f"torch.maximum({target}.detach(), {y.text}.detach(), out={target})")
        if target.endswith("]"):
            patterns += [f"{target} = {y.text}", f"{target} = {number}"] * 2
        return [self.unrecorded(x, Line(self.draw.choice(patterns)))]

    def unrecorded(self, x: Expr, line: Line) -> Node:
        """A write to a leaf that requires grad is an error outside no_grad: rarely let it be one."""
        if x.leaf and self.draw.random() < 0.85:
            return Block((("with torch.no_grad():", (line,)),))
        return line

    def masked(self) -> Nodes:
        """Writes by mask, by index, by scatter."""
        x = self.variable(dims=1)
        if x is None or 0 in x.shape:
            return []
        t, n = x.text, x.shape[0]
        picks = [self.draw.randrange(n) for _ in range(2)]
        patterns = (
            f"{t}[{t} > 0] = 1", f"{t}[{picks}] = 2", f"{t}[torch.tensor({picks})] += 1", f"{t}.masked_fill_({t} < 0, 0)",
            f"{t}.index_fill_(0, torch.tensor({picks}), 1)", f"{t}.index_add_(0, torch.tensor({picks}), {t}.detach()[{picks}]).clamp_(-4, 4)",
            f"{t}.index_copy_(0, torch.tensor({picks[:1]}), torch.ones_like({t}[:1]))",
            f"{t}.scatter_(0, torch.zeros_like({t}, dtype=torch.long)[:1], 1)",
        )  # fmt: skip
        return [self.unrecorded(x, Line(self.draw.choice(patterns)))]

    def observation(self) -> Nodes:
        x = self.variable(floating=self.draw.random() < 0.9) or self.variable()
        if x is None:
            return []
        patterns = ("see({})", "see({}.TOTAL.item())", "see(str({}))", "see({}.tolist())", "see([{}.shape, {}.stride()])",
                    "see(bool(({} > 0).any()))", "see({}._version)", "see(len({}))", "see(float({}.detach().TOTAL))",
                    "see({}.argmax())", "see([{}.is_contiguous(), {}.requires_grad, {}.is_leaf])", "see({}.nonzero())",
                    "see(({} > 1).sum())", "see({}[{} > 0])", "see(f'{i} {{}.detach().TOTAL:.4f}')")  # fmt: skip
        text = self.draw.choice(patterns).replace("{}", x.text)
        return [Line(text.replace("TOTAL", "sum()" if self.exact else "mean()"))]

    def condition(self) -> str:
        """A condition on values; in exact programs far from its border."""
        x = self.variable()
        if x is None or self.draw.random() < 0.2:
            return f"i % 2 == {self.draw.randint(0, 1)}"
        if self.exact:
            return f"{x.text}.sum().item() > {self.draw.randint(-3, 3)}.5"
        return f"{x.text}.mean().item() > {self.draw.uniform(-0.3, 0.3):.4f}"

    def branch(self) -> Nodes:
        parts = [(f"if {self.condition()}:", tuple(self.suite()))]
        if self.draw.random() < 0.6:
            parts.append(("else:", tuple(self.suite())))
        return [Block(tuple(parts))]

    def loop(self) -> Nodes:
        x = self.variable()
        times = f"int(({x.text} > 0).sum().item()) % 4" if x is not None and self.draw.random() < 0.5 else "2 + i % 2"
        return [Block(((f"for k in range({times}):", tuple(self.suite())),))]

    def sometimes(self) -> Nodes:
        """A change in one step only: a divergence."""
        return [Block(((f"if i == {self.draw.randint(1, 4)}:", tuple(self.suite(2))),))]

    def attempt(self) -> Nodes:
        """An error of the program's own in the middle of work."""
        simple = [
            n.text for n in self.suite() if isinstance(n, Line) and not n.text.startswith(("if ", "for ", "with "))
        ]
        where = self.draw.randint(0, len(simple))
        simple.insert(where, f"fail(i >= {self.draw.randint(0, 3)})")
        return [Line("; ".join(simple))]

    def mode(self) -> Nodes:
        header = self.draw.choice(
            ("with torch.no_grad():", "with torch.no_grad():", "with torch.enable_grad():",
             "with torch.set_grad_enabled(i % 2 == 0):", "with torch.inference_mode(False):")
        )  # fmt: skip
        if self.level >= 2:
            return []
        return [Block(((header, tuple(self.suite())),))]

    def shared(self) -> Nodes:
        """Memory that NumPy sees."""
        x = self.variable(plain=True)
        if x is None or x.dtype == "bfloat16":
            return []
        array, factor = self.fresh("a"), 2 if self.exact else 0.5
        nodes: Nodes = [Line(f"{array} = {x.text}.detach().numpy()")]
        patterns = (f"{array} += 1", f"{array}[...] = 0", f"{array} *= {factor}", f"see({array})", f"{x.text}.add_(1)",
                    f"np.clip({array}, -4, 4, out={array})", f"see({x.text} * 2)")  # fmt: skip
        nodes += [Line(text) for text in self.draw.sample(patterns, self.draw.randint(1, 4))]
        if self.draw.random() < 0.4:
            nodes.append(self.bind(x.then(f"torch.from_numpy({array})"), "s"))
        return nodes

    def mistake(self) -> Nodes:
        """Calls that fail: wrong shapes at once, bad indices when the data is looked at, at the latest."""
        x = self.variable(dims=1) or self.variable()
        if x is None:
            return []
        t = x.text
        patterns = (f"{t} + torch.ones(7, 11)", f"{t}.view(97)", f"{t} @ torch.ones(13, 2)", f"{t}[torch.tensor([99])].sum().item()",
                    f"{t}.sum(5)", f"torch.cat([{t}, torch.ones(3, 3, 3, 3)])", f"{t}.add_(torch.ones(2, 9, 9, 9))",
                    f"see(F.embedding(torch.tensor([1, 50]), {t}))", f"{t}.item() if {t}.numel() > 1 else {t}[0, 0, 0, 0]",
                    f"{t}.expand(2, 19, 23)", f"{t}.add_(torch.ones(19)); {t}.mul_(2)", "undefined_name + 1",
                    f"{t}.copy_(torch.ones(77))", f"if ({t} > 0).all() or True: raise Other",
                    f"{t}.requires_grad_(False) if {t}.is_leaf else {t}.numpy()")  # fmt: skip
        return [Line(self.draw.choice(patterns))]

    def randomness(self) -> Nodes:
        x = self.variable()
        shape = x.shape if x is not None else (3,)
        whole = (f"torch.randint(-2, 3, {shape}).float()", f"torch.bernoulli(torch.full({shape}, 0.5))",
                 "torch.randperm(4).float()", f"(torch.rand({shape}) > 0.5).float()")  # fmt: skip
        if x is not None and self.draw.random() < 0.3:
            return [self.bind(x.then("F.dropout({}, 0.5)"), "d")]
        if self.draw.random() < 0.15:
            return [Line(f"torch.manual_seed({self.draw.randint(0, 9)} + i)")]
        if self.exact:
            text = self.draw.choice(whole)
            return [self.bind(Expr(text, (4,) if "perm" in text else shape, "float32"), "d")]
        if x is not None and not x.leaf and self.draw.random() < 0.3:
            x.grad = False
            fill = self.draw.choice(("normal_()", "uniform_(-1, 1)", "bernoulli_(0.5)"))
            return [Block((("with torch.no_grad():", (Line(f"{x.text}.{fill}"),)),))]
        text = self.draw.choice((f"torch.randn({shape})", f"torch.rand({shape})", f"torch.normal(0.0, 0.5, {shape})"))
        return [self.bind(Expr(text, shape, "float32"), "d")]

    def conversion(self) -> Nodes:
        x = self.variable()
        if x is None:
            return []
        dtype = self.draw.choice(("float64", "float32", "bfloat16", "int64", "bool", "float16", "int32"))
        if not self.exact and dtype not in FLOATS:
            dtype = "float64"
        return [self.bind(x.then(f"{{}}.to(torch.{dtype})", dtype=dtype), "c")]

    def carried(self) -> Nodes:
        """Values that live from step to step: a hidden state, a list."""
        x = self.variable()
        if x is None:
            return []
        old = [v for v in self.scope.values() if v.shape == x.shape and not v.leaf and v.name[0] in "xv"]
        if old and self.draw.random() < 0.6:
            state = self.draw.choice(old)
            blend = "clamp(-4, 4)" if self.exact else "tanh()"
            return [Line(f"{state.text} = ({state.text} + {x.text}).{blend}{self.draw.choice(('', '.detach()'))}")]
        look = f"if i % 3 == 2: see([t.sum() for t in kept]); {self.draw.choice(('kept.clear()', 'del kept[0]', 'kept[0].add_(1)'))}"
        return [Line(f"kept.append({x.text}{self.draw.choice(('', '.detach()', '.clone()'))})"), Line(look)]

    def meddle(self) -> Nodes:
        """Changes of what a tensor is, in the middle of a run."""
        leaves = [v for v in self.scope.values() if v.leaf]
        if not leaves:
            return []
        w, when = self.draw.choice(leaves).text, self.draw.randint(1, 3)
        patterns = (f"{w}.requires_grad_(i != {when})", f"{w}.data = {w}.data * 1", f"{w} = {w}.detach().clone().requires_grad_()",
                    f"if i == {when}: {w}.data.zero_()", f"if i == {when}: {w}.grad = None",
                    f"if i == {when}: {w}.grad = torch.ones_like({w})", f"if i == {when}: {w}.detach().add_(1)")  # fmt: skip
        return [Line(self.draw.choice(patterns))]

    def forgotten(self) -> Nodes:
        """`del`: what nobody can see any more need not be computed, but what it did to others must be."""
        gone = [name for name in self.scope if name[0] in "vucd"]
        if not gone or self.level:
            return []
        name = self.draw.choice(gone)
        del self.scope[name]
        return [Line(f"del {name}")]

    def threads(self) -> Nodes:
        """Work in other threads: one at a time on the program's tensors, several each on its own."""
        if self.draw.random() < 0.6:
            before = set(self.scope)
            self.level += 2
            body = [node for _ in range(self.draw.randint(1, 3)) for node in self.statement()]
            self.level -= 2
            return [Threads((tuple(body),), tuple(self.scope))] if set(self.scope) >= before else []
        bodies, names, before = [], [], dict(self.scope)
        for _ in range(2):
            self.scope = dict(before)
            lines = [self.bind(self.expression(plain=True)) for _ in range(self.draw.randint(1, 3))]
            bodies.append(tuple(line for line in lines if "rand" not in line.text))
            names += [name for name in self.scope if name not in before]
        self.scope = before
        return [Threads(tuple(bodies), tuple(names))]
