"""Times two ways of doing the same in turn, so that a machine that slows down slows both."""

import time
from collections.abc import Callable
from statistics import median


def compare(
    title: str, ours: tuple[str, Callable[[], object]], baseline: tuple[str, Callable[[], object]], runs: int = 5
) -> None:
    """Prints the medians of both and the median of the ratios, pair by pair."""
    pairs = [(_seconds(ours[1]), _seconds(baseline[1])) for _ in range(runs + 1)][1:]  # the first pair warms up
    print(f"{title}, median of {runs} pairs")
    for place, (name, _) in enumerate((ours, baseline)):
        print(f"  {name:<42} {1000 * median(pair[place] for pair in pairs):10.1f} ms")
    ratios = sorted(one / other for one, other in pairs)
    print(f"  {'ratio':<42} {median(ratios):10.3f}    ({ratios[0]:.3f} to {ratios[-1]:.3f})\n")


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
