"""Several machines for one training: a TrainJob or TFJob that a task starts and follows."""
