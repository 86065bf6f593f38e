"""A Feast offline store on DuckDB's ASOF JOIN over Parquet.

Named in `feature_store.yaml` as `feature_repo.offline_store.AsofOfflineStore`. Unlike Feast's own file stores it keeps
rows whose entity has no feature row, with nulls, and joins a million rows in about a second.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureView, FileSource, OnDemandFeatureView
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import (
    get_expected_join_keys,
    infer_event_timestamp_from_entity_df,
)
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from feast.utils import _get_requested_feature_views_to_features_dict

from feature_repo.as_of import match_as_of, run_query


class AsofOfflineStoreConfig(FeastConfigBaseModel):
    """Section `offline_store` of `feature_store.yaml`."""

    type: Literal["feature_repo.offline_store.AsofOfflineStore"] = "feature_repo.offline_store.AsofOfflineStore"


class AsofRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        evaluate: Callable[[], pa.Table],
        full_feature_names: bool = False,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        metadata: RetrievalMetadata | None = None,
    ):
        """Takes the query and what Feast wants to know of it."""
        self._evaluate = evaluate
        self._full_feature_names = full_feature_names
        self._on_demand_feature_views = on_demand_feature_views or []
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are prefixed by their view's name."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes from this job's columns."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._evaluate().to_pandas()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._evaluate()

    def persist(
        self, storage: SavedDatasetStorage, allow_overwrite: bool | None = False, timeout: int | None = None
    ) -> None:
        """Writes the result as one Parquet file."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise ValueError(f"the ASOF offline store saves Parquet files. Received: {type(storage).__name__}")
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise FileExistsError(f"{path} exists already. Allow overwriting, or name another path.")
        pq.write_table(self.to_arrow(timeout=timeout), path)

    def supports_remote_storage_export(self) -> bool:
        """Results stay on this machine."""
        return False


class AsofOfflineStore(OfflineStore):
    """Feast's offline store interface over Parquet files, local or at any URI that pyarrow reads."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
    ) -> RetrievalJob:
        """Features as of each row's `event_timestamp`; rows keep their order, and nulls where nothing is known.

        The latest feature row counts that is not after the row, unless it is older than the view's TTL. Of feature rows
        of one instant the one created last counts.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise ValueError(f"`entity_df` must be a pandas DataFrame. Received: {type(entity_df).__name__}")
        timestamp = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
        wanted, _ = _get_requested_feature_views_to_features_dict(
            feature_refs, feature_views, registry.list_on_demand_feature_views(project)
        )
        join_keys = get_expected_join_keys(project, feature_views, registry) - {DUMMY_ENTITY_ID}
        absent = join_keys - set(entity_df.columns)
        if absent:
            raise ValueError(f"`entity_df` lacks the join keys {sorted(absent)}. Received: {list(entity_df.columns)}")

        def evaluate() -> pa.Table:
            rows = pa.Table.from_pandas(_in_utc(entity_df, timestamp), preserve_index=False)
            result = rows
            for view, features in wanted.items():
                joined = _join_view(rows, view, features, timestamp, config)
                prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
                for name in features:
                    result = result.append_column(prefix + name, joined.column(name))
            return result

        times = pd.to_datetime(entity_df[timestamp], utc=True)
        return AsofRetrievalJob(
            evaluate,
            full_feature_names,
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            RetrievalMetadata(
                features=feature_refs,
                keys=[column for column in entity_df.columns if column != timestamp],
                min_event_timestamp=times.min(),
                max_event_timestamp=times.max(),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The latest row of each entity between the dates, both included; what materialisation writes."""
        newest = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        columns = list(dict.fromkeys([*join_key_columns, *feature_name_columns, *newest]))
        order = ", ".join(f'"{name}" DESC NULLS LAST' for name in newest)
        entity = f"PARTITION BY {_listed(join_key_columns)} " if join_key_columns else ""
        # Feast stores a view without entities under a key of its own.
        dummy = "" if join_key_columns else f", '{DUMMY_ENTITY_VAL}' AS \"{DUMMY_ENTITY_ID}\""

        def evaluate() -> pa.Table:
            query = f"""
                SELECT {_listed(columns)}{dummy} FROM source WHERE "{timestamp_field}" BETWEEN ? AND ?
                QUALIFY row_number() OVER ({entity}ORDER BY {order}) = 1
            """
            found = _read(data_source, columns, config)
            return run_query(query, {"source": found}, [_utc(start_date), _utc(end_date)])

        return AsofRetrievalJob(evaluate)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """All rows between the dates, both included."""
        columns = list(dict.fromkeys([*join_key_columns, *feature_name_columns, timestamp_field]))

        def evaluate() -> pa.Table:
            query = f'SELECT {_listed(columns)} FROM source WHERE "{timestamp_field}" BETWEEN ? AND ?'
            found = _read(data_source, columns, config)
            return run_query(query, {"source": found}, [_utc(start_date), _utc(end_date)])

        return AsofRetrievalJob(evaluate)


def _join_view(
    rows: pa.Table, view: FeatureView, features: Sequence[str], timestamp: str, config: RepoConfig
) -> pa.Table:
    """[n] rows of the view's features as of each row's timestamp, in the order of `rows`."""
    source = view.batch_source
    stored = {renamed: column for column, renamed in source.field_mapping.items()}
    keys = {
        view.projection.join_key_map.get(entity.name, entity.name): stored.get(entity.name, entity.name)
        for entity in view.entity_columns
        if entity.name != DUMMY_ENTITY_ID
    }
    columns = {name: stored.get(name, name) for name in features}
    at = stored.get(source.timestamp_field, source.timestamp_field)
    created = stored.get(source.created_timestamp_column, source.created_timestamp_column) or None
    read = dict.fromkeys([*keys.values(), at, *([created] if created else []), *columns.values()])
    oldest = round(view.ttl.total_seconds() * 1e6) if view.ttl else None
    return match_as_of(rows, _read(source, list(read), config), keys, (timestamp, at), columns, created, oldest)


def _read(source: DataSource, columns: list[str], config: RepoConfig) -> pa.Table:
    if not isinstance(source, FileSource):
        raise ValueError(f"the ASOF offline store reads Parquet files. Received: {type(source).__name__}")
    uri = FileSource.get_uri_for_file_path(repo_path=config.repo_path, uri=source.path)
    filesystem, path = FileSource.create_filesystem_and_path(uri, source.s3_endpoint_override or "")
    return pq.read_table(path, columns=columns, filesystem=filesystem)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def _in_utc(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.assign(**{column: pd.to_datetime(frame[column], utc=True)})


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
