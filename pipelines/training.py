"""The training DAG: from raw data to a release."""

from kfp import dsl

from components.build_features.component import build_features
from components.build_index.component import build_index
from components.evaluate.component import evaluate
from components.ingest.component import ingest
from components.push.component import push
from components.train_ranker.component import train_ranker
from components.train_retrieval.component import train_retrieval
from components.validate.component import validate


@dsl.pipeline(name="recloop-training", description="Trains, evaluates and releases a retrieval and ranking funnel.")
def training(
    config: str,
    data_root: str,
    feature_store: str,
    release_store: str,
    run_id: str,
    code_revision: str,
    warm_start: str = "",
) -> None:
    """Reads like the diagram in the README.

    Args:
        config: the project config as JSON.
        data_root: folder or URI of the raw data.
        feature_store: folder of the Feast repository.
        release_store: folder of the release store.
        run_id: of this run; part of the release's lineage.
        code_revision: of the code that runs; part of the release's lineage.
        warm_start: version of the release whose weights training starts from, or `stable`; from nothing when empty.
    """
    raw = ingest(config=config, data_root=data_root)
    tables = {name: raw.outputs[name] for name in ("events", "impressions", "users", "items")}

    valid = validate(config=config, **tables)
    features = build_features(config=config, feature_store=feature_store, **tables).after(valid)
    examples, item_features = features.outputs["examples"], features.outputs["item_features"]

    start = {"release_store": release_store, "warm_start": warm_start}
    retrieval = train_retrieval(config=config, **start, examples=examples, item_features=item_features)
    towers = {name: retrieval.outputs[name] for name in ("user_tower", "item_tower")}
    catalogue = build_index(
        config=config,
        item_tower=towers["item_tower"],
        items=tables["items"],
        events=tables["events"],
        item_features=item_features,
    )
    ranking = train_ranker(config=config, examples=examples, item_features=item_features, **towers)

    evaluation = evaluate(
        config=config,
        release_store=release_store,
        examples=examples,
        events=tables["events"],
        item_features=item_features,
        ranker=ranking.outputs["ranker"],
        **towers,
    )
    push(
        config=config,
        release_store=release_store,
        run_id=run_id,
        code_revision=code_revision,
        warm_start=warm_start,
        verdict=evaluation.outputs["verdict"],
        ranker=ranking.outputs["ranker"],
        **towers,
        index=catalogue.outputs["index"],
        item_table=catalogue.outputs["item_table"],
        training_schema=features.outputs["training_schema"],
        training_statistics=features.outputs["training_statistics"],
    )
