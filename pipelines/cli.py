"""The `recloop` command line."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from feature_repo.errors import RecloopError

app = typer.Typer(
    name="recloop",
    help="A recommender that a team can operate: train, release, serve and watch a retrieval and ranking funnel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Public data sets to try recloop on.", no_args_is_help=True)
app.add_typer(data, name="data")

ConfigOption = Annotated[
    str, typer.Option("--config", help="Project config: a YAML file, or the name of one that recloop ships.")
]
HomeOption = Annotated[Path, typer.Option("--home", help="Folder that holds the project's runs and releases.")]
DataOption = Annotated[
    str | None, typer.Option("--data", help="Folder or URI of the raw data, instead of the one the config names.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
UrlOption = Annotated[str, typer.Option("--url", help="Address of the gateway.")]

DEFAULT_CONFIG = "movielens"
DEFAULT_HOME = Path(".recloop")
DEFAULT_URL = "http://127.0.0.1:8080"


def main() -> None:
    """Entry point: what the user can mend is one line and exit code 2."""
    try:
        app(standalone_mode=True)
    except RecloopError as error:
        print(f"recloop: {error}", file=sys.stderr)
        sys.exit(2)


@data.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="Data set, such as movielens-100k.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder that already holds the files; nothing is downloaded then.")
    ] = None,
) -> None:
    """Fetch a data set into the cache folder, checked against its pinned digest."""
    from components.ingest.datasets import default_cache, fetch_dataset, use_folder

    cache = default_cache()
    folder = use_folder(name, source, cache) if source else fetch_dataset(name, cache, print)
    print(f"{name} is in {folder}")


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    home: HomeOption = DEFAULT_HOME,
    data_root: DataOption = None,
    warm_start: Annotated[
        str, typer.Option("--warm-start", help="Release whose weights training starts from: a version, or `stable`.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Compile the training DAG and execute it here: ingest, train, evaluate, release."""
    from pipelines.reports import print_run, run_summary
    from pipelines.runs import data_root as find_data
    from pipelines.runs import run_training

    project, place = _load(config), _home(home)
    display, report = _displays(as_json)
    folder, record = run_training(project, place, find_data(project, data_root, report), display, warm_start)
    summary = run_summary(folder, record)
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        print_run(summary)


@app.command("compile")
def compile_(
    pipeline: Annotated[str, typer.Argument(help="training or monitoring.")] = "training",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Compile a DAG to Kubeflow IR YAML, which a Kubeflow Pipelines server takes as it is."""
    from pipelines.compiling import PIPELINES, compile_pipeline

    if pipeline not in PIPELINES:
        raise RecloopError(f"there is no pipeline {pipeline!r}. Name one of: {', '.join(PIPELINES)}.")
    project = _load(config)
    path = output or Path(f"{project.name}-{pipeline}.yaml")
    compile_pipeline(pipeline, project, path, {})
    print(f"{pipeline} of project {project.name} is in {path} (config {project.digest()[:12]})")


@app.command()
def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[str, typer.Option(help="Address that the gateway listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the gateway.")] = 8080,
    model_server: Annotated[
        str | None, typer.Option("--model-server", help="host:port of a TF Serving; an embedded one is started else.")
    ] = None,
    grpc_port: Annotated[int, typer.Option(help="gRPC port of the embedded model server.")] = 8500,
    rest_port: Annotated[int, typer.Option(help="REST port of the embedded model server.")] = 8501,
) -> None:
    """Serve the stable release: the gateway, and a model server unless one is named. Ctrl-C stops both."""
    from pipelines.serving import serve_until_stopped

    serve_until_stopped(_load(config), _home(home), host, port, model_server, (grpc_port, rest_port))


@app.command()
def recommend(
    user: Annotated[str, typer.Argument(help="User id; one that is not known is served too.")],
    count: Annotated[int, typer.Option("--count", "-n", help="How many items.")] = 10,
    url: UrlOption = DEFAULT_URL,
    at: Annotated[str | None, typer.Option("--at", help="Instant of the request, ISO 8601; now when absent.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a running gateway for recommendations."""
    from pipelines.serving import ask, print_answer

    answer = ask(url, user, count, at)
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        print_answer(answer)


@app.command()
def releases(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the releases and which of them is live."""
    from pipelines.reports import list_releases, print_releases

    listed = list_releases(_home(home))
    if as_json:
        print(json.dumps(listed, indent=2))
    else:
        print_releases(listed)


@app.command()
def monitor(
    config: ConfigOption = DEFAULT_CONFIG, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False
) -> None:
    """Compile the monitoring DAG and execute it here: what was served against what the release was trained on."""
    from pipelines.reports import print_run, run_summary
    from pipelines.runs import run_monitoring

    project = _load(config)
    display, _ = _displays(as_json)
    folder, record = run_monitoring(project, _home(home), display)
    summary = run_summary(folder, record)
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        print_run(summary)


@app.command()
def demo(
    config: ConfigOption = DEFAULT_CONFIG,
    home: HomeOption = DEFAULT_HOME,
    data_root: DataOption = None,
) -> None:
    """What `make run` does: fetch, compile, run, release, serve, ask for a few users, stop."""
    from pipelines.demo import demonstrate

    demonstrate(_load(config), _home(home), data_root)


def _load(name: str) -> Any:
    from pipelines.config import load_config, shipped_configs

    return load_config(shipped_configs().get(name, name))


def _home(path: Path) -> Any:
    from pipelines.home import Home

    return Home(path)


def _displays(as_json: bool) -> tuple[Any, Any]:
    """Where steps and notes are shown: nowhere when a machine reads."""
    if as_json:
        return (lambda event, text, seconds: None), (lambda note: None)
    from pipelines.display import StepDisplay

    return StepDisplay().show, print
