"""A client of stages, as somebody would write it who has stage.proto and no more.

    client.py stage.proto

Every line of standard input is a call, and is answered by a line of standard
output; both are JSON:

    {"address": "localhost:2222", "method": "Run", "timeout": 60, "request": {…}}
    {"response": {…}} or {"code": "…", "message": "…", "info": {"domain": …, "reason": …}}

Requests and responses are the messages of stage.proto in protobuf's own JSON. A call
with "cancel": true is given up once the next line comes, whatever that line says. With
"narrow": "float16" or "int8" the request's float32 tensors are sent so.
"""

import importlib
import json
import pathlib
import struct
import sys
import tempfile

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc


def generate(proto: pathlib.Path):
    """Generate the code of a proto file and import it."""
    with tempfile.TemporaryDirectory() as folder:
        code = protoc.main(["protoc", f"-I{proto.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}", proto.name])
        if code != 0:
            sys.exit(f"client.py: protoc ended with {code}")
        sys.path.insert(0, folder)
        try:
            return importlib.import_module(f"{proto.stem}_pb2"), importlib.import_module(f"{proto.stem}_pb2_grpc")
        finally:
            sys.path.remove(folder)


def failure(error: grpc.RpcError) -> dict:
    """Say what became of a call that failed."""
    answer = {"code": error.code().name, "message": error.details()}
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            answer["info"] = {"domain": info.domain, "reason": info.reason}
    return answer


def narrow(tensor, encoding: str) -> None:
    """Send a float32 tensor as float16 or int8."""
    count = len(tensor.data) // 4
    values = struct.unpack(f"<{count}f", tensor.data)
    tensor.data = b""
    if encoding == "float16":
        tensor.float16 = struct.pack(f"<{count}e", *values)
        return
    row = tensor.dims[-1] if tensor.dims else 1
    for start in range(0, count, row):
        part = values[start : start + row]
        scale = max(map(abs, part)) / 127 or 1.0
        tensor.scales += struct.pack("<f", scale)
        tensor.int8 += struct.pack(f"{row}b", *(round(v / scale) for v in part))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    messages, services = generate(pathlib.Path(sys.argv[1]))
    kinds = {"Run": messages.RunRequest, "Describe": messages.DescribeRequest}
    channels: dict[str, grpc.Channel] = {}
    for line in sys.stdin:
        call = json.loads(line)
        address = call["address"]
        if address not in channels:
            # Messages are as large as the stages allow.
            unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
            channels[address] = grpc.insecure_channel(address, options=unlimited)
        request = json_format.ParseDict(call["request"], kinds[call["method"]]())
        for tensor in request.tensors if call.get("narrow") else ():
            if tensor.dtype == 1:
                narrow(tensor, call["narrow"])
        pending = getattr(services.StageStub(channels[address]), call["method"]).future(request, timeout=call["timeout"])
        if call.get("cancel"):
            sys.stdin.readline()
            pending.cancel()
        try:
            answer = {"response": json_format.MessageToDict(pending.result(), preserving_proto_field_name=True)}
        except grpc.RpcError as error:
            answer = failure(error)
        except grpc.FutureCancelledError:
            answer = {"code": pending.code().name, "message": pending.details()}
        print(json.dumps(answer), flush=True)
    for channel in channels.values():
        channel.close()


main()
