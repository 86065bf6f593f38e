import pytest
import yaml

from feature_repo.errors import ConfigError
from pipelines.config import ProjectConfig, load_config, shipped_configs


@pytest.fixture
def raw() -> dict:
    return yaml.safe_load(open(shipped_configs()["movielens"], encoding="utf-8"))


def refusal(tmp_path, raw: dict | str) -> str:
    path = tmp_path / "project.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_shipped_config_survives_its_json():
    config = load_config(shipped_configs()["movielens"])
    again = ProjectConfig.model_validate_json(config.to_json())
    assert again == config
    assert again.digest() == config.digest()


def test_digest_changes_with_any_value(tmp_path, raw):
    before = load_config(shipped_configs()["movielens"]).digest()
    raw["evaluate"]["recent_days"] = 12.5
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert load_config(path).digest() != before


def test_typo_in_a_required_key_names_the_typo_and_not_the_key_it_leaves_missing(tmp_path, raw):
    raw["ingest"]["positve"] = raw["ingest"].pop("positive")
    assert refusal(tmp_path, raw).startswith("unknown key `ingest.positve`. Remove it or mend its spelling.")


def test_missing_key_is_named(tmp_path, raw):
    del raw["ingest"]["users"]
    assert refusal(tmp_path, raw) == "key `ingest.users` is missing. Add it."


def test_wrong_type_names_key_and_value(tmp_path, raw):
    raw["evaluate"]["recent_days"] = "many"
    message = refusal(tmp_path, raw)
    assert message.startswith("`evaluate.recent_days`: ")
    assert message.endswith("Received: 'many'.")


def test_split_that_does_not_sum_to_one_is_refused(tmp_path, raw):
    raw["split"] = {"train": 0.8, "validation": 0.1, "test": 0.2}
    assert "must sum to 1. Received: 1.1" in refusal(tmp_path, raw)


def test_both_dataset_and_root_are_refused(tmp_path, raw):
    raw["ingest"]["root"] = "somewhere"
    assert "exactly one of `dataset` and `root`" in refusal(tmp_path, raw)


def test_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read .*--config"):
        load_config(tmp_path / "absent.yaml")


def test_text_that_is_no_yaml_is_refused_on_one_line(tmp_path):
    assert refusal(tmp_path, "a: [1,\nb: }").startswith("is not YAML:")


def test_yaml_that_is_no_mapping_is_refused(tmp_path):
    assert refusal(tmp_path, "- 1\n- 2\n") == "must be a mapping of sections. Received: list."
