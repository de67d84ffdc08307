"""Frozen dataclasses of tensors: the only values that cross the border between rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from typing_extensions import dataclass_transform

_T = TypeVar("_T", bound="TensorStruct")


class TensorStruct:
    """Base of the value types; `tensor_struct` makes its subclasses frozen, keyword-only dataclasses."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def map(self: _T, fn: Callable[[torch.Tensor], torch.Tensor]) -> _T:
        """A copy with `fn` applied to every tensor, also inside nested structs."""

        def visit(value: object) -> object:
            if isinstance(value, torch.Tensor):
                return fn(value)
            if isinstance(value, TensorStruct):
                return value.map(fn)
            return value

        changes = {f.name: visit(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return type(self)(**changes)

    def to(self: _T, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> _T:
        """A copy on `device`; floating tensors are also cast to `dtype`."""
        return self.map(lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None))

    def detach(self: _T) -> _T:
        """A copy without autograd history."""
        return self.map(lambda t: t.detach())

    def replace(self: _T, **changes: object) -> _T:
        """A copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def tensor_struct(cls: type[_T]) -> type[_T]:
    """Class decorator: make a `TensorStruct` subclass a frozen, keyword-only dataclass without `==` on tensors."""
    return dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
