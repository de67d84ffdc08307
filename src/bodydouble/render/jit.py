"""Where kernels of this room find the kernel compiler (it lives in core, so that other rooms can use it, too)."""

from bodydouble.core.jit import kernel, kernel_cache_dir, plain_kernels_wanted

__all__ = ["kernel", "kernel_cache_dir", "plain_kernels_wanted"]
