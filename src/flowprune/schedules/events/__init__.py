"""When to make the first cut: immutable state machines that are shown looks, without torch."""
