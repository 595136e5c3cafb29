"""The part of the grammar that trains: backward, gradients, hooks, networks, optimizers."""

from __future__ import annotations

from tests.engine.fuzz.expressions import Expr, Expressions
from tests.engine.fuzz.program import Block, Line, Node

Nodes = list[Node]

EXACT_OPTIMIZERS = ("SGD({}, lr=1.0)", "SGD({}, lr=0.5, momentum=0.5)", "SGD({}, lr=0.5, momentum=0.5, nesterov=True)")
OPTIMIZERS = (
    "SGD({}, lr=0.05, momentum=0.9)", "SGD({}, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True)",
    "Adam({}, lr=0.01)", "Adam({}, lr=0.01, weight_decay=0.01, amsgrad=True)", "AdamW({}, lr=0.01)",
    "RMSprop({}, lr=0.01, momentum=0.5)", "Adagrad({}, lr=0.05)", "NAdam({}, lr=0.01)", "Adamax({}, lr=0.01)",
)  # fmt: skip


class Trainings(Expressions):
    """Statements about gradients. `nets` are the networks: name of the net, of its optimizer, input and output width."""

    nets: list[tuple[str, str, int, int]]

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.nets = []

    def fresh(self, letter: str = "v") -> str:
        raise NotImplementedError

    def bind(self, x: Expr, letter: str = "v") -> Line:
        raise NotImplementedError

    # -- gradients -----------------------------------------------------------------------------------------------

    def loss(self) -> str | None:
        """A number with a history: often a whole expression."""
        grown = [v for v in self.scope.values() if v.grad]
        if not grown:
            return None
        total = "sum()" if self.exact else "mean()"
        for _ in range(4):
            x = self.expression()
            if x.grad:
                return f"{x.text}.{total}"
        return f"({self.draw.choice(grown).text} * 2).{total}"

    def backward(self) -> Nodes:
        loss = self.loss()
        if loss is None:
            return []
        name = self.fresh("l")
        nodes: Nodes = [Line(f"{name} = {loss}")]
        if self.draw.random() < 0.3:
            nodes.append(Line(f"see({name}.item())"))
        if self.draw.random() < 0.15:
            nodes += [Line(f"{name}.backward(retain_graph=True)"), *self.between(), Line(f"{name}.backward()")]
        else:
            nodes.append(Line(f"{name}.backward()"))
        return nodes

    def between(self) -> Nodes:
        return self.gradients() if self.draw.random() < 0.5 else []

    def gradients(self) -> Nodes:
        """Looking at, clearing, using gradients; autograd.grad, also twice."""
        leaves = [v for v in self.scope.values() if v.leaf]
        if not leaves:
            return []
        w = self.draw.choice(leaves).text
        if self.draw.random() < 0.25 and (loss := self.loss()):
            g = self.fresh("g")
            total = f"({g} * {g}).sum()" if not self.exact else f"{g}.sum()"
            double = f"if {g} is not None and {g}.requires_grad: see(torch.autograd.grad({total}, {w}, allow_unused=True)[0])"
            first = f"{g}, = torch.autograd.grad({loss}, [{w}], create_graph=True, allow_unused=True)"
            return [Line(first), Line(f"see({g})"), Line(double)]
        update = "0.5" if self.exact else "0.05"
        patterns = (
            f"see({w}.grad)", f"{w}.grad = None", f"{w}.grad.zero_()", f"{w}.data.add_({w}.grad, alpha=-{update})",
            f"with torch.no_grad(): {w} -= {update} * {w}.grad", f"{w}.grad.mul_(2)", f"{w}.grad.clamp_(-2, 2)",
            f"torch.nn.utils.clip_grad_value_([{w}], 1)", f"if {w}.grad is not None: {w}.data.sub_({w}.grad); {w}.grad = None",
        )  # fmt: skip
        return [Line(self.draw.choice(patterns))]

    def hook(self) -> Nodes:
        """Hooks on tensors: they look, they change the gradient, they come and go."""
        grown = [v for v in self.scope.values() if v.grad]
        if not grown:
            return []
        x = self.draw.choice(grown)
        what = self.draw.choice(("lambda g: g * 2", "lambda g: see(g)", "lambda g: g.clamp(-1, 1)", "lambda g: None",
                                 "lambda g: see(g.sum().item())"))  # fmt: skip
        if not x.leaf:
            extra: Nodes = [Line(f"{x.text}.retain_grad()")] if self.draw.random() < 0.3 else []
            return [Line(f"{x.text}.register_hook({what})"), *extra]
        name, when = self.fresh("h"), self.draw.randint(0, 2)
        nodes: Nodes = [Line(f"if i == {when}: {name} = {x.text}.register_hook({what})")]
        if self.draw.random() < 0.6:
            nodes.append(Line(f"if i == {when + 2}: {name}.remove()"))
        return nodes

    # -- networks ------------------------------------------------------------------------------------------------

    def network(self) -> Nodes:
        """One or two networks with an optimizer each; sometimes one for both."""
        nodes: Nodes = []
        for _ in range(self.draw.choice((1, 1, 2))):
            wide, hidden, out = (self.draw.choice((2, 3, 4)) for _ in range(3))
            net, optimizer = self.fresh("net"), self.fresh("opt")
            nodes.append(Line(f"{net} = {self.layers(wide, hidden, out)}"))
            choice = self.draw.choice(EXACT_OPTIMIZERS if self.exact else OPTIMIZERS)
            both = f"[*{net}.parameters(), *{self.nets[0][0]}.parameters()]" if self.nets else ""
            params = both if both and self.draw.random() < 0.3 else f"{net}.parameters()"
            nodes.append(Line(f"{optimizer} = torch.optim.{choice.replace('{}', params)}"))
            self.nets.append((net, optimizer, wide, out))
        return nodes

    def layers(self, wide: int, hidden: int, out: int) -> str:
        smooth = ("nn.Tanh()", "nn.GELU()", "nn.Sigmoid()", f"nn.LayerNorm({hidden})", "nn.Dropout(0.5)", "nn.SiLU()")
        middle = ("nn.ReLU()", "nn.Dropout(0.5)", "nn.Hardtanh(-2, 2)", f"Residual({hidden}, {self.exact})")
        parts = [f"nn.Linear({wide}, {hidden})", self.draw.choice(middle if self.exact else smooth + middle)]
        if self.draw.random() < 0.4:
            parts.append(self.draw.choice(middle if self.exact else (*smooth, f"nn.BatchNorm1d({hidden}, eps=0.1)")))
        text = f"nn.Sequential({', '.join(parts)}, nn.Linear({hidden}, {out}))"
        return f"rounded({text})" if self.exact else text

    def train(self) -> Nodes:
        """A training step, with what people leave out, add, or put in another order."""
        if not self.nets:
            return []
        net, optimizer, wide, out = self.draw.choice(self.nets)
        chance = self.draw.random
        fitting = [v for v in self.scope.values() if len(v.shape) == 2 and v.shape[1] == wide and v.dtype == "float32"]
        data = f"torch.randint(-2, 3, (4, {wide})).float()" if self.exact else f"torch.randn(4, {wide})"
        x = self.draw.choice(fitting).text if fitting and chance() < 0.7 else data
        rows = "4" if x == data else f"{x}.shape[0]"
        y, loss = self.fresh("y"), self.fresh("l")
        exact = (
            f"({y} - 1).abs().sum()",
            f"({y} * {y}).sum()",
            f"F.l1_loss({y}, torch.zeros_like({y}), reduction='sum')",
        )
        smooth = (f"F.cross_entropy({y}, torch.arange({rows}) % {out})", f"F.mse_loss({y}, torch.zeros_like({y}))",
                  f"F.binary_cross_entropy_with_logits({y}, torch.full_like({y}, 0.3))", f"F.log_softmax({y}, 1)[:, 0].neg().mean()")  # fmt: skip
        none = self.draw.choice(("", "set_to_none=True", "set_to_none=False"))
        clear = Line(f"{self.draw.choice((optimizer, net))}.zero_grad({none})")
        nodes: Nodes = [clear] if chance() < 0.8 else []
        nodes.append(Line(f"{y} = {net}({x})"))
        nodes.append(Line(f"{loss} = {self.draw.choice(exact if self.exact else smooth)}"))
        if chance() < 0.4:
            nodes.append(self.interruption(net, loss))
        nodes.append(Line(f"{loss}.backward()"))
        if self.exact or chance() < 0.3:
            clip = "clip_grad_value_" if self.exact else self.draw.choice(("clip_grad_norm_", "clip_grad_value_"))
            nodes.append(Line(f"see(nn.utils.{clip}({net}.parameters(), 1.0))"))
        step = Line(f"{optimizer}.step()")
        nodes.append(Block(((f"if {loss}.item() < 1e4:", (step,)),)) if chance() < 0.3 else step)
        if chance() < 0.5:
            nodes.append(self.afterwards(net, optimizer, loss))
        return nodes

    def interruption(self, net: str, loss: str) -> Node:
        """Something between forward and backward."""
        when = self.draw.randint(1, 3)
        first = f"next(iter({net}.parameters()))"
        return self.draw.choice(
            (
                Line(f"see({loss}.item())"),
                Line(f"fail(i == {when})"),
                Block(((f"if i == {when}:", (Line(f"{net}({first}[:, :, None])"),)),)),
                Line(f"with torch.no_grad(): {first}.mul_(1)"),
                Line(f"{first}.data.mul_(1)"),
                Line(f"see(str({loss}))"),
                Block(((f"if i % 2 == {when % 2}:", (Line(f"see({loss}.item())"),)),)),
                Block(((f"if {loss}.item() < 1e4 and i == {when}:", (Line(f"{loss} = {loss} * 2"),)),)),
                Block(((f"if {loss}.item() < 1e4 and i != {when}:", (Line(f"{first}.grad = None"),)),)),
            )
        )

    def afterwards(self, net: str, optimizer: str, loss: str) -> Node:
        """Something between steps: schedules, hooks, freezing, evaluation, state."""
        when, factor = self.draw.randint(0, 3), "0.5"
        first = f"next(iter({net}.parameters()))"
        texts = (
            f"see({loss}.item())",
            f"for group in {optimizer}.param_groups: group['lr'] *= {factor}",
            f"if i == {when}: {net}[0].register_forward_hook(lambda m, a, y: see(y))",
            f"if i == {when}: {net}[0].register_forward_hook(lambda m, a, y: y * 2)",
            f"if i == {when}: {net}[-1].register_full_backward_hook(lambda m, a, g: see(g[0]))",
            f"{first}.requires_grad_(i != {when})",
            f"{net}.train(i != {when})",
            f"if i == {when}: {net}.load_state_dict({{k: v * 0 + 1 for k, v in {net}.state_dict().items()}})",
            f"{optimizer}.zero_grad()",
            f"if i == {when}: {first}.data = torch.ones_like({first})",
            f"if i == {when}: {optimizer}.load_state_dict({optimizer}.state_dict())",
            f"see([p.grad for p in {net}.parameters()])",
        )
        return Line(self.draw.choice(texts))
