import asyncio

from airloom.runtime.metrics import Metric, MetricsServer, render


def test_the_text_is_what_prometheus_reads():
    # Text format 0.0.4 of the Prometheus documentation: HELP, TYPE, then the samples of one name together.
    text = render(
        [
            Metric("load", "gauge", 0.5, "how busy", (("host", "ue"),)),
            Metric("sent_total", "counter", 3, "", (("host", 'a"b\\c\nd'),)),
            Metric("load", "gauge", 1.0, "how busy", (("host", "gnb"),)),
        ]
    )
    assert text == (
        "# HELP airloom_load how busy\n"
        "# TYPE airloom_load gauge\n"
        'airloom_load{host="ue"} 0.5\n'
        'airloom_load{host="gnb"} 1\n'
        "# TYPE airloom_sent_total counter\n"
        'airloom_sent_total{host="a\\"b\\\\c\\nd"} 3\n'
    )


async def ask(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer.decode()


def test_the_server_answers_and_survives_nonsense():
    async def main():
        server = MetricsServer(lambda: [Metric("load", "gauge", 2.0)])
        await server.start()
        try:
            assert "405" in (await ask(server.port, b"BREW / HTTP/1.1\r\n\r\n")).split("\r\n")[0]
            assert "404" in (await ask(server.port, b"GET / HTTP/1.1\r\n\r\n")).split("\r\n")[0]
            await ask(server.port, b"x" * 20000)
            answer = await ask(server.port, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
            assert answer.startswith("HTTP/1.1 200 OK")
            assert answer.endswith("airloom_load 2\n")
        finally:
            await server.close()

    asyncio.run(main())
