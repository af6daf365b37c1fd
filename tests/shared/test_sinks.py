"""Sinks: what may be called, what never is, and that any answer, or none, ends in time."""

import asyncio
import datetime as time
import ssl
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from deploy.embedded import LOOPBACK, free_port
from shared.errors import Invalid
from shared.settings import Settings
from shared.webhooks.sinks import MOST_READ, Answer, Sinks, may_be_called, must_be_sink
from tests.receiver import Behaviour, Receiver, answering, receiving, saying, written

INSIDE = "not out in the world"


def settings(**more: object) -> Settings:
    return Settings(database_url=SecretStr("postgresql+asyncpg://nobody@127.0.0.1/nothing"), **more)  # type: ignore[arg-type]


LOCAL = {"webhook_allow_http": True, "webhook_allow_private": True, "webhook_timeout_seconds": 1}


def naming(*addresses: str) -> Callable[[str, int], "asyncio.Future[list[str]]"]:
    """A name server that gives these, whatever the name."""

    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve  # type: ignore[return-value]


@pytest_asyncio.fixture(loop_scope="session")
async def sink() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


# --- which addresses are out in the world -----------------------------------------------------------------------

OUTSIDE = ("93.184.215.14", "8.8.8.8", "2001:4860:4860::8888", "2a01:7c8::1")
PRIVATE = ("10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1", "fc00::1", "fd00:ec2::254", "127.0.0.1", "::1")
NEVER = (
    "0.0.0.0",
    "169.254.169.254",
    "fe80::1",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:93.184.215.14",
    "::127.0.0.1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "168.63.129.16",
    "100.64.0.1",
)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_out_in_the_world_may_be_called(address: str) -> None:
    assert may_be_called(ip_address(address), allow_private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_may_be_called_only_where_that_is_allowed(address: str) -> None:
    assert not may_be_called(ip_address(address), allow_private=False)
    assert may_be_called(ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_called_by_nobody(address: str) -> None:
    assert not may_be_called(ip_address(address), allow_private=False)
    assert not may_be_called(ip_address(address), allow_private=True)


# --- hostile addresses ------------------------------------------------------------------------------------------

HOSTILE = [
    "http://events.example.org/",
    "HTTP://events.example.org/",
    "ftp://events.example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:5432/_x",
    "javascript:alert(1)",
    "//events.example.org/",
    "events.example.org",
    "https://",
    "https:///path",
    "https://:443/",
    "https://name:secret@events.example.org/",
    "https://name@events.example.org/",
    "https://@events.example.org/",
    "https://events.example.org@127.0.0.1/",
    "https://events.example.org/#fragment",
    "https://events.example.org:0/",
    "https://events.example.org:99999/",
    "https://events.example.org:port/",
    "https://events.example.org\\@127.0.0.1/",
    "https://events.example.org/\r\nHost: inside",
    "https://events.example.org/ HTTP/1.1",
    "https://events.example.org/\x00",
    "https://\u0435vents.example.org/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.0.1./",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://10.0.0.1/",
    "https://192.168.1.1:8443/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.100.100.200/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fd00:ec2::254]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://localhost/",
    "https://localhost:5432/",
    "https://postgres/",
    "https://-bad.example.org/",
    "https://bad..example.org/",
    f"https://{'a' * 64}.example.org/",
    f"https://{'a.' * 130}org/",
    f"https://events.example.org/{'a' * 1000}",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_address_is_refused_as_a_sink_with_a_sentence(url: str) -> None:
    with pytest.raises(Invalid, match=r"sink|name and password") as refused:
        must_be_sink(url, settings())
    assert refused.value.field == "/sink"


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_address_that_got_past_is_not_called_either(url: str) -> None:
    """The guard at the connection stands alone: whatever a check of the text may miss, nothing inside is reached."""
    sinks = Sinks(settings(webhook_timeout_seconds=1), naming_inside)
    answer = await sinks.call("POST", url, {}, b"{}")
    await sinks.close()
    assert answer.status is None and answer.problem
    assert "No connection" not in answer.problem and "within" not in answer.problem, "it was tried"


async def naming_inside(host: str, port: int) -> list[str]:
    """Names lead inside; numbers, in whatever notation, are read by the system itself."""
    if any(letter.isalpha() for letter in host.replace("0x", "")):
        return ["127.0.0.1"]
    found = await asyncio.get_running_loop().getaddrinfo(host, port)
    return [str(address[0]) for *_, address in found]


@pytest.mark.parametrize(
    "url",
    [
        "https://events.example.org/",
        "https://events.example.org:8443/kapstok?for=us&token=x",
        "https://xn--bcher-kva.example/",
        "https://a_b.example.org./x",
        "https://93.184.215.14/",
        "https://[2a01:7c8::1]:8443/",
    ],
)
def test_an_address_out_in_the_world_is_taken(url: str) -> None:
    must_be_sink(url, settings())


@pytest.mark.parametrize("spelt", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0"])
async def test_however_this_machine_is_spelt_it_is_not_called(spelt: str, sink: Receiver) -> None:
    """With the system's own resolver, and somebody listening there."""
    sinks = Sinks(settings(webhook_allow_http=True, webhook_timeout_seconds=3))
    answer = await sinks.call("POST", f"http://{spelt}:{sink.port}/", {}, b"{}")
    await sinks.close()
    assert answer.status is None and INSIDE in str(answer.problem)
    assert sink.got == []


async def test_a_name_with_one_address_inside_is_not_called_at_all(sink: Receiver) -> None:
    sinks = Sinks(settings(webhook_allow_http=True), naming("93.184.215.14", LOOPBACK))
    answer = await sinks.call("POST", f"http://events.example.org:{sink.port}/", {}, b"{}")
    await sinks.close()
    assert INSIDE in str(answer.problem)
    assert sink.got == []


async def test_a_name_is_asked_once_and_what_it_says_a_moment_later_does_not_matter(sink: Receiver) -> None:
    """DNS rebinding: the address that was checked is the one that is called."""
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return [LOOPBACK] if len(asked) == 1 else ["169.254.169.254"]

    sinks = Sinks(settings(**LOCAL), rebinding)
    url = f"http://events.example.org:{sink.port}/kapstok?a=1"
    assert (await sinks.call("POST", url, {}, b"{}")).status == 204
    assert asked == ["events.example.org"]
    assert sink.got[0].headers["host"] == f"events.example.org:{sink.port}"
    assert sink.got[0].path == "/kapstok?a=1"
    assert INSIDE in str((await sinks.call("POST", url, {}, b"{}")).problem), "the second time it leads elsewhere"
    assert len(sink.got) == 1
    await sinks.close()


async def test_the_next_address_is_tried_when_one_does_not_answer(sink: Receiver) -> None:
    sinks = Sinks(settings(**LOCAL), naming("127.0.0.9", LOOPBACK))
    assert (await sinks.call("POST", f"http://events.example.org:{sink.port}/", {}, b"{}")).status == 204
    await sinks.close()


async def test_a_redirect_is_an_answer_and_is_not_followed(sink: Receiver) -> None:
    async with receiving() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            sink.script = [answering(status, {"Location": elsewhere.url})]
            sinks = Sinks(settings(**LOCAL))
            assert (await sinks.call("POST", sink.url, {}, b"{}")).status == status
            await sinks.close()
        assert elsewhere.got == []


async def test_proxies_of_the_environment_are_not_used(sink: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{LOOPBACK}:{proxy.port}")
        sinks = Sinks(settings(**LOCAL))
        assert (await sinks.call("POST", sink.url, {}, b"{}")).status == 204
        await sinks.close()
        assert proxy.got == []


# --- TLS --------------------------------------------------------------------------------------------------------


def certificates(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """An authority of our own, and a server's side with its certificate for a name."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = time.datetime.now(time.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - time.timedelta(days=1))
        .not_valid_after(now + time.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(public, private)
    return public, server


async def test_tls_is_spoken_with_the_name_although_the_connection_goes_to_an_address(tmp_path: Path) -> None:
    public, server = certificates(tmp_path, "events.example.org")
    names = []
    server.sni_callback = lambda socket, name, context: names.append(name)
    given = settings(webhook_allow_private=True, webhook_ca_file=public)
    async with receiving(tls=server) as sink:
        sinks = Sinks(given, naming(LOOPBACK))
        answer = await sinks.call("POST", f"https://events.example.org:{sink.port}/", {}, b"{}")
        assert answer.status == 204, answer
        other = await sinks.call("POST", f"https://other.example.org:{sink.port}/", {}, b"{}")
        assert other.status is None and "certificate" in str(other.problem)
        await sinks.close()
        strict = Sinks(settings(webhook_allow_private=True), naming(LOOPBACK))
        unknown = await strict.call("POST", f"https://events.example.org:{sink.port}/", {}, b"{}")
        assert unknown.status is None and "certificate" in str(unknown.problem)
        await strict.close()
        assert len(sink.got) == 1
    assert names == ["events.example.org", "other.example.org", "events.example.org"]


# --- whatever it answers, the call ends -------------------------------------------------------------------------


async def silence(got: object, out: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


async def hanging_up(got: object, out: asyncio.StreamWriter) -> None:
    out.transport.abort()


async def dripping(got: object, out: asyncio.StreamWriter) -> None:
    """A header a moment, without an end."""
    out.write(b"HTTP/1.1 204 No Content\r\n")
    for number in range(40):
        out.write(f"X-{number}: a\r\n".encode())
        await out.drain()
        await asyncio.sleep(0.1)


async def continuing(got: object, out: asyncio.StreamWriter) -> None:
    for _ in range(40):
        out.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await out.drain()
        await asyncio.sleep(0.1)


async def without_end(got: object, out: asyncio.StreamWriter) -> None:
    out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(2000):
        out.write(b"a" * 65536)
        await out.drain()


async def hesitating(got: object, out: asyncio.StreamWriter) -> None:
    out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    await out.drain()
    await asyncio.sleep(5)


NO_ANSWER: dict[str, tuple[Behaviour, str]] = {
    "silence": (silence, "within"),
    "hangs up": (hanging_up, "HTTP"),
    "nothing": (saying(b""), "HTTP"),
    "junk": (saying(b"\x00\xff\xfe" * 100), "HTTP"),
    "another protocol": (saying(b"220 mail.example.org ESMTP\r\n"), "HTTP"),
    "half an answer": (saying(b"HTTP/1.1 20"), "HTTP"),
    "a status that is none": (saying(b"HTTP/1.1 abc OK\r\n\r\n"), "HTTP"),
    "headers without end": (saying(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 300_000), "HTTP"),
    "a header that is none": (saying(b"HTTP/1.1 200 OK\r\n\x00: a\r\n\r\n"), "HTTP"),
    "headers that drip": (dripping, "within"),
    "promises only": (continuing, "within"),
}


@pytest.mark.parametrize("what", NO_ANSWER)
async def test_what_is_no_answer_is_a_failure_in_words_and_in_time(what: str, sink: Receiver) -> None:
    behaviour, said = NO_ANSWER[what]
    answer, took = await called(sink, behaviour)
    assert answer.status is None and said in str(answer.problem), answer
    assert took < 2.5


BODIES: dict[str, Behaviour] = {
    "huge": without_end,
    "late": hesitating,
    "cut off": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
    "not chunked as it says": saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "said to be packed": answering(200, {"Content-Encoding": "gzip"}, b"not packed"),
    "short": answering(200, body=b"thank you"),
    "as long as is read": answering(200, body=b"a" * MOST_READ),
}


@pytest.mark.parametrize("what", BODIES)
async def test_the_status_counts_whatever_comes_after_it(what: str, sink: Receiver) -> None:
    answer, took = await called(sink, BODIES[what])
    assert (answer.status, answer.problem) == (200, None)
    assert took < 2.5


async def called(sink: Receiver, behaviour: Behaviour) -> tuple[Answer, float]:
    sink.script = [behaviour]
    sinks = Sinks(settings(**LOCAL))
    began = asyncio.get_running_loop().time()
    answer = await sinks.call("POST", sink.url, {"Content-Type": "application/json"}, b"{}")
    took = asyncio.get_running_loop().time() - began
    await sinks.close()
    return answer, took


async def test_nobody_there_is_a_failure_in_words() -> None:
    sinks = Sinks(settings(**LOCAL))
    away = await sinks.call("POST", f"http://{LOOPBACK}:{free_port()}/", {}, b"{}")
    assert away.status is None and "No connection" in str(away.problem)
    await sinks.close()

    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    sinks = Sinks(settings(**LOCAL), unknown)
    nameless = await sinks.call("POST", "http://nothing.example/", {}, b"{}")
    assert nameless.status is None and "name cannot be resolved" in str(nameless.problem)
    await sinks.close()


async def test_a_name_server_that_does_not_answer_ends_the_call_and_holds_up_no_other(sink: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if host == "slow.example":
            await asyncio.sleep(60)
        return [LOOPBACK]

    sinks = Sinks(settings(**LOCAL), resolve)
    slow = [asyncio.create_task(sinks.call("POST", "http://slow.example/", {}, b"{}")) for _ in range(50)]
    quick = await sinks.call("POST", f"http://quick.example:{sink.port}/", {}, b"{}")
    assert quick.status == 204 and quick.seconds < 0.9
    assert all("within" in str(answer.problem) for answer in await asyncio.gather(*slow))
    await sinks.close()


async def test_what_is_sent_is_sent_as_it_is(sink: Receiver) -> None:
    assert written(204)
    body = '{"naïef": "é€😀"}'.encode()
    sinks = Sinks(settings(**LOCAL))
    await sinks.call("POST", sink.url, {"Content-Type": "application/cloudevents+json; charset=UTF-8"}, body)
    await sinks.close()
    assert sink.got[0].body == body
    assert set(sink.got[0].headers) == {"host", "content-type", "content-length"}
