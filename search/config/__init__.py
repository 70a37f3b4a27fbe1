"""A study's config: its fields, its rules, and how it is loaded."""
