"""The old constructors beside PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.differential.expressions import Operands, check

pytestmark = pytest.mark.filterwarnings("ignore")


OPERANDS: Operands = {
    "a": lambda lib: lib.arange(6.0).view(2, 3), "l": lambda lib: lib.tensor([1, 2, 3]), "n": lambda _: np.arange(3.0),
    "nf": lambda _: np.arange(3.0, dtype=np.float32),
}  # fmt: skip
OLD = [
    "torch.Tensor()", "torch.Tensor(2,3).shape", "torch.Tensor([1,2])", "torch.Tensor([[1,2],[3,4]])",
    "torch.Tensor((2,3))", "torch.Tensor(torch.Size([2,3])).shape", "torch.Tensor(a)",
    "torch.Tensor(a).data_ptr()==a.data_ptr()", "torch.Tensor(a.requires_grad_()) is a", "torch.Tensor(l)",
    "torch.Tensor(n)", "torch.Tensor(nf)", "torch.Tensor(2.5)", "torch.Tensor('a')", "torch.Tensor(None)",
    "torch.Tensor(2,3.5)", "torch.Tensor(-1)", "torch.Tensor(True)", "torch.Tensor(np.float32(3))",
    "torch.Tensor(range(3))", "torch.Tensor([])", "torch.Tensor([[1,2],[3]])", "torch.Tensor(a.storage())",
    "torch.Tensor(a.untyped_storage())", "torch.Tensor(*[2,3]).shape", "torch.Tensor(3,device='cpu').shape",
    "torch.Tensor(3,device='cuda').shape", "torch.Tensor(size=(2,3)).shape", "torch.Tensor(data=[1])",
    "torch.Tensor([1],dtype=torch.long)", "torch.Tensor(torch.tensor(3))", "torch.Tensor([torch.tensor(1.),2])",
    "torch.Tensor([n,n])", "torch.LongTensor([1,2])", "torch.LongTensor([1.5,2])", "torch.LongTensor(2,3).shape",
    "torch.LongTensor(l)", "torch.LongTensor(l).data_ptr()==l.data_ptr()", "torch.LongTensor(a)",
    "torch.LongTensor(n)", "torch.LongTensor(np.arange(3))", "torch.LongTensor()", "torch.FloatTensor(nf).dtype",
    "torch.FloatTensor(n)", "torch.FloatTensor([1,2])", "torch.DoubleTensor([1,2])", "torch.ByteTensor([1,2,255])",
    "torch.ByteTensor([256])", "torch.BoolTensor([0,1])", "torch.BoolTensor([True,False])", "torch.HalfTensor([1])",
    "torch.BFloat16Tensor([1])", "torch.IntTensor([1])", "torch.ShortTensor([1])", "torch.CharTensor([1])",
    "torch.cuda.FloatTensor(2)", "torch.cuda.FloatTensor", "isinstance(a,torch.FloatTensor)",
    "isinstance(l,torch.FloatTensor)", "isinstance(l,torch.LongTensor)", "isinstance(a,torch.cuda.FloatTensor)",
    "isinstance(a,torch.Tensor)", "issubclass(torch.FloatTensor,torch.Tensor)", "torch.FloatTensor",
    "type(torch.FloatTensor)", "torch.FloatTensor.__name__", "torch.FloatTensor.dtype",
    "torch.FloatTensor is type(a)", "a.type()==torch.FloatTensor", "a.type(torch.LongTensor)",
    "a.type('torch.DoubleTensor').dtype", "a.new(2,3).shape", "a.new([1,2])", "a.new()", "l.new([1.5])", "a.new(l)",
    "l.new(l)", "a.new(n)", "a.new(a.size()).shape", "l.new(a.shape).dtype", "a.new(2,2,device='cpu').shape",
    "torch.nn.Parameter(torch.Tensor(2,3)).shape", "torch.Tensor([1]).dtype",
    "torch.FloatTensor(torch.FloatTensor([1]))", "torch.FloatTensor(a.tolist())", "torch.Tensor(1,2,3).size()",
    "torch.Tensor([[]]).shape", "torch.Tensor([True])", "torch.tensor(torch.LongTensor([2]))",
    "torch.LongTensor(3).zero_()", "torch.LongTensor([[1,2],[3,4]]).t()", "torch.Tensor(5).uniform_().shape",
    "torch.FloatTensor(1).fill_(0)", "torch.ByteTensor(2,2).bool().dtype", "torch.is_tensor(torch.Tensor(2))",
    "torch.FloatTensor(2,device='cpu').shape", "torch.Tensor(np.array([1,2]))", "torch.Tensor(np.array([True]))",
    "torch.FloatTensor(np.array([1,2]))",
]  # fmt: skip


@pytest.mark.parametrize("expression", OLD)
def test_old_constructors(expression: str) -> None:
    check(expression, OPERANDS)
