"""A release as the gateway holds it in memory."""

from dataclasses import dataclass
from pathlib import Path

from feature_repo.errors import ReleaseError
from feature_repo.spec import Feature, FeatureSpec
from serving.config import RerankConfig
from serving.index import Index, load_index
from serving.item_table import ItemTable, load_item_table
from serving.json_files import read_json
from serving.releases import ReleaseStore

_REMEDY = "Serve another release, or restore this one from a backup."


@dataclass(frozen=True)
class LiveRelease:
    """Everything of one release but its SavedModels, which the model server holds.

    Attributes:
        version: of the release; the model server is asked for exactly this one.
        spec: feature spec that its models were trained with.
        index: of the items' embeddings.
        items: the item table, row by row as in the index.
        policy: for re-ranking.
    """

    version: int
    spec: FeatureSpec
    index: Index
    items: ItemTable
    policy: RerankConfig

    @property
    def excludes_seen(self) -> bool:
        """Whether what a user has engaged with is left out."""
        chosen = self.policy.exclude_seen
        return not self.spec.repeats if chosen is None else chosen

    @property
    def seen_features(self) -> tuple[Feature, ...]:
        """User features that list what the user has engaged with and only filter."""
        return tuple(feature for feature in self.spec.user_histories() if feature.used_by == ("filter",))


def load_stable_release(releases: Path) -> LiveRelease:
    """The release that is stable.

    Raises:
        ReleaseError: when none is, or it is damaged; with the part that is.
    """
    store = ReleaseStore(releases)
    version = store.channels().stable
    if version is None:
        raise ReleaseError(f"no release is stable in {store.root}. `recloop run` trains and releases one.")
    return load_release(store, version)


def load_release(store: ReleaseStore, version: int) -> LiveRelease:
    """A release, once all its parts are found sound and fit each other.

    Raises:
        ReleaseError: naming the part that is missing, damaged or does not fit.
    """
    store.verify(version)
    spec = read_json(store.part_path(version, "feature_spec"), FeatureSpec, _REMEDY)
    policy = read_json(store.part_path(version, "rerank_policy"), RerankConfig, _REMEDY)
    items = load_item_table(store.part_path(version, "item_table"), spec, policy.max_share_by)
    index = load_index(store.part_path(version, "index"))
    if index.size != len(items.ids):
        raise ReleaseError(
            f"release {version}: the index holds {index.size} items and the item table {len(items.ids)}. {_REMEDY}"
        )
    return LiveRelease(version, spec, index, items, policy)
