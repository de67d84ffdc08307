"""Linear algebra of a sequence: dense blocks on the diagonal, time couplings beside it, a border of shared unknowns.

[ H   B ] [x]   [g]      H: one block per frame, coupled over two frames by smoothness (banded)
[ B^T S ] [y] = [h]      y: what all frames share (shape, focal length, landmark offsets)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Stencil:
    """Smoothness over time as a quadratic form: shared coefficients per frame, one factor per unknown.

    The penalty on an unknown x(t) is the integral of x'' squared times `accel` plus that of x' squared times `speed`,
    so it means the same at any frame rate, even or uneven.
    """

    step_s: Float[np.ndarray, " gaps"]
    accel: Float[np.ndarray, " unknowns"]
    speed: Float[np.ndarray, " unknowns"]

    def gradient(self, gaps: Float[np.ndarray, "gaps unknowns"]) -> Float[np.ndarray, "frames unknowns"]:
        """Gradient of half the penalty, from the differences between neighbouring frames."""
        pull = self.speed * gaps / self.step_s[:, None]
        if len(gaps) > 1:
            middle, rate = self._middle(), gaps / self.step_s[:, None]
            bend = (rate[1:] - rate[:-1]) / middle[:, None] * self.accel
            pull[1:] += bend / self.step_s[1:, None]
            pull[:-1] -= bend / self.step_s[:-1, None]
        out = np.zeros((len(gaps) + 1, gaps.shape[1]))
        out[1:] += pull
        out[:-1] -= pull
        return out

    def value(self, gaps: Float[np.ndarray, "gaps unknowns"]) -> float:
        """Half the penalty."""
        total = 0.5 * float((self.speed * gaps**2 / self.step_s[:, None]).sum())
        if len(gaps) > 1:
            rate = gaps / self.step_s[:, None]
            total += 0.5 * float((self.accel * (rate[1:] - rate[:-1]) ** 2 / self._middle()[:, None]).sum())
        return total

    def bands(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Second derivative: [frames, unknowns] diagonal, and the couplings to one and to two frames later."""
        frames, size = len(self.step_s) + 1, len(self.accel)
        main, one, two = (np.zeros((frames, size)) for _ in range(3))
        stiff = self.speed / self.step_s[:, None]
        main[1:] += stiff
        main[:-1] += stiff
        one[:-1] -= stiff
        if frames > 2:
            inv, middle = 1.0 / self.step_s, self._middle()
            a, c = inv[:-1], inv[1:]
            b = -(a + c)
            for target, rows, value in (
                (main, slice(0, -2), a * a), (main, slice(1, -1), b * b), (main, slice(2, None), c * c),
                (one, slice(0, -2), a * b), (one, slice(1, -1), b * c), (two, slice(0, -2), a * c),
            ):  # fmt: skip
                target[rows] += (value / middle)[:, None] * self.accel
        return main, one, two

    def _middle(self) -> np.ndarray:
        return 0.5 * (self.step_s[1:] + self.step_s[:-1])


def solve_bordered(
    blocks: Float[np.ndarray, "frames unknowns unknowns"],
    gradient: Float[np.ndarray, "frames unknowns"],
    stencil: Stencil,
    border: Float[np.ndarray, "frames unknowns shared"],
    shared_block: Float[np.ndarray, "shared shared"],
    shared_gradient: Float[np.ndarray, " shared"],
) -> tuple[Float[np.ndarray, "frames unknowns"], Float[np.ndarray, " shared"], Float[np.ndarray, "shared shared"]]:
    """Solve the bordered system; `gradient` and `shared_gradient` are right-hand sides (negative gradients).

    Args:
        blocks: Symmetric positive definite block of each frame, without smoothness.
        stencil: Smoothness, added here.
    Returns:
        Steps of the frames' unknowns and of the shared ones, and the shared unknowns' precision matrix (all frames'
        unknowns marginalised).
    """
    from scipy.linalg import cho_factor, cho_solve

    shared = border.shape[-1]
    factor = _Factor(blocks, stencil)
    solved = factor.solve(np.concatenate([gradient[..., None], border], axis=-1))
    if shared == 0:
        return solved[..., 0], np.zeros(0), np.zeros((0, 0))
    flat, answers = border.reshape(-1, shared), solved.reshape(-1, shared + 1)
    precision = shared_block - flat.T @ answers[:, 1:]
    y = cho_solve(cho_factor(precision), shared_gradient - flat.T @ answers[:, 0])
    return (answers[:, 0] - answers[:, 1:] @ y).reshape(gradient.shape), y, precision


class _Factor:
    """Block Cholesky factor of the frames' part: per frame a triangle, and its couplings to the two frames before.

    The couplings between frames start as diagonal matrices, so most of the elimination is scaling of rows.
    """

    def __init__(self, blocks: np.ndarray, stencil: Stencil) -> None:
        from scipy.linalg.lapack import dpotrf, dtrtri

        frames, size = blocks.shape[:2]
        main, one, two = stencil.bands() if frames > 1 else (np.zeros((1, size)),) * 3
        self.inverse = np.zeros((frames, size, size))
        self.to_one, self.to_two = np.zeros_like(self.inverse), np.zeros_like(self.inverse)
        index = np.arange(size)
        for f in range(frames):
            block = blocks[f].copy()
            block[index, index] += main[f]
            if f > 1:
                self.to_two[f] = two[f - 2][:, None] * self.inverse[f - 2].T
                block -= self.to_two[f] @ self.to_two[f].T
            if f > 0:
                left = np.diag(one[f - 1]) - self.to_two[f] @ self.to_one[f - 1].T if f > 1 else np.diag(one[f - 1])
                self.to_one[f] = left @ self.inverse[f - 1].T
                block -= self.to_one[f] @ self.to_one[f].T
            triangle, failed = dpotrf(block, lower=1, clean=1)
            if failed:
                raise np.linalg.LinAlgError(f"frame {f}: the normal equations are not positive definite")
            self.inverse[f] = dtrtri(triangle, lower=1)[0]

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Solutions for right-hand sides [frames, unknowns, columns]."""
        frames = len(right)
        out = np.empty_like(right)
        for f in range(frames):
            value = right[f]
            if f > 0:
                value = value - self.to_one[f] @ out[f - 1]
            if f > 1:
                value = value - self.to_two[f] @ out[f - 2]
            out[f] = self.inverse[f] @ value
        for f in range(frames - 1, -1, -1):
            value = out[f]
            if f + 1 < frames:
                value = value - self.to_one[f + 1].T @ out[f + 1]
            if f + 2 < frames:
                value = value - self.to_two[f + 2].T @ out[f + 2]
            out[f] = self.inverse[f].T @ value
        return out
