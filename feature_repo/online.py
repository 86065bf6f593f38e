"""Online features of users, as the gateway reads them for each request."""

import threading
from pathlib import Path
from typing import Any

from feature_repo.errors import RecloopError
from feature_repo.spec import ENTITY_KEYS, FeatureSpec
from feature_repo.store import REGISTRY, SETTINGS, views_of


class OnlineFeatures:
    """Reads what `feature_repo.store.materialise` wrote.

    Any number of threads may share one reader: Feast holds one SQLite connection, so they take turns.
    """

    def __init__(self, repository: Path, spec: FeatureSpec):
        """Opens a repository; imports Feast, which takes seconds.

        Args:
            repository: folder that `apply_repository` made.
            spec: features that are read; those that the store does not hold yet are absent.

        Raises:
            RecloopError: there is no such repository.
        """
        for name in (SETTINGS, REGISTRY):
            # Feast makes an empty registry where there is none and then knows no user.
            if not (repository / name).is_file():
                raise RecloopError(f"{repository} is no feature store: it has no {name}. Train first: `recloop run`.")
        from feast import FeatureStore

        self._store = FeatureStore(repo_path=str(repository))
        self._lock = threading.Lock()
        self._names = [feature.name for feature in spec.stored("user")]
        held = {view.name: {field.name for field in view.features} for view in self._store.list_feature_views()}
        self._references = [
            f"{view}:{feature.name}"
            for view, (side, features) in views_of(spec).items()
            for feature in features
            if side == "user" and feature.name in held.get(view, ())
        ]
        if self._references:
            # Loads Feast's caches and opens its connection now and not during the first request.
            self.user("")

    def user(self, user_id: str) -> dict[str, Any]:
        """All stored features of a user, those that only filter too.

        Returns:
            By feature name the value as stored: str, float (float32's value), int or a list; None where absent, and
            for all features of a user that the store does not know.
        """
        values: dict[str, Any] = dict.fromkeys(self._names)
        if not self._references:
            return values
        with self._lock:
            response = self._store.get_online_features(
                features=self._references, entity_rows=[{ENTITY_KEYS["user"]: user_id}]
            )
        found = response.to_dict()
        for name in values:
            if name in found:
                values[name] = found[name][0]
        return values
