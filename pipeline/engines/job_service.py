"""Any service with Beam's job API: whether it is there, and its jobs of a name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from components.errors import PipelineError

_ANSWER_SECONDS = 30.0
_NAME = "beam:option:job_name:v1"
_State = beam_job_api_pb2.JobState
_ENDED = {_State.DONE, _State.FAILED, _State.CANCELLED, _State.DRAINED, _State.CANCELLING}


class JobService:
    """The service at HOST:PORT."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def check(self) -> None:
        """Does nothing if it answers.

        Raises:
            PipelineError: it does not.
        """
        with self._stub() as stub:
            stub.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=_ANSWER_SECONDS)

    def cancel(self, name: str) -> int:
        """Asks the service to cancel all jobs of a name.

        Returns:
            how many there were.
        """
        with self._stub() as stub:
            found = stub.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=_ANSWER_SECONDS)
            # Python calls every job `job`; the name that was given is among the options.
            running = [
                job.job_id
                for job in found.job_info
                if job.state not in _ENDED
                and job.pipeline_options.fields[_NAME].string_value == name
            ]
            for job in running:
                request = beam_job_api_pb2.CancelJobRequest(job_id=job)
                stub.Cancel(request, timeout=_ANSWER_SECONDS)
        return len(running)

    @contextlib.contextmanager
    def _stub(self) -> Iterator[beam_job_api_pb2_grpc.JobServiceStub]:
        with grpc.insecure_channel(self._endpoint) as channel:
            try:
                yield beam_job_api_pb2_grpc.JobServiceStub(channel)
            except grpc.RpcError as error:
                code = error.code().name.lower().replace("_", " ")
                raise PipelineError(
                    f"beam.portable.job_endpoint: no job service of Beam answers at "
                    f"{self._endpoint} ({code}); start it, or correct the address"
                ) from error
