"""What the components of the pipeline are called: in ML Metadata, in the report, on Kubeflow.

`pipeline.dag` makes them. The names are apart from it for those who need no TFX, such as the
configuration.
"""

EXAMPLE_GEN = "ImageExampleGen"
STATISTICS_GEN = "StatisticsGen"
SCHEMA_GEN = "SchemaGen"
IMPORT_SCHEMA_GEN = "ImportSchemaGen"  # instead of SchemaGen, with a curated schema
EXAMPLE_VALIDATOR = "ExampleValidator"
DATA_GATE = "DataGate"
TRANSFORM = "Transform"
TRAINERS = {"vqvae": "Trainer-vqvae", "prior": "Trainer-prior"}  # by stage
TOKENIZER = "Tokenizer"
BASELINE = "Baseline"
EVALUATOR = "Evaluator"
PUSHER = "Pusher"
REPORT = "Report"

ALL = (
    *(EXAMPLE_GEN, STATISTICS_GEN, SCHEMA_GEN, IMPORT_SCHEMA_GEN, EXAMPLE_VALIDATOR, DATA_GATE),
    *(TRANSFORM, TRAINERS["vqvae"], TOKENIZER, TRAINERS["prior"], BASELINE, EVALUATOR, PUSHER),
    REPORT,
)

# Those that read or write what no artifact shows: files of the user, the release store.
OUTSIDE = (EXAMPLE_GEN, IMPORT_SCHEMA_GEN, BASELINE, PUSHER)
