"""The error of a component that stops a run for a reason the user can act on."""


class PipelineError(RuntimeError):
    """Stops the run; the message is one line: what is wrong, where, and how to mend it."""
