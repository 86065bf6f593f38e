"""Which versions of which models are served, and how far each of them is."""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server.servable import SAVED_MODEL, Servable
from serving.model_server.status import failed_precondition, invalid_argument, not_found

State = get_model_status_pb2.ModelVersionStatus.State

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSource:
    """Where a model's numbered version folders lie, and which of them are served.

    Attributes:
        base: folder of the version folders.
        specific: these versions only; when absent the `latest` highest; all when that is absent too.
        labels: names that clients may use for versions.
    """

    base: Path
    specific: frozenset[int] | None = None
    latest: int | None = None
    labels: dict[str, int] = field(default_factory=dict)

    def wanted(self) -> dict[int, Path]:
        """Version folders to be served that hold a SavedModel."""
        if not self.base.is_dir():
            return {}
        found = {
            int(path.name): path
            for path in self.base.iterdir()
            if path.name.isascii() and path.name.isdecimal() and (path / SAVED_MODEL).is_file()
        }
        if self.specific is not None:
            return {version: path for version, path in found.items() if version in self.specific}
        kept = sorted(found)[-self.latest :] if self.latest else found
        return {version: found[version] for version in kept}


@dataclass
class VersionState:
    """How far one version is, and why it failed where it did."""

    state: int
    error_code: int = 0
    error_message: str = ""


class ModelCatalog:
    """Models by name and version. One thread loads and unloads; any number look up."""

    def __init__(self, root: Path | None, poll_seconds: float, versions: frozenset[int] | None = None):
        """Takes a folder of models, how often it is looked at, and which versions are served; all when absent."""
        self._versions = versions
        self._root = root
        self._poll_seconds = poll_seconds
        self._sources: dict[str, ModelSource] = {}
        self._states: dict[tuple[str, int], VersionState] = {}
        self._servables: dict[tuple[str, int], Servable] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._scanned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-loader", daemon=True)

    def start(self) -> None:
        """Begins to load."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the version that is being loaded, if any."""
        self._stopped.set()
        self._wake.set()
        self._thread.join()

    def wait_scanned(self, timeout_seconds: float) -> bool:
        """Waits until every version that was there at the start is loaded or has failed."""
        return self._scanned.wait(timeout_seconds)

    def serve(self, sources: dict[str, ModelSource]) -> None:
        """Serves these models from now on, and no others.

        Raises:
            StatusError: when a label names a version that is not available.
        """
        with self._lock:
            for name, source in sources.items():
                for version in source.labels.values():
                    state = self._states.get((name, version))
                    if state is None or state.state != State.AVAILABLE:
                        raise failed_precondition(
                            f"Request to assign label to version {version} of model {name}, "
                            "which is not currently available for inference"
                        )
            self._root = None
            self._sources = dict(sources)
        self._wake.set()

    def find(self, spec: model_pb2.ModelSpec) -> tuple[int, Servable]:
        """The version that a request means, and its model: the largest available one unless it says otherwise."""
        if not spec.name:
            raise invalid_argument("Missing ModelSpec")
        with self._lock:
            version = self._version_of(spec)
            if version is None:
                version = max((v for name, v in self._servables if name == spec.name), default=None)
                wanted = f"Latest({spec.name})"
            else:
                wanted = f"Specific({spec.name}, {version})"
            if version is None or (spec.name, version) not in self._servables:
                raise not_found(f"Servable not found for request: {wanted}")
            return version, self._servables[spec.name, version]

    def states(self, spec: model_pb2.ModelSpec) -> list[tuple[int, VersionState]]:
        """States of the version asked for, or of every version of the model, highest first."""
        if not spec.name:
            raise invalid_argument("Missing ModelSpec")
        with self._lock:
            version = self._version_of(spec)
            known = {v: state for (name, v), state in self._states.items() if name == spec.name}
        if version is not None:
            if version not in known:
                raise not_found(f"Could not find version {version} of model {spec.name}")
            return [(version, known[version])]
        if not known:
            raise not_found(f"Could not find any versions of model {spec.name}")
        return sorted(known.items(), reverse=True)

    def _version_of(self, spec: model_pb2.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return spec.version.value
        if choice == "version_label":
            source = self._sources.get(spec.name)
            if source is None or spec.version_label not in source.labels:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
            return source.labels[spec.version_label]
        return None

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                self._scan()
            except OSError as error:
                _log.warning("the model folders cannot be read: %s", error)
            self._scanned.set()
            self._wake.wait(self._poll_seconds)

    def _scan(self) -> None:
        with self._lock:
            if self._root is not None and self._root.is_dir():
                names = sorted(path.name for path in self._root.iterdir() if path.is_dir())
                shown = [name for name in names if not name.startswith(".")]
                self._sources = {name: ModelSource(self._root / name, self._versions) for name in shown}
            sources = dict(self._sources)
        wanted = {(name, v): path for name, source in sources.items() for v, path in source.wanted().items()}
        with self._lock:
            known = set(self._states)
            new = [key for key in sorted(wanted) if key not in known]
            for key in new:
                self._states[key] = VersionState(State.START)
        for key in new:
            if self._stopped.is_set():
                return
            self._load(key, wanted[key])
        self._unload(known - set(wanted))

    def _load(self, key: tuple[str, int], path: Path) -> None:
        self._set(key, VersionState(State.LOADING))
        try:
            servable = Servable(path)
        except Exception as error:
            # Whatever a SavedModel does while it is loaded is its own fault, and must not stop the server.
            _log.warning("version %d of model %s cannot be loaded: %s", key[1], key[0], error)
            self._set(key, VersionState(State.END, error_code=2, error_message=str(error)))
            return
        with self._lock:
            self._servables[key] = servable
            self._states[key] = VersionState(State.AVAILABLE)
        _log.info("version %d of model %s is available", key[1], key[0])

    def _unload(self, keys: Iterable[tuple[str, int]]) -> None:
        with self._lock:
            for key in keys:
                # Requests that hold the model finish with it; its memory goes with the last of them.
                self._servables.pop(key, None)
                self._states.pop(key, None)

    def _set(self, key: tuple[str, int], state: VersionState) -> None:
        with self._lock:
            self._states[key] = state
