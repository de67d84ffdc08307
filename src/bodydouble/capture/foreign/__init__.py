"""Readers of captures in other people's layouts; `layouts.read_foreign` is the way in. See docs/foreign-captures.md."""
