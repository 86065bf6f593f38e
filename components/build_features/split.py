"""Splits impressions by time."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.build_features.config import SplitConfig
from feature_repo.errors import DataError
from feature_repo.tables import SPLITS


def split_by_time(impressions: pa.Table, config: SplitConfig) -> dict[str, pa.Table]:
    """Cuts time-ordered impressions into train, validation and test.

    A cut falls on the first instant at or after its share of the rows, so that rows of one instant stay together.

    Args:
        impressions: with `timestamp`; any order.
        config: shares of the rows.

    Returns:
        The parts by name, each ordered by time.

    Raises:
        DataError: when a part would be empty.
    """
    ordered = impressions.sort_by([(name, "ascending") for name in ("timestamp", "user_id", "item_id")])
    times = pc.cast(ordered.column("timestamp"), pa.int64()).to_numpy()
    shares = np.cumsum([config.train, config.validation])
    cuts = [0]
    for share in shares:
        row = min(round(share * len(times)), len(times) - 1)
        cuts.append(int(np.searchsorted(times, times[row], side="left")) if len(times) else 0)
    cuts.append(len(times))
    parts = {name: ordered.slice(cuts[i], cuts[i + 1] - cuts[i]) for i, name in enumerate(SPLITS)}
    for name, part in parts.items():
        if not part.num_rows:
            raise DataError(
                f"the {name} window is empty: {len(times):,} impressions at {len(np.unique(times)):,} instants cannot "
                f"be split into {config.train:g}, {config.validation:g} and {config.test:g}. "
                "Ingest more data or mend `split`."
            )
    return parts
