"""Exit statuses of the `vqvae` command."""

RELEASED = 0
FAILED = 1
USAGE = 2  # also click's own, of a mistake in the arguments
NOT_BLESSED = 3  # the pipeline ended well, and its gate refused the model
STOPPED = 75  # SIGTERM, after a checkpoint: the EX_TEMPFAIL of sysexits.h, try again
INTERRUPTED = 130  # Ctrl-C, as shells count
