"""Indexing, joining, moving and repeating elements beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.differential.expressions import Operands, check, leaf, ramp

pytestmark = pytest.mark.filterwarnings("ignore")


def counting(*shape: int) -> Any:
    return lambda lib: lib.arange(float(np.prod(shape)), dtype=lib.float32).view(*shape)


# -- indexing --------------------------------------------------------------------------------------------------

INDEX_OPERANDS: Operands = {
    "x": counting(2, 3, 4), "g": leaf(counting(2, 3, 4)), "m": lambda lib: lib.ones(2, 3, dtype=lib.bool),
}  # fmt: skip
INDEXING = [
    "x[m,1:]", "x[m]", "x[:,m]", "x[[0,1]]", "x[[0,1],[1,2]]", "x[[[0,1],[1,0]]]", "x[[slice(0,1),0]]",
    "x[[torch.tensor(0),torch.tensor([1])]]", "x[1.0]", "x['a']", "x[5]", "x[0,0,0,0]", "x[0,5]",
    "x[torch.tensor([0,5])]", "x[torch.tensor([0.,1.])]", "x[torch.tensor(1.0)]", "x[True]", "x[False]",
    "x[torch.tensor(True)]", "x[torch.tensor(1,dtype=torch.uint8)]", "x[torch.tensor([1,0],dtype=torch.uint8)]",
    "x[None]", "x[...]", "x[:]", "g[:]", "g[...]", "g[None]", "g[0]", "g[0:1]", "g[:,::2]", "g[torch.tensor([0,1])]",
    "g[g>3]", "g[0,1:3]", "g[...,0,:]", "x[::-1]", "x[0:5:0]", "x[...,...]", "x[0,:,torch.tensor([0,1])]",
    "x[torch.tensor([0,1]),:,torch.tensor([0,1])]", "x[:,torch.tensor([0,1]),torch.tensor([[0],[1]])]",
    "x[np.array([0,1])]", "x[np.int64(1)]", "x[np.bool_(True)]", "x[np.array([True,False])]",
    "x[torch.tensor([True,False,True])]", "x[torch.tensor([0,1]),torch.tensor([0,1,2])]", "x[()]",
    "x[torch.tensor([-3])]", "x[torch.tensor([],dtype=torch.long)]", "x[[]]", "x[[True,False]]", "x[(0,(1,2))]",
    "x[range(2)]", "x[0][0][0][0]", "torch.tensor(3.)[0]", "torch.tensor(3.)[...]", "torch.tensor(3.)[None]",
    "x[torch.tensor([0,1],dtype=torch.int32)]", "x[torch.tensor([0,1],dtype=torch.int16)]", "x[-3]", "x[:,-4]",
    "x[torch.tensor(7)]", "x[[0.5]]", "x[{}]", "x[1:torch.tensor(2)]", "x[np.int64(0):np.int64(1)]", "x[1.0:2]",
    "x.expand(2,2,3,4)[:,torch.tensor([0,1])]", "x.permute(2,0,1)[torch.tensor([0,1])]",
    "x.permute(2,0,1)[:,:,torch.tensor([0,1])]", "x.permute(2,1,0)[torch.tensor([[0,1]])]",
    "x.transpose(0,2)[x.transpose(0,2)>20]", "x[0]=1", "x[0]=[1,2]", "x[0]=torch.ones(4)", "x[0]=torch.ones(5)",
    "x[0]=torch.ones(1,1,3,4)", "x[m]=torch.ones(5)", "x[m]=torch.ones(4)", "x[m]=torch.ones(4,dtype=torch.double)",
    "x[0]=torch.ones(4,dtype=torch.double)", "x[m]=1", "x[m]=torch.tensor(1,dtype=torch.double)",
    "x[torch.tensor([0,1])]=torch.ones(3)", "x[torch.tensor([0,1])]=torch.ones(3,4).long()", "x[0]=np.ones(4)",
    "x[0]='a'", "x[0]=None", "x[torch.tensor([0,9])]=1", "x[torch.tensor([0,1]),torch.tensor([0,1,2])]=1", "x[5]=1",
    "x[0]=np.float32(2)", "x[True]=1", "x[False]=1", "x[...]=torch.ones(3,4)", "x[None]=1", "x[0]=1j",
    "x[0,0]=(1,2,3,4)", "x[0]=1.5", "x[0]=True", "x[1]=torch.tensor(2.5)", "x[torch.tensor([0])]=2.5",
    "x[torch.tensor([0])]=torch.tensor(2.5)", "x[x>1]=2.5", "x[torch.tensor([0])]=1", "x[x>1]=1", "x[...]=1",
    "x[0:2]=torch.ones(2)", "g[torch.tensor([1,0])]", "g[:,torch.tensor([1,0,1])]",
    "g[torch.tensor([[1,0],[0,0]]),1:]", "g[m]", "g[g>5]", "g[0,torch.tensor([0,2]),::2]",
    "g[:,None,torch.tensor([0,1]),...]", "g[...,torch.tensor([0,1])]",
    "g[torch.tensor([0,1]),...,torch.tensor([2,1])]", "g[m,torch.tensor([0,1,2,3,0,1])]", "g[1,m[0]]", "g[:,m[0],1]",
    "g[None,True]", "g[torch.tensor(1)]", "g[torch.tensor(1):]", "g[[1,0],:,[0,3]]", "g[-1,...,-2]",
    "g.transpose(0,2)[torch.tensor([0,3])]", "g.transpose(0,2)[:,torch.tensor([0,2])]",
    "g.permute(1,2,0)[:,torch.tensor([[0,1],[1,2]])]", "g.expand(2,2,3,4)[0,torch.tensor([1,1])]", "g[[True,False]]",
    "g[:,[1]]", "g[(torch.tensor([0]),)]", "x=g*1; x[0]=g[1]*2", "x=g*1; x[:,1]=g[:,0]", "x=g*1; x[g>7]=0.",
    "x=g*1; x[torch.tensor([0,0])]=g[1]", "x=g*1; x[0,1,2]=7", "x=g*1; x[...,::2]=g[...,1::2]", "x=g*1; x[m]=g[0,0]",
    "x=g*1; x[:,torch.tensor([0,2])]=g[:,:2]", "x=g*1; y=x[0]; y[1]=5; y.mul_(2)",
    "x=g*1; x.index_put_((torch.tensor([0,1]),torch.tensor([1,1])),g[0,:2],accumulate=True)",
    "x=g*1; x.index_put_((torch.tensor([0,0]),),g[:1],accumulate=True)", "x=g*1; x[[0],[1]]=-1",
    "x=torch.zeros(3,dtype=torch.long); x[1]=True", "x=torch.zeros(3,3).t(); x[0]=torch.arange(3.)",
    "x=torch.zeros(3); x[torch.tensor([2,2])]+=1", "x=torch.zeros(3); x[0:2]+=1; x[2]-=3",
    "x=torch.zeros(2,2,dtype=torch.bool); x[0]=True; x[1,torch.tensor([0])]=True",
    "x=torch.zeros(3,4); x[:,:2]=x[:,2:]+1", "x=torch.zeros(5); x[1:]=x[:-1]+torch.arange(4.)",
    "x=torch.arange(5.); x[1:]=x[:-1]", "x=torch.zeros(2,3); x[:]=torch.tensor([1.,2,3])",
    "x=torch.zeros(2,3); x[:,0]=torch.tensor([5,6])",
    "x=torch.zeros(4); x[torch.tensor([True,False,True,False])]=torch.tensor([1.,2.])",
    "x=torch.zeros(4); x[torch.tensor([True,False,True,False])]=torch.tensor([1.,2.,3.])",
    "x=torch.zeros(4); x[[0,1]]=torch.tensor([1.,2.,3.])", "x=torch.zeros(2,3); x[1.0]=2",
    "x=torch.zeros(3); x[None,0:2]=4", "x=torch.tensor(1.); x[...]=3", "x=torch.tensor(1.); x[()]=3",
    "x=torch.tensor(1.); x[None]=3", "x=torch.tensor(1.); x[True]=3", "x=torch.tensor(1.); x[0]=3",
    "x=torch.zeros(2,2); x[torch.tensor([[True,False],[False,True]])]=torch.tensor([7.,8.])",
    "x=torch.complex(torch.ones(2),torch.ones(2)); x[0]=1j", "x=torch.zeros(3); x[0]=float('inf')",
    "x=torch.zeros(2,dtype=torch.uint8); x[0]=300", "x=torch.zeros(2,dtype=torch.uint8); x[0]=-1",
    "x=torch.zeros(2,dtype=torch.int8); x[torch.tensor([0])]=200", "x=torch.zeros(3); x[torch.tensor(1)]=2",
    "x=torch.zeros(3,3); x[torch.arange(3),torch.arange(3)]=torch.arange(3.)", "torch.nonzero(m)",
    "torch.nonzero(m,as_tuple=True)", "m.nonzero()", "torch.argwhere(m)", "torch.nonzero(torch.tensor(5.))",
    "torch.nonzero(torch.tensor(0),as_tuple=True)", "torch.nonzero(torch.zeros(2,0))",
    "torch.masked_select(g,m[...,None])", "g.masked_select(g>3)", "g.masked_scatter(m[...,None],g.flip(0))",
    "(g*1).masked_scatter_(g>4,g.reshape(-1))", "torch.take(g,torch.tensor([[0,-1],[5,5]]))",
    "(g*1).put_(torch.tensor([0,5]),torch.tensor([9.,8.]))", "g.put(torch.tensor([0,5]),g[0,0,:2])",
    "(g*1).put_(torch.tensor([0,0]),torch.tensor([9.,8.]),accumulate=True)",
]  # fmt: skip


@pytest.mark.parametrize("expression", INDEXING)
def test_indexing(expression: str) -> None:
    check(expression, INDEX_OPERANDS)


# -- joining, gathering, scattering ----------------------------------------------------------------------------

JOIN_OPERANDS: Operands = {
    "a": counting(2, 3), "i": lambda lib: lib.ones(2, 3).long(), "e": lambda lib: lib.tensor([]),
    "g": leaf(ramp(2, 3)), "I": lambda lib: lib.tensor([[0, 1, 0], [1, 0, 1]]), "h": lambda lib: lib.ones(2, 3).half(),
}  # fmt: skip
JOINING = [
    "torch.cat([a,i])", "torch.cat([])", "torch.cat([a,e])", "torch.cat([e,e])", "torch.cat([a,torch.ones(2,4)])",
    "torch.cat([a,torch.ones(2,4)],2)", "torch.cat([a,torch.ones(2)])", "torch.cat(a)", "torch.cat([a,1])",
    "torch.cat([torch.tensor(1.),torch.tensor(2.)])", "torch.cat([g,g],1)", "torch.cat([a.t(),a.t()])",
    "torch.cat((a,a),dim=-1)", "torch.cat([a,a],axis=1)", "torch.concat([a,a])", "torch.stack([a,a])",
    "torch.stack([g,a],-1)", "torch.stack([])", "torch.stack([a,torch.ones(3)])", "torch.stack([a,i])",
    "torch.hstack([a,a])", "torch.hstack([g,a])", "torch.vstack([torch.ones(3),torch.ones(3)])",
    "torch.dstack([a,a])", "torch.column_stack([torch.ones(2),a])",
    "torch.block_diag(a,torch.ones(2),torch.tensor(3.))",
    "torch.cat([torch.ones(2,3,4,5).to(memory_format=torch.channels_last)]*2)",
    "torch.cat([a,a],out=torch.empty(4,3))", "torch.gather(a,1,I)", "torch.gather(a,0,I)",
    "torch.gather(a,1,torch.tensor([[5]]))", "torch.gather(a,1,torch.tensor([0]))", "torch.gather(a,1,I.int())",
    "torch.gather(a,1,torch.zeros(3,1).long())", "torch.gather(a,2,I)", "torch.gather(g,1,I)",
    "torch.gather(torch.ones(3),0,torch.tensor(1))", "torch.index_select(a,1,torch.tensor([0,0,2]))",
    "torch.index_select(a,1,torch.tensor(0))", "torch.index_select(a,1,torch.tensor([0.]))",
    "torch.index_select(a,1,torch.tensor([[0]]))", "torch.index_select(torch.tensor(1.),0,torch.tensor([0]))",
    "torch.index_select(g,0,torch.tensor([0]))", "torch.index_select(a.t(),0,torch.tensor([0,1]))",
    "a.clone().scatter_(1,I,5)", "a.clone().scatter_(1,I,torch.ones(2,3).double())",
    "a.clone().scatter_(1,torch.tensor([[7]]),5)", "a.clone().scatter_(1,I,torch.ones(2,2))",
    "a.clone().scatter_(1,torch.zeros(2,4).long(),torch.ones(2,4))",
    "a.clone().scatter_(1,torch.zeros(3,1).long(),1.)", "torch.scatter(a,1,I,a,reduce='foo')",
    "torch.scatter_reduce(g,1,I,g,'mean')", "torch.scatter_reduce(g,1,I,g,'foo')", "torch.scatter(i,1,I,2.5)",
    "torch.scatter(a,1,I,value=2)", "torch.zeros(2,3).scatter_(1,torch.tensor([[1],[2]]),1)",
    "torch.index_add(a,0,torch.tensor([0,1]),torch.ones(2,3))",
    "torch.index_add(a,0,torch.tensor([0,1]),torch.ones(3,3))",
    "torch.index_add(a,0,torch.tensor([0,5]),torch.ones(2,3))",
    "torch.index_add(a,0,torch.tensor([0,1]),torch.ones(2,2))",
    "torch.index_add(a,0,torch.tensor([0,1]),torch.ones(2,3).double())",
    "torch.index_copy(a,0,torch.tensor([0,1]),torch.ones(2,3))",
    "torch.index_copy(a,0,torch.tensor([0,1]),torch.ones(1,3))",
    "torch.index_copy(a,0,torch.tensor([0,1]),torch.ones(2,3).double())", "torch.index_fill(a,0,torch.tensor([0]),7)",
    "torch.index_fill(a,0,torch.tensor([-1]),7)", "torch.index_fill(a,0,torch.tensor([4]),7)",
    "torch.index_fill(a,0,torch.tensor([0]),torch.tensor([7.]))",
    "torch.index_fill(i,0,torch.tensor([0]),torch.tensor(7.))",
    "torch.index_reduce(a,0,torch.tensor([0,0]),a,'prod')", "torch.index_reduce(a,0,torch.tensor([0,0]),a,'sum')",
    "torch.take_along_dim(a,I,1)", "torch.take_along_dim(a,torch.tensor([0,1]))", "torch.take(a,torch.tensor([0,7]))",
    "torch.take(a,torch.tensor([0.]))", "a.clone().put_(torch.tensor([0,9]),torch.ones(2))",
    "torch.masked_select(a,a>2)", "torch.masked_select(a,i)", "a.clone().masked_scatter_(a>0,torch.ones(2))",
    "a.clone().masked_scatter_(a>0,torch.ones(6).double())", "a.clone().masked_scatter_(i,torch.ones(6).double())",
    "torch.select_scatter(g,torch.ones(3),0,1)", "torch.slice_scatter(g,torch.ones(2,2),1,0,2)",
    "torch.diagonal_scatter(g,torch.ones(2))", "torch.select_scatter(a,torch.ones(4),0,1)",
    "torch.slice_scatter(a,torch.ones(2,4),1,0,2)", "torch.diagonal_scatter(a,torch.ones(3))",
    "torch.slice_scatter(a,torch.ones(1,3),0,0,5,2)", "torch.cat([a,h])", "torch.cat([h,h,i])",
    "torch.cat([g,g*2,a],1)", "torch.cat([a.t(),a.t()],1)", "torch.stack([g,g],1)", "torch.dstack([g,g])",
    "torch.column_stack([g[:,0],g])", "torch.block_diag(g,g[0])", "torch.block_diag()", "torch.atleast_2d(g[0],g)",
    "torch.atleast_3d(a[0])", "g.gather(0,I)", "g.gather(1,I[:,:2])", "g.scatter(1,I[:,:1],g[:,:1])",
    "g.scatter_add(1,I,g)", "g.scatter_reduce(1,I,g,'amax')", "g.scatter_reduce(1,I,g,'prod')",
    "g.scatter_reduce(1,I,g,'mean',include_self=False)",
    "g.scatter_reduce(0,I[:1],g[:1]*2,'amin',include_self=False)", "torch.scatter(a,1,I,2.,reduce='add')",
    "torch.scatter(a,1,I,2.,reduce='multiply')", "torch.scatter(a,1,I,a,reduce='multiply')",
    "g.index_add(1,torch.tensor([0,0,2]),g,alpha=2)", "g.index_copy(0,torch.tensor([1]),g[:1])",
    "g.index_fill(1,torch.tensor([0,2]),3.)", "g.index_fill(1,torch.tensor([0,2]),g[0,0])",
    "g.index_reduce(0,torch.tensor([0,0]),g,'mean')", "g.index_select(1,torch.tensor([2,2,0]))",
    "g.take_along_dim(I,1)", "torch.take_along_dim(g,torch.tensor([[0,1]]),0)", "x=a.clone(); x.scatter_(1,I,1.); x",
    "x=a.clone(); x.scatter_add_(0,I,a)", "x=a.clone(); x.index_add_(0,torch.tensor([1,1]),a)",
    "torch.gather(i,1,I).dtype", "torch.gather(a,1,torch.zeros(2,0).long())",
    "torch.scatter_add(a,1,torch.zeros(0,3).long(),a)",
    "torch.index_add(torch.zeros(3),0,torch.tensor([0,0,1]),torch.ones(3))", "torch.gather(a[0],0,torch.tensor(1))",
    "torch.cat([a,a],dim=2)", "torch.cat([a[0],a[0]],-1)", "torch.cat((a,a.double()))", "torch.stack([a,a],dim=3)",
    "torch.vstack([a,a[0]])", "torch.row_stack([a,a])", "torch.concatenate([a,a],axis=1)",
]  # fmt: skip


@pytest.mark.parametrize("expression", JOINING)
def test_joining_gathering_and_scattering(expression: str) -> None:
    check(expression, JOIN_OPERANDS)


# -- moving and repeating --------------------------------------------------------------------------------------

SHAPE_OPERANDS: Operands = {
    "a": counting(2, 3), "g": leaf(counting(2, 3)), "v": lambda lib: lib.tensor([1, 2, 3]), "B": counting(2, 3, 4),
    "F": lambda lib: lib.nn.functional,
}  # fmt: skip
SHAPE = [
    "a.repeat(2)", "a.repeat(2,1,2)", "g.repeat(2,2)", "a.repeat((2,2))", "a.repeat(2,-1)", "a.repeat()",
    "torch.tensor(1.).repeat(3)", "a.repeat(0,1)", "torch.tile(a,(2,))", "g.tile(2,2)", "a.tile((2,1,1))",
    "torch.tile(a,2)", "torch.repeat_interleave(v,2)", "torch.repeat_interleave(a,2)",
    "torch.repeat_interleave(g,2,dim=1)", "torch.repeat_interleave(a,torch.tensor([1,2]),dim=0)",
    "torch.repeat_interleave(a,torch.tensor([1,2,3]),dim=0)", "torch.repeat_interleave(torch.tensor([1,2]))",
    "torch.repeat_interleave(a,-1)", "torch.repeat_interleave(a,torch.tensor([1,-2]),0)",
    "torch.repeat_interleave(a,torch.tensor([1.,2]),0)", "a.repeat_interleave(torch.tensor([2]),0)",
    "torch.repeat_interleave(a,torch.tensor([1,2]),dim=0,output_size=3)", "torch.roll(a,1)", "torch.roll(g,1,0)",
    "torch.roll(a,(1,1),(0,1))", "torch.roll(a,(1,1))", "torch.roll(a,(1,2),0)", "torch.flip(a,[0])",
    "torch.flip(g,(0,1))", "a.flip(0,1)", "a.flip(0,0)", "torch.flip(a,[2])", "a.t().flip(0)", "torch.fliplr(a)",
    "torch.flipud(a)", "torch.fliplr(v)", "torch.rot90(a)", "torch.rot90(g,1,[0,1])", "torch.rot90(a,1,[0,0])",
    "torch.rot90(a,1,[0])", "torch.rot90(v,1,[0,1])", "torch.tril(a)", "torch.triu(g,1)", "torch.tril(v)",
    "a.t().tril()", "torch.tril_indices(3,3)", "torch.triu_indices(2,3,1)", "torch.tril_indices(-1,3)",
    "torch.diag(v)", "torch.diag(g)", "torch.diag(a,1)", "torch.diag(B)", "torch.diag(torch.tensor(1.))",
    "torch.diag_embed(a)", "torch.diag_embed(g,1,0,2)", "torch.diag_embed(a,dim1=0,dim2=0)", "torch.diagflat(a)",
    "torch.meshgrid(v,v)", "torch.meshgrid(v,v,indexing='ij')", "torch.meshgrid([v,a[0]],indexing='xy')",
    "torch.meshgrid(v,a,indexing='ij')", "torch.meshgrid(v,v,indexing='zz')", "torch.meshgrid(v,a[0],indexing='ij')",
    "torch.meshgrid(v,v,indexing='xy')[0].stride()", "torch.meshgrid(indexing='ij')",
    "torch.cartesian_prod(v,v).shape", "torch.cartesian_prod(v)", "torch.cartesian_prod(a)", "torch.combinations(v)",
    "torch.combinations(v,with_replacement=True)", "torch.combinations(v,3)", "torch.combinations(v,0)",
    "torch.combinations(a)", "torch.broadcast_tensors(a,v)[1].stride()", "torch.broadcast_tensors(a,torch.ones(4))",
    "torch.atleast_2d(v).shape", "torch.vander(v)", "torch.vander(v,4,increasing=True)", "torch.vander(a)",
    "torch.trace(g)", "torch.trace(v)", "torch.trace(torch.tensor([[1,2],[3,4]]).int())",
    "torch.trace(torch.ones(2,2).bool())", "F.pad(a,(1,1))", "F.pad(a,(1,))", "F.pad(a,(1,1,1,1,1,1))",
    "F.pad(a,(-1,0,0,-2))", "F.pad(B.permute(2,0,1),(1,0))", "F.pad(v,(1,1),value=2.5)",
    "torch.constant_pad_nd(a,(1,1),3)", "F.pad(torch.ones(1,2,3,4).to(memory_format=torch.channels_last),(1,1))",
    "torch.triu(torch.ones(2,3,3).bool())", "torch.tril(torch.ones(3,3,dtype=torch.bfloat16))",
    "torch.index_select(a,0,torch.tensor([0,5]))", "torch.index_select(a.double(),0,torch.tensor([0,5]))",
    "torch.index_select(v,0,torch.tensor([5]))", "torch.index_select(B,0,torch.tensor([5]))",
    "torch.index_select(a.t(),0,torch.tensor([5]))", "torch.index_select(a,0,torch.tensor([-1]))", "g.repeat(2,1,2)",
    "torch.tile(g,(2,2))", "torch.repeat_interleave(g,torch.tensor([2,0,1]),1)", "torch.roll(g,(1,-1),(0,1))",
    "torch.roll(g,2)", "g.flip(1)", "torch.rot90(g,3)", "torch.rot90(g,2)", "torch.tril(g,1)", "torch.triu(g,-1)",
    "torch.diag(g,1)", "torch.diag_embed(g,-1)", "torch.constant_pad_nd(g,(1,-1,0,2),1.5)",
    "torch.cartesian_prod(g[0],g[1])", "torch.combinations(g[0])", "torch.vander(a[0])",
    "torch.meshgrid(g[0],g[1],indexing='xy')", "x=a.clone(); x.tril_()", "x=torch.ones(3,3); x.triu_(1)",
]  # fmt: skip


@pytest.mark.parametrize("expression", SHAPE)
def test_moving_and_repeating(expression: str) -> None:
    check(expression, SHAPE_OPERANDS)
