"""Matrix products, linear algebra and Fourier transforms beside PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.expressions import Operands, check, leaf, ramp

pytestmark = pytest.mark.filterwarnings("ignore")


# -- products --------------------------------------------------------------------------------------------------

PRODUCT_OPERANDS: Operands = {
    "a": ramp(2, 3), "b": ramp(4, 5), "v": ramp(3), "B": ramp(2, 3, 4), "g": leaf(ramp(2, 3)),
    "d": lambda lib: lib.ones(3, 4, dtype=lib.double), "i": lambda lib: lib.ones(3, 4).long(),
    "bo": lambda lib: lib.ones(3, 4).bool(), "h": lambda lib: lib.ones(3, 4).half(), "G": leaf(ramp(3, 3, 3)),
    "H": leaf(ramp(2, 3, 3, 3)), "S": leaf(ramp(3, 3)),
    "C": leaf(lambda lib: lib.complex(ramp(3, 3)(lib), ramp(3, 3)(lib) * 2 + 1)),
}  # fmt: skip
PRODUCTS = [
    "a@b", "torch.mm(a,b)", "a@d", "torch.mm(a,v)", "torch.mv(a,torch.ones(4))", "torch.mv(v,a)",
    "torch.dot(v,torch.ones(4))", "torch.dot(a,v)", "torch.dot(v,v.double())", "torch.bmm(a,b)", "torch.bmm(B,B)",
    "torch.bmm(B,torch.ones(3,4,5))", "torch.matmul(torch.tensor(1.),v)", "torch.matmul(a,torch.ones(4))",
    "torch.matmul(B,torch.ones(5,4,6))", "torch.matmul(B,b)", "v@v", "v@B.transpose(1,2)", "torch.ones(4)@a",
    "B@torch.ones(4)", "torch.matmul(i,i.t())", "torch.mm(bo,bo.t())", "i@d", "torch.matmul(a,[1])",
    "torch.addmm(a,a,b)", "torch.addmm(torch.ones(3),a,torch.ones(3,3))",
    "torch.addmm(torch.ones(7),a,torch.ones(3,3))", "torch.addmm(torch.ones(3),a,d)",
    "torch.addmv(torch.ones(2),a,torch.ones(4))", "torch.baddbmm(torch.ones(1),B,torch.ones(2,3,3))",
    "torch.outer(a,v)", "torch.ger(v,v)", "torch.vdot(v,v)", "torch.inner(a,v)", "torch.inner(a,torch.ones(4))",
    "g@torch.ones(3)", "g@g.t()", "torch.matmul(torch.ones(2,1,3),g.t())", "g.mm(g.t())", "torch.ones(2,2,3)@g.t()",
    "torch.ones(2,3).t()@torch.ones(2,4)", "torch.bmm(B,torch.ones(2,4,5).double())",
    "torch.addmm(a,a,torch.ones(3,3),beta=0.5,alpha=2)", "torch.addmm(i[:3,:3],i,i.t(),beta=0.5)",
    "torch.addbmm(torch.ones(3,3),B,B.transpose(1,2))", "torch.addr(a,torch.ones(2),v)",
    "torch.chain_matmul(a,d.float())", "torch.tensordot(B,B,dims=2)", "torch.tensordot(B,B,([1,2],[1,2]))",
    "torch.tensordot(a,b,1)", "torch.kron(a,b)", "torch.cross(a,a)", "torch.cross(torch.ones(3,2),torch.ones(3,2))",
    "torch.linalg.cross(torch.ones(4,3),torch.ones(1,3))", "torch.linalg.cross(torch.ones(4),torch.ones(4))",
    "torch.matmul(torch.ones(0,3),torch.ones(3,0))", "torch.matmul(torch.ones(2,0),torch.ones(0,3))",
    "torch.ones(3,1).expand(3,4)@torch.ones(4,2)", "g.t()@g", "torch.einsum('ij,jk->ik',g,b)",
    "torch.einsum('ij,jk->ik',g,torch.ones(3,2))", "torch.einsum('ii',torch.ones(3,3))", "torch.einsum('i,j',v,v)",
    "torch.einsum('ij,ij',a)", "torch.einsum('ij->k',a)", "torch.einsum('ijk->k',a)", "torch.einsum('i j k',B)",
    "torch.einsum('...ij,...jk->...ik',B,torch.ones(4,3))", "torch.einsum(a,[0,1],b,[2,3])",
    "torch.einsum('iJ,Jk->',a,torch.ones(3,2))", "torch.einsum('1j',a)", "torch.einsum('ij->iij',a)",
    "torch.einsum('ij->ii',a)", "torch.einsum(a,[0,1],a,[0,1],[0])", "torch.einsum('ijk,k',B,torch.ones(4))",
    "torch.einsum('...',a)", "torch.einsum('i...->...',B)", "torch.einsum('ij',a,a)",
    "torch.einsum('ij,kj,lj->ikl',a,a,a)", "torch.einsum('bij->bji',B)", "torch.einsum('ij,jk',a,d)",
    "torch.einsum('ij,kj,lj->ikl',g,a,g)", "torch.einsum('bij,bjk->bik',G,G.transpose(1,2))",
    "torch.einsum('bhqd,bhkd->bhqk',H,H)", "torch.einsum('ii->i',S)",
    "torch.einsum('iji->j',torch.ones(2,3,2)*S[0,0])", "torch.einsum('ij,ij->',S,S)", "torch.einsum('ab,ab->ba',S,S)",
    "torch.einsum('ij,jk,kl,lm->im',S,S,S,S)", "torch.einsum('ij->ji',g)", "torch.einsum('ij->',g)",
    "torch.einsum('ij->j',g)", "torch.einsum('nchw,cd->ndhw',H,torch.ones(3,5)*S[0,0])",
    "torch.tensordot(G,S,dims=([1],[0]))", "torch.tensordot(G,G,dims=3)", "torch.tensordot(G,S,dims=0)",
    "torch.einsum('ij,j',torch.ones(3,1),S[0])", "torch.einsum('b i, b i -> b',S,S)", "S@S", "G@S", "S@G",
    "H@H.transpose(-1,-2)", "S@S[0]", "S[0]@S", "S[0]@S[1]", "G@S[0]", "S[0]@G", "torch.matmul(H,G)",
    "torch.bmm(G,G)", "torch.addmm(S,S,S,beta=2,alpha=-1)", "torch.addmm(S[0],S,S)", "torch.baddbmm(S,G,G)",
    "torch.addbmm(S,G,G,alpha=0.5)", "torch.addmv(S[0],S,S[1])", "torch.addr(S,S[0],S[1])", "torch.outer(S[0],S[1])",
    "torch.inner(S,S)", "torch.kron(S,g)", "torch.cross(S,S*2,dim=1)", "torch.linalg.multi_dot([S[0],S,S,S[1]])",
    "torch.linalg.multi_dot([g,S,torch.ones(3,7)])", "torch.dot(C[0],C[1])", "torch.vdot(C[0],C[1])", "C@C",
    "torch.einsum('ij,jk->ik',C,C)", "torch.einsum('i.j',a)", "torch.einsum('....',a)", "torch.einsum('ij-',a)",
    "torch.einsum('ij,jj->i',g,S)", "torch.einsum('ij',a)", "torch.einsum('ba',a)", "torch.einsum(a)",
    "torch.einsum('ij',[a])", "x=S.clone(); x.addmm_(S,S)", "x=a.clone(); x.addmm_(a,a)", "torch.mm(a,v.t())",
    "torch.mm(torch.ones(3),a)", "torch.linalg.vecdot(S,G)", "h@h.t()", "torch.einsum('ij,ij->ij',S,S)", "a@v",
    "torch.matmul(torch.ones(2,0,3),a.t())", "torch.einsum('i,j->ji',v,v)", "torch.einsum('ij,kl->iklj',a,b)",
    "torch.einsum('nq,nk->nqk',g,g)", "torch.einsum('bqc,bkc->bqk',G,G)", "torch.einsum('ij,ki->jk',g,g)",
    "torch.einsum('ijk,ilm,njm,nlk,abc->',G,G,G,G,G)",
]  # fmt: skip


@pytest.mark.parametrize("expression", PRODUCTS)
def test_products(expression: str) -> None:
    check(expression, PRODUCT_OPERANDS)


# -- linear algebra --------------------------------------------------------------------------------------------


def matrix(rows: Any) -> Any:
    return lambda lib: lib.tensor(rows)


POSITIVE = [[4.0, 1, 0.5], [1, 3, 0.2], [0.5, 0.2, 2]]
GENERAL = [[0.3, 1.2, -0.7], [2.1, -0.4, 0.9], [-1.5, 0.8, 0.6]]
WIDE = [[0.3, 1.2, -0.7, 0.2], [2.1, -0.4, 0.9, 1.0], [-1.5, 0.8, 0.6, -0.3]]
OTHER = [[0.1, 0.5, 0.7], [-1.1, 0.4, 0.2], [0.5, 0.3, -0.6]]
LINALG_OPERANDS: Operands = {
    "A": matrix(POSITIVE), "N": matrix([[1.0, 2], [3, 4]]), "R": lambda lib: lib.arange(6.0).view(2, 3),
    "Z": lambda lib: lib.zeros(2, 2), "v": matrix([1.0, 2, 3]), "g": leaf(matrix(POSITIVE)),
    "L": lambda lib: lib.linalg, "I": lambda lib: lib.eye(3).long(), "H": lambda lib: lib.tensor(POSITIVE).half(),
    "B": lambda lib: lib.stack([lib.tensor(POSITIVE), 2 * lib.tensor(POSITIVE)]), "P": leaf(matrix(GENERAL)),
    "W": leaf(matrix(WIDE)), "C": leaf(lambda lib: lib.complex(lib.tensor(GENERAL), lib.tensor(OTHER))),
}  # fmt: skip
# Results whose values agree and whose memory PyTorch lays out by the solver it calls.
LAID_OUT_OTHERWISE = (
    "cholesky(A,upper", "cholesky(g,upper", "householder", "lstsq", "lu_solve", "solve(B", "solve(P,P,left",
    "triangular_solve(torch",
)  # fmt: skip
LINALG = [
    "L.inv(A)", "L.inv(B).stride()", "L.inv(R)", "L.inv(v)", "L.inv(Z)", "L.inv(torch.stack([N,Z]))", "L.inv(I)",
    "L.inv(H)", "L.det(g)", "L.det(R)", "L.det(I)", "torch.det(B)", "L.slogdet(g)", "torch.slogdet(-A)",
    "torch.logdet(A)", "torch.logdet(-A)", "L.slogdet(Z)", "L.solve(A,v)", "L.solve(A,torch.ones(3,2)).stride()",
    "L.solve(A,torch.ones(2))", "L.solve(Z,torch.ones(2))", "L.solve(R,v)", "L.solve(B,torch.ones(2,3))",
    "L.solve(B,torch.ones(2,3,1))", "L.solve(A,v.double())", "L.cholesky(A)", "L.cholesky(N)", "L.cholesky(-A)",
    "L.cholesky(torch.stack([A,-A]))", "torch.cholesky(A,upper=True)", "L.cholesky_ex(-A)", "L.cholesky(A).stride()",
    "L.cholesky(R)", "torch.cholesky_solve(torch.ones(3,1),A)", "torch.cholesky_inverse(A)", "L.qr(R)", "L.qr(R.T)",
    "L.qr(R.T,mode='complete')", "L.qr(R,mode='r')", "L.qr(R,mode='foo')", "torch.qr(R)", "L.qr(R.T)[0].stride()",
    "L.eigh(A)", "L.eigh(A)[1].stride()", "L.eigh(A,UPLO='X')", "L.eigvalsh(A)", "L.eigvals(N)",
    "torch.svd(R,some=False)[2].shape", "L.svdvals(R)", "[x.stride() for x in L.svd(R)]",
    "[x.stride() for x in torch.svd(R)]", "L.pinv(R)", "torch.pinverse(R)", "L.pinv(torch.ones(0,3)).shape",
    "L.matrix_rank(R)", "L.matrix_rank(v)", "L.matrix_power(A,3)", "L.matrix_power(A,0)", "L.matrix_power(A,-1)",
    "L.matrix_power(R,2)", "torch.matrix_exp(Z)", "L.norm(A)", "L.norm(A,2)", "L.norm(A,'nuc')", "L.norm(A,1)",
    "L.norm(v,1)", "L.norm(A,'fro')", "L.norm(v,'fro')", "L.norm(B,2)", "L.norm(B)", "L.norm(B,2,(0,1))",
    "L.norm(A,'foo')", "L.norm(A,3)", "L.norm(v,dim=0,keepdim=True)", "L.matrix_norm(A)", "L.matrix_norm(A,2)",
    "L.matrix_norm(A,-2)", "L.matrix_norm(A,float('inf'))", "L.matrix_norm(v)", "L.matrix_norm(A,'x')",
    "L.matrix_norm(A,3)", "L.matrix_norm(B,keepdim=True)", "L.matrix_norm(I)", "L.cond(A)", "L.cond(A,1)",
    "L.cond(Z)", "L.cond(A,'fro')", "L.cond(R)", "L.cond(R,1)", "L.lu(A)", "L.lu_factor(A)", "torch.lu(A)",
    "L.lu_solve(*L.lu_factor(A),torch.ones(3,1))", "torch.lu_solve(torch.ones(3,1),*L.lu_factor(A))",
    "torch.lu_unpack(*L.lu_factor(A))", "L.lu_factor(Z)", "L.lu(R)",
    "L.solve_triangular(A,torch.ones(3,1),upper=True)", "L.solve_triangular(A,v,upper=True)",
    "torch.triangular_solve(torch.ones(3,1),A)", "L.lstsq(R.T,v)", "L.lstsq(R.T,v.view(3,1))",
    "L.lstsq(R.T,v.view(3,1),driver='foo')", "L.lstsq(R,torch.ones(2,1))",
    "L.tensorinv(torch.eye(6).view(2,3,6),ind=2).shape", "L.tensorsolve(torch.eye(6).view(2,3,6),torch.ones(2,3))",
    "L.householder_product(R.T,torch.ones(2))", "L.multi_dot([A])", "L.diagonal(A)", "L.vecdot(A,A)",
    "torch.linalg.matmul(A,A).shape", "torch.cdist(A,A).shape", "torch.matrix_power(A,2).shape", "A.cholesky().shape",
    "A.det()", "A.logdet()", "A.slogdet()", "A.qr()", "A.pinverse().shape", "A.matrix_power(2).shape",
    "A.matrix_exp().shape", "torch.eig(A)", "torch.lstsq(A,A)", "torch.solve(A,A)",
    "L.eigh(torch.tensor([[1.,float('nan')],[0,1]]))", "L.svd(torch.full((2,2),float('nan')))",
    "L.eig(torch.full((2,2),float('nan')))", "L.inv(P)", "L.det(P)", "L.slogdet(P)", "torch.logdet(g)",
    "L.solve(P,v)", "L.solve(P,W)", "L.solve(P,P,left=False)", "L.cholesky(g)", "L.cholesky(g,upper=True)", "L.qr(P)",
    "L.qr(W)", "L.qr(W.T)", "L.qr(W,mode='complete')", "L.eigh(g)", "L.eigvalsh(g)", "L.eigvalsh(g,UPLO='U')",
    "L.eigvals(g)", "L.eig(P)[0].abs()", "L.eig(P)[1].abs()", "L.svdvals(W)",
    "[x.abs() for x in L.svd(W,full_matrices=False)]", "[x.abs() for x in L.svd(W.T)]",
    "[x.abs() for x in torch.svd(W)]", "L.pinv(W)", "L.pinv(W.T)", "L.matrix_power(P,3)", "L.matrix_power(P,-2)",
    "L.matrix_exp(P)", "L.norm(P)", "L.norm(P,2)", "L.norm(P,'nuc')", "L.norm(P,1)", "L.norm(P,float('inf'))",
    "L.norm(P,-1)", "L.norm(W,-2)", "L.matrix_norm(W,2)", "L.cond(P)", "L.cond(P.detach(),1)", "L.cond(P.detach(),'fro')",
    "L.cond(P,'nuc')", "L.lu(P)", "L.lu(W)", "L.lu(W.T)", "L.lu_factor(P)", "L.lu_factor(W)[0]",
    "L.lu_factor(W.T)[0]", "L.lu_solve(*L.lu_factor(P),W)", "L.lu_solve(*L.lu_factor(P),W.T,left=False)",
    "L.lu_solve(*L.lu_factor(P),W,adjoint=True)", "L.lu_solve(*L.lu_factor(P),W.T,left=False,adjoint=True)",
    "L.solve_triangular(P,W,upper=True)", "L.solve_triangular(P,W,upper=False,unitriangular=True)",
    "L.solve_triangular(P,W.T,upper=False,left=False)", "torch.triangular_solve(W,P)[0]",
    "torch.triangular_solve(W,P,transpose=True)[0]", "L.lstsq(W.T,torch.ones(4,2)).solution",
    "L.lstsq(W,torch.ones(3,2)).solution", "L.lstsq(W.T,torch.ones(4,2),driver='gelsd')",
    "L.lstsq(W.T,torch.ones(4,2),driver='gels')", "torch.cholesky_solve(W,P.detach())", "torch.cholesky_inverse(P.detach())",
    "L.tensorinv(P.view(3,3),ind=1)", "L.householder_product(W.T,v/3)", "L.inv(C)", "L.det(C)", "L.slogdet(C)",
    "L.solve(C,C[0])", "L.svdvals(C)", "L.matrix_exp(C)", "L.eigvals(C).abs()", "L.eigvalsh(C@C.mH)",
    "L.cholesky(C@C.mH+2*torch.eye(3))", "[x.abs() for x in L.qr(C)]", "L.pinv(C)", "L.det(torch.ones(2,2)*P[0,0])",
    "L.inv_ex(P)[0]", "L.vecdot(P,P)", "L.multi_dot([P,P,W])", "L.vander(v)", "L.cross(P,P*2)", "L.matrix_rank(W)",
    "L.matrix_rank(P@torch.ones(3,3))", "L.eigvals(P).real.sum()", "torch.det(torch.zeros(0,0))",
    "L.inv(torch.zeros(0,3,3)).shape", "L.svd(torch.zeros(0,3,2)).S.shape", "torch.matrix_power(P,2)", "P.inverse()",
    "P.det()", "P.pinverse()",
]  # fmt: skip


@pytest.mark.parametrize("expression", LINALG)
def test_linear_algebra(expression: str) -> None:
    check(expression, LINALG_OPERANDS, 1e-3, strides=not any(part in expression for part in LAID_OUT_OTHERWISE))


# -- Fourier transforms ----------------------------------------------------------------------------------------

FOURIER_OPERANDS: Operands = {
    "x": lambda lib: lib.arange(6.0).view(2, 3), "i": lambda lib: lib.arange(4),
    "c": lambda lib: lib.complex(lib.arange(6.0).view(2, 3), lib.arange(6.0).view(2, 3) + 1),
    "g": lambda lib: lib.arange(6.0).view(2, 3).requires_grad_(), "f": lambda lib: lib.fft, "P": leaf(ramp(20)),
    "Q": leaf(ramp(2, 4, 6)), "K": leaf(lambda lib: lib.complex(ramp(4, 6)(lib), ramp(4, 6, scale=0.3)(lib))),
}  # fmt: skip
FOURIER = [
    "f.fft(x)", "f.fft(i)", "f.ifft(x)", "f.rfft(x)", "f.irfft(c)", "f.irfft(x)", "f.hfft(c)", "f.ihfft(x)",
    "f.ihfft(c)", "f.rfft(c)", "f.fft2(x)", "f.fftn(x)", "f.fftn(x,s=(2,),dim=(0,1))", "f.fftn(x,s=(2,2))",
    "f.fftn(x,dim=(0,0))", "f.rfftn(x)", "f.irfftn(c)", "f.rfft2(x).shape", "f.irfft2(c).shape", "f.ifft2(c).shape",
    "f.hfft2(c).shape", "f.ihfft2(x).shape", "f.hfftn(c).shape", "f.ihfftn(x).shape", "f.fft(x,n=5).shape",
    "f.fft(x,n=0)", "f.fft(x,dim=3)", "f.fft(x,norm='ortho')", "f.fft(x,norm='foo')", "f.fftfreq(5)",
    "f.fftfreq(5,0.1)", "f.rfftfreq(5)", "f.fftshift(x)", "f.ifftshift(x,dim=1)", "f.fft(x.half())",
    "f.fft(x.bfloat16())", "f.fft(x.double()).dtype", "f.rfft(x,n=2).shape", "f.irfft(c,n=5).shape",
    "f.fft2(x,s=(-1,4)).shape", "f.fft2(x,dim=(0,)).shape", "f.fft(torch.tensor(1.))", "f.ifftn(x).dtype",
    "f.fft(x,2,0).stride()", "f.fft2(x).stride()", "f.rfft(x).stride()", "f.irfft(c).stride()",
    "f.fft(c.t()).stride()", "f.fft(x,-3)", "f.irfft(c,n=0)", "torch.stft(torch.arange(16.),4,return_complex=True)",
    "torch.stft(torch.arange(16.),4)", "torch.stft(torch.arange(16.),4,return_complex=False).shape",
    "torch.stft(torch.arange(16.),4,hop_length=2,win_length=3,window=torch.hann_window(3),center=False,normalized=True,onesided=False,return_complex=True)",
    "torch.stft(torch.arange(32.).view(2,16),8,hop_length=4,return_complex=True).stride()",
    "torch.stft(x,8,return_complex=True)", "torch.stft(torch.arange(16.),0,return_complex=True)",
    "torch.stft(torch.arange(16.),4,hop_length=0,return_complex=True)",
    "torch.stft(torch.arange(16.),4,win_length=5,return_complex=True)",
    "torch.stft(torch.arange(16.),4,window=torch.ones(3),return_complex=True)",
    "torch.stft(torch.arange(16),4,return_complex=True)",
    "torch.istft(torch.stft(torch.arange(16.),4,window=torch.hann_window(4),return_complex=True),4,window=torch.hann_window(4))",
    "torch.istft(torch.stft(torch.arange(16.),4,return_complex=True),4)",
    "torch.istft(torch.stft(torch.arange(16.),4,return_complex=True),4,length=10)", "torch.istft(x,4)",
    "torch.istft(c,3)",
    "torch.istft(torch.stft(torch.arange(16.),4,center=False,window=torch.hann_window(4),return_complex=True),4,center=False,window=torch.hann_window(4))",
    "torch.hann_window(5)", "torch.hann_window(5,periodic=False)", "torch.hann_window(0)", "torch.hann_window(1)",
    "torch.hann_window(-1)", "torch.hann_window(4,dtype=torch.int64)", "torch.hamming_window(5)",
    "torch.hamming_window(5,True,0.5,0.5)", "torch.blackman_window(5)", "torch.bartlett_window(5)",
    "torch.kaiser_window(5)", "torch.kaiser_window(5,False,14.0)", "torch.hann_window(5,dtype=torch.double)",
    "torch.hann_window(5,requires_grad=True)",
    "torch.stft(torch.arange(16.),4,pad_mode='constant',return_complex=True)",
    "torch.stft(torch.complex(torch.arange(16.),torch.ones(16)),4,return_complex=True).shape", "f.fft(Q)",
    "f.ifft(Q)", "f.rfft(Q)", "f.irfft(Q)", "f.hfft(Q)", "f.ihfft(Q)", "f.fft2(Q)", "f.ifft2(Q)", "f.rfft2(Q)",
    "f.irfft2(Q)", "f.hfft2(Q)", "f.ihfft2(Q)", "f.fftn(Q)", "f.ifftn(Q)", "f.rfftn(Q)", "f.irfftn(Q)", "f.hfftn(Q)",
    "f.ihfftn(Q)", "f.fft(K,norm='ortho')", "f.ifft(K,norm='ortho')", "f.irfft(K,norm='ortho')",
    "f.hfft(K,norm='ortho')", "f.fft2(K,norm='ortho')", "f.ifft2(K,norm='ortho')", "f.irfft2(K,norm='ortho')",
    "f.hfft2(K,norm='ortho')", "f.fftn(K,norm='ortho')", "f.ifftn(K,norm='ortho')", "f.irfftn(K,norm='ortho')",
    "f.hfftn(K,norm='ortho')", "f.fft(Q,n=5,dim=1,norm='forward')", "f.ifft(Q,n=5,dim=1,norm='forward')",
    "f.rfft(Q,n=5,dim=1,norm='forward')", "f.irfft(Q,n=5,dim=1,norm='forward')", "f.hfft(Q,n=5,dim=1,norm='forward')",
    "f.ihfft(Q,n=5,dim=1,norm='forward')", "f.fft2(Q,s=(3,8),norm='forward')", "f.ifft2(Q,s=(3,8),norm='forward')",
    "f.rfft2(Q,s=(3,8),norm='forward')", "f.irfft2(Q,s=(3,8),norm='forward')", "f.hfft2(Q,s=(3,8),norm='forward')",
    "f.ihfft2(Q,s=(3,8),norm='forward')", "torch.stft(P,8,4,window=torch.hann_window(8),return_complex=True)",
    "torch.stft(P,8,4,window=torch.hann_window(8),return_complex=False)",
    "torch.stft(P,8,3,6,torch.hamming_window(6),center=False,normalized=True,onesided=False,return_complex=True)",
    "torch.istft(torch.stft(P,8,2,window=torch.hann_window(8),return_complex=True),8,2,window=torch.hann_window(8))",
    "torch.istft(torch.stft(P,8,2,window=torch.hann_window(8),onesided=False,return_complex=True),8,2,window=torch.hann_window(8))",
    "torch.istft(torch.stft(P,8,2,window=torch.hann_window(8),normalized=True,return_complex=True),8,2,window=torch.hann_window(8),length=25,normalized=True)",
    "f.fftshift(f.fft(P))", "f.ifftshift(Q,dim=(0,2))", "f.rfftfreq(8,0.5)", "torch.kaiser_window(8,True,6.)",
    "torch.hann_window(8,periodic=False,dtype=torch.float64)",
]  # fmt: skip


@pytest.mark.parametrize("expression", FOURIER)
def test_fourier_transforms(expression: str) -> None:
    conjugated = "ihfft" in expression  # PyTorch keeps a flag and the layout of what is conjugated
    check(expression, FOURIER_OPERANDS, 1e-4, strides=not conjugated and "return_complex=False" not in expression)
