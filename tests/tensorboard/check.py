"""Compares a run's event file, as TensorBoard reads it, with its log."""

import json
import math
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

directory = sys.argv[1]
events = EventAccumulator(directory, size_guidance={"scalars": 0, "tensors": 0})
events.Reload()

as_f32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
numbers = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
expected = {}
for line in map(json.loads, open(f"{directory}/log.jsonl")):
    for name, value in line.items():
        value = numbers.get(value, value)
        if name != "step" and isinstance(value, (int, float)):
            expected.setdefault(f"{line['kind']}/{name}", []).append((line["step"], as_f32(float(value))))

tags = events.Tags()
found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
for tag, points in expected.items():
    # repr: NaN is itself here
    assert repr(found[tag]) == repr(points), (tag, found[tag], points)
assert {"settings", "notes/samples"} <= set(tags["tensors"]), tags["tensors"]
text = events.Tensors("notes/samples")[0].tensor_proto.string_val[0].decode()
assert "| Name a colour. | Blue. |" in text or "| Blue. | Name a colour. |" in text, text
print(f"{sum(map(len, found.values()))} numbers under {len(found)} tags are those of the log; texts: {tags['tensors']}")
