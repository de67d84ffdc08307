"""bodydouble: one ordinary video of a person in, that person's animatable double out.

    import bodydouble as bd

    run = bd.create("clip.mp4")              # a folder with the avatar, a report, a turntable
    avatar = bd.load("clip-double")          # or an avatar.glb
    avatar.pose({"leftUpperArm": (0, 0, 1.2)}, expression="smile").render()
    avatar.play("dance").save("dance.mp4")

Importing this loads no package; each name is fetched when it is first used.
"""

__version__ = "0.1.0"

_HOMES = {
    "Avatar": "avatars",
    "Performance": "avatars",
    "Posed": "avatars",
    "Run": "runs",
    "create": "runs",
    "demo": "runs",
    "load": "avatars",
    "open_run": "runs",
}
"""Public name -> module of `bodydouble.api` that holds it. `__init__.pyi` tells type checkers the same."""

__all__ = ["Avatar", "Performance", "Posed", "Run", "__version__", "create", "demo", "load", "open_run"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'bodydouble' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"bodydouble.api.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
