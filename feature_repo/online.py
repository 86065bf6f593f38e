"""User features from Feast's online store, as a request needs them."""

import threading
from pathlib import Path
from typing import Any

from feature_repo.errors import RecloopError
from feature_repo.spec import ENTITY_KEYS, FeatureSpec
from feature_repo.store import views_of


class OnlineFeatures:
    """Reads all stored features of a user at once. Threads may share it: reads go one after another."""

    def __init__(self, repository: Path, spec: FeatureSpec):
        """Opens the Feast repository.

        Args:
            repository: folder with `feature_store.yaml`.
            spec: of the release that is served; features that the repository lacks are an error.

        Raises:
            RecloopError: when there is no repository, or it lacks a feature.
        """
        if not (repository / "feature_store.yaml").is_file():
            raise RecloopError(f"there is no feature store in {repository}. `recloop run` makes one.")
        from feast import FeatureStore

        self._store = FeatureStore(repo_path=str(repository))
        self._lock = threading.Lock()
        self._references = [
            f"{view}:{feature.name}"
            for view, (side, features) in views_of(spec).items()
            if side == "user"
            for feature in features
        ]
        registered = {
            f"{view.name}:{field.name}" for view in self._store.list_feature_views() for field in view.features
        }
        absent = [reference for reference in self._references if reference not in registered]
        if absent:
            raise RecloopError(
                f"the feature store in {repository} lacks {absent[0]}, which the release takes. "
                "Run the pipeline again, or serve a release of this feature store's config."
            )

    def user(self, user_id: str) -> dict[str, Any]:
        """Stored values by feature name; None where nothing is known of the user."""
        if not self._references:
            return {}
        key = ENTITY_KEYS["user"]
        with self._lock:
            response = self._store.get_online_features(self._references, [{key: user_id}])
        return {name: values[0] for name, values in response.to_dict().items() if name != key}
