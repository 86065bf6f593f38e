import json

import pytest
from kfp import dsl, local

from components.train_ranker.component import train_ranker
from components.train_retrieval.component import train_retrieval
from tests.trainer.tiny_tables import SPEC, write_tables
from trainer.scoring import ExportedModel

CONFIG = json.dumps(
    {
        "features": SPEC.model_dump(mode="json"),
        "retrieval": {"embedding_dimension": 4, "hidden_units": [8], "epochs": 1, "batch_size": 8},
        "ranking": {"embedding_dimension": 4, "hidden_units": [8], "epochs": 1, "batch_size": 16},
    }
)


@pytest.mark.slow
def test_training_steps_run_one_after_the_other_in_a_pipeline(tmp_path):
    examples, item_features = write_tables(tmp_path)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"))

    start = {"release_store": str(tmp_path / "releases"), "warm_start": ""}

    @dsl.pipeline(name="training-steps")
    def pipeline(config: str, examples: str, item_features: str) -> None:
        rows = dsl.importer(artifact_uri=examples, artifact_class=dsl.Dataset)
        items = dsl.importer(artifact_uri=item_features, artifact_class=dsl.Dataset)
        retrieval = train_retrieval(config=config, **start, examples=rows.output, item_features=items.output)
        train_ranker(
            config=config,
            **start,
            examples=rows.output,
            item_features=items.output,
            user_tower=retrieval.outputs["user_tower"],
            item_tower=retrieval.outputs["item_tower"],
        )

    pipeline(config=CONFIG, examples=str(examples), item_features=str(item_features))
    outputs = {path.name: path for path in (tmp_path / "runs").rglob("*") if (path / "saved_model.pb").exists()}
    assert set(outputs) == {"user_tower", "item_tower", "ranker"}
    assert "embedding" in ExportedModel(outputs["item_tower"])._function.structured_outputs
