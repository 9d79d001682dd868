"""The pipeline definition: what a change of configuration or code reaches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from components import versions
from pipeline import component_ids
from pipeline.code_fingerprint import code_fingerprint
from pipeline.config.config import load
from pipeline.dag import Run, create_pipeline


@pytest.fixture(scope="module")
def compiled(digits_data, tmp_path_factory):
    from tfx.dsl.compiler import compiler
    from tfx.orchestration import metadata

    folder = tmp_path_factory.mktemp("dag")
    connection = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))

    def compile_(*overrides: str, **changes: object) -> dict[str, str]:
        """Component -> all that its cache key is made of besides its inputs."""
        places = {name: str(folder / name) for name in ("pipeline_root", "checkpoints", "serving")}
        run = {"data": str(digits_data), "run_key": "", "baseline_version": 0, "push_id": "x"}
        pipeline = create_pipeline(
            load("digits", overrides), Run(**{**places, **run, **changes}), connection
        )
        nodes = compiler.Compiler().compile(pipeline).nodes
        return {
            node.pipeline_node.node_info.id: json.dumps(
                json_format.MessageToDict(node.pipeline_node.parameters), sort_keys=True
            )
            for node in nodes
        }

    return compile_


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_every_component_has_the_name_by_which_others_know_it(compiled):
    curated = compiled("data.schema_path=/schema.pbtxt")
    assert {*compiled(), *curated} == set(component_ids.ALL)
    assert len(compiled()) == len(curated) == len(component_ids.ALL) - 1


@pytest.mark.parametrize(
    ("override", "components"),
    [
        ("training.prior.steps=7", {"Trainer-prior"}),
        ("prior.layers=3", {"Trainer-prior"}),
        ("training.vqvae.steps=7", {"Trainer-vqvae"}),
        ("gate.thresholds.nmse.max=0.03", {"Evaluator"}),
        ("data.max_rejected_fraction=0.5", {"ImageExampleGen"}),
        ("data.features.image=image/encoded", {"ImageExampleGen"}),
        ("data.transform_batch_size=7", {"Transform"}),
        ("model.encoder.residual_blocks=1", {"Trainer-vqvae", "Trainer-prior"}),
        ("training.seed=1", {"Trainer-vqvae", "Trainer-prior"}),
    ],
)
def test_a_setting_reaches_the_components_that_it_concerns(compiled, override, components):
    # The whole configuration stands in the release and in the report.
    assert changed(compiled(), compiled(override)) == components | {"Pusher", "Report"}


def test_a_new_baseline_concerns_what_compares(compiled):
    assert changed(compiled(), compiled(baseline_version=3)) == {"Baseline", "Pusher"}


def test_a_curated_schema_takes_the_place_of_the_inferred_one(compiled, tmp_path):
    names = set(compiled(f"data.schema_path={tmp_path}/schema.pbtxt"))
    assert "ImportSchemaGen" in names
    assert "SchemaGen" not in names


def test_an_edit_of_the_curated_schema_imports_it_again(compiled, tmp_path):
    schema = tmp_path / "schema.pbtxt"
    schema.write_text("feature { name: 'image' type: BYTES }")
    before = compiled(f"data.schema_path={schema}")
    assert compiled(f"data.schema_path={schema}") == before
    schema.write_text("feature { name: 'picture' type: BYTES }")
    assert "ImportSchemaGen" in changed(before, compiled(f"data.schema_path={schema}"))


@pytest.fixture
def sources(tmp_path, monkeypatch) -> Path:
    """A copy of our packages that may be edited."""
    import shutil

    root = Path(versions.__file__).parent.parent
    for package in ("models", "components", "pipeline"):
        shutil.copytree(root / package, tmp_path / package)
    monkeypatch.setattr(versions, "_ROOT", tmp_path)
    versions._imports.cache_clear()
    yield tmp_path
    versions._imports.cache_clear()


def test_an_edit_changes_the_fingerprints_of_what_imports_it(sources):
    modules = (
        "components.trainer.vqvae",
        "components.trainer.prior",
        "components.tokenizer.executor",
    )
    before = [versions.code_version(module) for module in modules]
    whole = code_fingerprint()
    prior = sources / "components" / "trainer" / "prior.py"
    prior.write_text(prior.read_text() + "\n# edited\n")
    after = [versions.code_version(module) for module in modules]
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]
    assert code_fingerprint() != whole


def test_an_edit_of_the_report_reruns_nothing_but_the_report(sources):
    whole, own = code_fingerprint(), versions.code_version("pipeline.report.executor")
    render = sources / "pipeline" / "report" / "render.py"
    render.write_text(render.read_text() + "\n# edited\n")
    assert code_fingerprint() == whole
    assert versions.code_version("pipeline.report.executor") != own
