"""Commands: words in, words out. Nothing here computes anything."""
