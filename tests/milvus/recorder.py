"""A grpc server that says it is Milvus 3.0.0, keeps the upserts and searches that it is sent, and gives the last upsert back as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from connector.milvus.describe import schema_of
from connector.schema import CollectionSpec


class Recorder(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Answers what writing and reading rows takes.

    Attributes:
        upserts: Every request, as it came over the wire.
        searches: Likewise; none of them finds anything.
    """

    def __init__(self, spec: CollectionSpec) -> None:
        self.upserts: list[Any] = []
        self.searches: list[Any] = []
        self._schema = Prepare.get_schema_from_collection_schema(spec.name, schema_of(spec))
        self._answers: dict[str, Callable[[bytes], Any]] = {
            "Connect": lambda _: milvus_pb2.ConnectResponse(identifier=1),
            "GetVersion": lambda _: milvus_pb2.GetVersionResponse(version="v3.0.0"),
            "DescribeCollection": lambda _: milvus_pb2.DescribeCollectionResponse(schema=self._schema, collection_name=spec.name),
            "Upsert": self._upsert,
            "Query": self._query,
            "Search": self._search,
        }

    def service(self, call: Any) -> Any:
        """The handler for a method."""
        answer = self._answers.get(call.method.rpartition("/")[2])
        return answer and grpc.unary_unary_rpc_method_handler(lambda data, _: answer(data).SerializeToString())

    def _upsert(self, data: bytes) -> Any:
        request = milvus_pb2.UpsertRequest.FromString(data)
        self.upserts.append(request)
        return milvus_pb2.MutationResult(upsert_cnt=request.num_rows)

    def _search(self, data: bytes) -> Any:
        self.searches.append(milvus_pb2.SearchRequest.FromString(data))
        return milvus_pb2.SearchResults(results=schema_pb2.SearchResultData(num_queries=1, top_k=0, topks=[0]))

    def _query(self, data: bytes) -> Any:
        asked = milvus_pb2.QueryRequest.FromString(data).output_fields
        columns = [column for column in self.upserts[-1].fields_data if column.field_name in asked]
        for column in columns:
            if column.WhichOneof("field") is None:  # sparse vectors of which none is there: a request says nothing then, an answer its kind
                column.vectors.SetInParent()
        return milvus_pb2.QueryResults(fields_data=columns, output_fields=asked)


@contextmanager
def recording(spec: CollectionSpec) -> Iterator[tuple[Recorder, str]]:
    """The server, and its address."""
    recorder = Recorder(spec)
    server = grpc.server(ThreadPoolExecutor(2), handlers=(recorder,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield recorder, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
