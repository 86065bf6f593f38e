"""Compiles a project's DAGs to Kubeflow IR YAML."""

import contextlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.config import ProjectConfig

PIPELINES = ("training", "monitoring")


def compile_pipeline(pipeline: str, config: ProjectConfig, path: Path, parameters: Mapping[str, Any]) -> None:
    """Writes the IR YAML of one DAG, with the project config and further parameters as its defaults.

    Args:
        pipeline: `training` or `monitoring`.
        config: the project.
        path: file to write; replaced whole or not at all.
        parameters: defaults of other pipeline parameters.
    """
    from kfp import compiler

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.yaml")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiler.Compiler().compile(
                _pipeline_function(pipeline),
                str(temporary),
                pipeline_name=f"{config.name.replace('_', '-')}-{pipeline}",
                pipeline_parameters={"config": config.to_json(), **parameters},
            )
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _pipeline_function(pipeline: str) -> Any:
    if pipeline == "training":
        from pipelines.training import training

        return training
    from pipelines.monitoring import monitoring

    return monitoring
