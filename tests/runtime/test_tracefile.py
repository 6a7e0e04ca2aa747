import json

from airloom.core.trace import Event
from airloom.report.trace import read_trace
from airloom.runtime.tracefile import TraceWriter


def event(at_s, **rest):
    return Event(at_s=at_s, host="ue", kind="stage", **rest)


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "deep" / "ue.jsonl"
    writer = TraceWriter(path, "ue", now_s=1.0)
    sent = [event(2.0, took_s=0.5, request=3, attempt=1, data={"start": 0, "stop": 4}), event(3.0)]
    for one in sent:
        writer.write(one)
    writer.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["kind"] == "trace"
    assert lines[0]["data"]["clock"] == "monotonic"
    assert "request" not in lines[2]
    assert [e for e in read_trace(path) if e.kind == "stage"] == sent


def test_a_host_that_comes_back_begins_a_line_of_its_own(tmp_path):
    path = tmp_path / "ue.jsonl"
    path.write_bytes(b'{"at_s":1.0,"host":"ue","kind":"trace"}\n{"at_s":2.0,"ho')
    writer = TraceWriter(path, "ue", now_s=5.0)
    writer.close()
    assert [e.at_s for e in read_trace(path)] == [1.0, 5.0]
