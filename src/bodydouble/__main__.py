"""`python -m bodydouble` is the `bodydouble` command."""

from bodydouble.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
