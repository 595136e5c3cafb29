"""The in-place methods that PyTorch also lists as functions: `torch.clamp_(x, 0, 1)` is `x.clamp_(0, 1)`.

Those of ops with one operand are listed where the ops are (`elementwise.unary`); this table has the others.
"""

from __future__ import annotations

from flambeau.ops.op import names

for _name in (
    "arccos_", "arccosh_", "arcsin_", "arcsinh_", "arctan_", "arctanh_", "clamp_", "clamp_max_", "clamp_min_", "clip_",
    "fix_", "gcd_", "lcm_", "ldexp_", "logit_", "nan_to_num_", "negative_", "round_", "xlogy_", "fill_", "zero_",
):  # fmt: skip
    names["torch"][_name] = names["Tensor"][_name]
names["torch"]["fill"] = names["Tensor"]["fill"]
