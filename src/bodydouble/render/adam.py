"""Adam in place on float32 tensors, one pass over memory a step (Kingma and Ba 2015; same arithmetic as torch's)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.errors import ShapeError
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.threads import kernel_threads, run_kernel

_ALONE_BELOW = 65536


@tensor_struct
class AdamMoments(TensorStruct):
    """What Adam remembers of one parameter. A value: rows are taken, added and stored like those of the parameter."""

    first: Float[Tensor, "..."]
    second: Float[Tensor, "..."]


def zero_moments(parameter: Float[Tensor, "..."]) -> AdamMoments:
    """Moments of a parameter that was never stepped."""
    zeros = torch.zeros_like(parameter, requires_grad=False, memory_format=torch.contiguous_format)
    return AdamMoments(first=zeros, second=zeros.clone())


def adam_step(
    parameter: Float[Tensor, "..."],
    gradient: Float[Tensor, "..."],
    moments: AdamMoments,
    *,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> None:
    """One step of Adam: changes `parameter` and `moments` in place.

    Args:
        parameter: Contiguous float32 on the CPU.
        gradient: Of the same shape.
        moments: Of the same shape.
        step: Counts from 1.
        lr: Learning rate.
        beta1, beta2, eps: As in the paper.
    Raises:
        ShapeError: When a tensor has another shape or type than the parameter.
    """
    from bodydouble.render.cpu import simd_works
    from bodydouble.render.optimiser_kernels import adam, adam_plain

    for name, tensor in (("gradient", gradient), ("first moment", moments.first), ("second moment", moments.second)):
        if tensor.shape != parameter.shape or tensor.dtype != torch.float32 or parameter.dtype != torch.float32:
            raise ShapeError(
                f"adam_step: the {name} must be float32 {tuple(parameter.shape)} like the parameter ({parameter.dtype}),"
                f" got {tensor.dtype} {tuple(tensor.shape)}; make moments with zero_moments(parameter)."
            )
    arrays = [_flat_in_place(t) for t in (parameter, moments.first, moments.second)]
    g = gradient.detach().contiguous().reshape(-1).numpy()
    workers = 1 if g.shape[0] < _ALONE_BELOW else kernel_threads()
    scalars = (lr / (1.0 - beta1**step), 1.0 / (1.0 - beta2**step) ** 0.5, beta1, beta2, eps)
    fast = adam if simd_works() else adam_plain
    run_kernel(fast, workers, arrays[0], g, arrays[1], arrays[2], *(np.float32(s) for s in scalars))


def _flat_in_place(tensor: Tensor) -> np.ndarray:
    if not tensor.is_contiguous():
        raise ShapeError(
            f"adam_step: tensors that are changed in place must be contiguous, got strides {tensor.stride()} for shape "
            f"{tuple(tensor.shape)}; call .contiguous() when they are made."
        )
    return tensor.detach().view(-1).numpy()
