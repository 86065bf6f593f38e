"""`make bench-quality`: the project's models beside well-known ones, on the same queries."""
