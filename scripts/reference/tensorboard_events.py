"""TensorBoard's own encoding of the events that OneBitTraining writes, and its reading of them.

    python scripts/reference/tensorboard_events.py                 # the records of MonitoringTests, in hexadecimal
    python scripts/reference/tensorboard_events.py OUTPUT/tensorboard   # tags and steps of a run, as TensorBoard shows them

tensorboard 2.21.0, protobuf 7.36.2, Python 3.11.
"""

import io
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter


def record(event):
    class Sink(io.BytesIO):
        def close(self):
            pass

    sink = Sink()
    RecordWriter(sink).write(event.SerializeToString())
    return sink.getvalue().hex()


def dump():
    scalars = [("train/loss", 2.5), ("train/grad_norm", 0.0), ("eval/perplexity", float("inf"))]
    text = TensorProto(
        dtype="DT_STRING",
        string_val=["Es war einmal …\n".encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    events = {
        "fileVersion": Event(wall_time=1.25, file_version="brain.Event:2"),
        "sessionStart": Event(wall_time=1.25, step=301, session_log=SessionLog(status=SessionLog.START)),
        "scalars": Event(
            wall_time=1.25,
            step=300,
            summary=Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]),
        ),
        "text": Event(
            wall_time=1.25,
            step=300,
            summary=Summary(value=[Summary.Value(tag="eval/sample/text_summary", metadata=plugin, tensor=text)]),
        ),
    }
    for name, event in events.items():
        print(name, record(event))


def show(directory):
    events = EventAccumulator(directory, size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    for tag in sorted(tags["scalars"]):
        print(tag, [(event.step, round(event.value, 6)) for event in events.Scalars(tag)])
    for tag in sorted(tags["tensors"]):
        print(tag, [(event.step, event.tensor_proto.string_val[0].decode()) for event in events.Tensors(tag)])


show(sys.argv[1]) if len(sys.argv) > 1 else dump()
