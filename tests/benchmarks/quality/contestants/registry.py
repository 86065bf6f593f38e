"""Every contestant by the name of its command."""

from tests.benchmarks.quality.contestants.bpr import BPR
from tests.benchmarks.quality.contestants.contestant import Contestant
from tests.benchmarks.quality.contestants.ease import EASE
from tests.benchmarks.quality.contestants.funnel import FUNNEL
from tests.benchmarks.quality.contestants.ials import IALS
from tests.benchmarks.quality.contestants.item_knn import ITEM_KNN
from tests.benchmarks.quality.contestants.light_fm import LIGHTFM
from tests.benchmarks.quality.contestants.popularity import POPULARITY, RECENT_POPULARITY
from tests.benchmarks.quality.contestants.sasrec import SASREC

CONTESTANTS: dict[str, Contestant] = {
    "popularity": POPULARITY,
    "recent_popularity": RECENT_POPULARITY,
    "item_knn": ITEM_KNN,
    "ease": EASE,
    "ials": IALS,
    "bpr": BPR,
    "lightfm": LIGHTFM,
    "sasrec": SASREC,
    "funnel": FUNNEL,
}
"""In the order of the table; the project's own last."""
