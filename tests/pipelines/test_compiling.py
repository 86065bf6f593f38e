"""The compiled DAGs, held against golden files. `make golden` writes them anew after an intended change."""

from pathlib import Path

import pytest
import yaml
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compiling import PIPELINES, compile_pipeline
from pipelines.config import ProjectConfig, load_config, shipped_configs

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compiled")
    return {pipeline: write(pipeline, folder) for pipeline in PIPELINES}


def write(pipeline: str, folder: Path) -> Path:
    path = folder / f"{pipeline}.yaml"
    compile_pipeline(pipeline, load_config(shipped_configs()["movielens"]), path, {})
    return path


def without_sdk_version(path: Path) -> str:
    return "".join(line for line in path.open(encoding="utf-8") if not line.startswith("sdkVersion:"))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_compiled_pipeline_is_the_golden_one(compiled, pipeline):
    assert without_sdk_version(compiled[pipeline]) == (GOLDEN / f"{pipeline}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_compiled_pipeline_loads_in_the_sdk(compiled, pipeline):
    loaded = components.load_component_from_file(str(compiled[pipeline]))
    assert isinstance(loaded.pipeline_spec, pipeline_spec_pb2.PipelineSpec)
    assert loaded.pipeline_spec.pipeline_info.name == f"movielens-{pipeline}"


def test_compiled_pipeline_carries_the_whole_config(compiled):
    inputs = yaml.safe_load(compiled["training"].read_text())["root"]["inputDefinitions"]["parameters"]
    carried = ProjectConfig.model_validate_json(inputs["config"]["defaultValue"])
    assert carried == load_config(shipped_configs()["movielens"])


def test_steps_depend_on_each_other_as_the_diagram_says(compiled):
    tasks = yaml.safe_load(compiled["training"].read_text())["root"]["dag"]["tasks"]
    assert {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()} == {
        "ingest": set(),
        "validate": {"ingest"},
        "build-features": {"ingest", "validate"},
        "train-retrieval": {"build-features"},
        "build-index": {"build-features", "ingest", "train-retrieval"},
        "train-ranker": {"build-features", "train-retrieval"},
        "evaluate": {"build-features", "ingest", "train-ranker", "train-retrieval"},
        "push": {"build-features", "build-index", "evaluate", "train-ranker", "train-retrieval"},
    }


def test_no_step_installs_anything_when_it_starts(compiled):
    for path in compiled.values():
        assert "pip install" not in path.read_text(encoding="utf-8")


def test_failed_compilation_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "training.yaml"
    path.write_text("old")
    config = load_config(shipped_configs()["movielens"])
    with pytest.raises(ValueError, match="Pipeline parameter"):
        compile_pipeline("training", config, path, {"no_such_parameter": 1})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["training.yaml"]


if __name__ == "__main__":
    for name in PIPELINES:
        made = write(name, GOLDEN)
        made.write_text(without_sdk_version(made), encoding="utf-8")
