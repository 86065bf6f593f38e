"""Items that a user might have been shown and was not."""

import numpy as np

from feature_repo.spec import Feature, FeatureSpec
from trainer.candidates import top_k
from trainer.catalogue import Catalogue
from trainer.engagements import Engagements
from trainer.examples import Examples
from trainer.scoring import Towers

SLICES = 8
"""How often items are embedded anew within the rows that are drawn for together."""

POOL = 4096
"""Items that are scored for each row; drawn from a catalogue that is larger."""

ROWS_AT_ONCE = 1024


def sample_negatives(
    user_ids: np.ndarray,
    instants: np.ndarray,
    item_counts: np.ndarray,
    engagements: Engagements,
    per_row: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws items of the catalogue for each row.

    Half of the draws are uniform, as most of what a ranker is handed is obscure; half go by the square root of
    popularity, as those decide the top of the list.

    Args:
        user_ids: [n].
        instants: [n] int64 unix microseconds.
        item_counts: [m] training rows of each item of the catalogue.
        engagements: of the users; what a user had engaged with by the instant is no negative.
        per_row: draws for each row.
        generator: of the draws.

    Returns:
        codes [n, per_row] of items, and [n, per_row] bool: False for a draw that may not be used.
    """
    shape = (len(user_ids), per_row)
    size = len(item_counts)
    share = np.sqrt(item_counts + 1.0)
    popular = np.searchsorted(np.cumsum(share / share.sum()), generator.random(shape))
    codes = np.where(generator.random(shape) < 0.5, generator.integers(0, size, shape), np.minimum(popular, size - 1))
    return codes, ~engagements.includes(user_ids, codes, instants)


class RetrievedNegatives:
    """Draws items from what retrieval would hand on, with features as of about the instant of each row.

    Retrieval gave these a high score, and the user went for none of them then: of all items that the ranker will be
    handed they are the hardest to tell from the right ones. Drawn alone, they would teach it that a high retrieval
    score is a bad sign.

    Args:
        spec: the feature spec.
        catalogue: of m items, with the features that retrieval takes.
        towers: the retrieval model.
        engagements: of the users; what a user had engaged with is not retrieved where items are consumed once.
        depth: how many of the best are drawn from; as many of a pool as its share of the catalogue.
    """

    def __init__(
        self, spec: FeatureSpec, catalogue: Catalogue, towers: Towers, engagements: Engagements, depth: int
    ) -> None:
        self._query_features, self._item_features = spec.request_inputs("retrieval"), spec.inputs("item", "retrieval")
        self._catalogue, self._towers, self._engagements = catalogue, towers, engagements
        self._depth, self._repeats = depth, spec.repeats

    def draw(self, rows: Examples, per_row: int, generator: np.random.Generator) -> np.ndarray:
        """Draws for some rows.

        Args:
            rows: n rows in the order of time, with the request features of retrieval.
            per_row: draws for each.
            generator: of the draws.

        Returns:
            [n, per_row] codes; -1 where retrieval had less to give.
        """
        drawn = np.full((len(rows), per_row), -1, np.int64)
        size = len(self._catalogue)
        pool = np.arange(size) if size <= POOL else np.sort(generator.choice(size, POOL, replace=False))
        depth = max(per_row, round(self._depth * len(pool) / size))
        queries = self._towers.embed_queries(rows.arrays(self._query_features), rows.seconds)
        attributes = {f.name: self._catalogue.attribute_arrays[f.name][pool] for f in self._held}
        for slice_rows in np.array_split(np.arange(len(rows)), SLICES):
            if not len(slice_rows):
                continue
            at = np.full(len(pool), rows.instants[slice_rows[0]])
            items = self._towers.embed_items(attributes | self._catalogue.dynamic_at(pool, at))
            for start in range(0, len(slice_rows), ROWS_AT_ONCE):
                some = slice_rows[start : start + ROWS_AT_ONCE]
                scores = queries[some] @ items.T
                if not self._repeats:
                    seen_rows, seen_items = self._engagements.before(rows.user_ids[some], rows.instants[some])
                    places = np.minimum(np.searchsorted(pool, seen_items), len(pool) - 1)
                    held = pool[places] == seen_items
                    scores[seen_rows[held], places[held]] = -np.inf
                best = top_k(scores, depth)
                picks = generator.integers(0, best.shape[1], (len(some), per_row))
                chosen = np.take_along_axis(best, picks, axis=1)
                fits = np.isfinite(np.take_along_axis(scores, chosen, axis=1))
                drawn[some] = np.where(fits, pool[chosen], -1)
        return drawn

    @property
    def _held(self) -> tuple[Feature, ...]:
        return tuple(f for f in self._catalogue.attributes if f in self._item_features)
