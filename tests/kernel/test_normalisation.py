"""BatchNorm of lanes beside torch's in double precision."""

import pytest
import torch
import torch.nn.functional as F

from prunus.kernel import batch_norm_on_lanes


@pytest.mark.parametrize("shape", [(2, 5, 16), (3, 7, 5, 3, 16), (1, 40, 1, 9, 16)])
@pytest.mark.parametrize("threads", [1, 3])
def test_batch_norm_of_lanes_is_exact(shape: tuple[int, ...], threads: int, one_thread: None) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    lanes, weight, bias, steps = (
        20 + torch.randn(shape),
        torch.randn(shape[1]),
        torch.randn(shape[1]),
        torch.randn(shape),
    )
    leaves = [tensor.requires_grad_() for tensor in (lanes, weight, bias)]
    others = [tensor.detach().double().requires_grad_() for tensor in leaves]
    found, mean, variance = batch_norm_on_lanes(*leaves, 1e-3)
    wanted = F.batch_norm(others[0], None, None, *others[1:], training=True, eps=1e-3)
    dims = [dim for dim in range(len(shape)) if dim != 1]
    torch.testing.assert_close(mean, others[0].mean(dims).float())
    torch.testing.assert_close(variance, others[0].var(dims, correction=0).float())
    torch.testing.assert_close(found, wanted.float(), atol=1e-4, rtol=1e-4)
    gradients = zip(
        torch.autograd.grad(found, leaves, steps), torch.autograd.grad(wanted, others, steps.double()), strict=True
    )
    for one, other in gradients:
        torch.testing.assert_close(one, other.float(), atol=1e-4, rtol=1e-4)
