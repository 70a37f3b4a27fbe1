"""How results are shown: colours, numbers and lists as words, Markdown."""
