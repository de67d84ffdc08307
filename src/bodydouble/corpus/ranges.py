"""Settings from files: numbers where numbers are meant, within what makes sense."""

from __future__ import annotations

from bodydouble.core.errors import ConfigError


def check_range(name: str, value: object, least: float, most: float, *, whole: bool = False) -> None:
    """
    Raises:
        ConfigError: When a setting is no number, or no whole one, from `least` to `most`.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"{name} must be {what} from {least:g} to {most:g}, found {value!r}.")
